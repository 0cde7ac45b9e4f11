"""A trigram model of words: what a text's words alone say of it. It knows no ids and no pictures."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

END = ""  # stands after a text's last word, and no word is empty


@dataclass
class Trigram:
    """Word trigrams that fall back on bigrams, words, and then on any word, as far as each context is known for new
    words (Witten and Bell 1991: interpolated, nothing to tune)."""

    counts: dict[tuple[str, ...], Counter[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Trigram":
        """Counted in these texts."""
        model = cls()
        for text in texts:
            for context, word in _steps(text):
                for start in range(len(context) + 1):
                    model.counts.setdefault(context[start:], Counter())[word] += 1
        return model

    def nats(self, text: str) -> float:
        """Of a whole text, its end included."""
        return -sum(math.log(self._probability(context, word)) for context, word in _steps(text))

    def _probability(self, context: Sequence[str], word: str) -> float:
        context = tuple(context)
        seen = self.counts.get(context, Counter())
        shorter = self._probability(context[1:], word) if context else 1 / (len(self.counts.get((), ())) + 1)
        new = max(1, len(seen))
        return (seen[word] + new * shorter) / (seen.total() + new)


def words_of(text: str) -> list[str]:
    """The words of a text, and its end."""
    return [*text.split(), END]


def _steps(text: str) -> Iterable[tuple[tuple[str, ...], str]]:
    """Each word with the two before it, the first ones after two ends."""
    words = [END, END, *words_of(text)]
    return (((a, b), c) for a, b, c in zip(words, words[1:], words[2:], strict=False))
