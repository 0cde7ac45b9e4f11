"""Who says whether a drawing shows its prompt: judges behind one protocol, their verdicts on disk, their agreement."""
