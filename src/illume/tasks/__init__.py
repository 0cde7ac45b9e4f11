"""What is said in each task, in plain Python: prompts, their dropped forms, verdicts."""
