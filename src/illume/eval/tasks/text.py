"""Plain text: how likely held-out texts are to a model when no picture stands beside them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from illume.core.statistics import mean
from illume.core.streams import stream
from illume.eval.ngram import Trigram, words_of
from illume.eval.scorecard import Figure, Row
from illume.eval.task import Example, Score, Subject, to_row
from illume.world import Split, WorldConfig, caption, sample_scene

TAUGHT = 4096  # training texts that the trigrams are counted in, at most


@dataclass(frozen=True)
class Text:
    """Held-out texts. The score is the probability of a word, its geometric mean over a text (the text's end is a word
    too), so 1 over its perplexity; whoever forgets how to write while it learns to see and draw falls to, or below, the
    trigrams of the `training` texts."""

    texts: Sequence[str]
    training: Callable[[], Sequence[str]]
    ability: ClassVar[str] = "text"

    def items(self) -> Sequence[str]:
        return self.texts

    def answer(self, subject: Subject, items: Sequence[str]) -> Sequence[float]:
        return subject.nats(items)

    def score(self, item: str, answer: float) -> Score:
        nats = answer / len(words_of(item))
        return Score(
            math.exp(-nats), facts={"nats": nats}, example=Example(item, (), f"perplexity {_perplexity(nats):.2f}")
        )

    def baselines(self, subject: Subject, items: Sequence[str], answers: Sequence[float]) -> Mapping[str, float]:
        """The trigrams of the training texts."""
        trigrams = Trigram.of(self.training())
        return {"trigrams": mean([self.score(item, trigrams.nats(item)).value for item in items])}

    def aggregate(self, scores: Sequence[Score], baselines: Mapping[str, float]) -> Row:
        nats = Figure.of([score.facts["nats"] for score in scores])
        low, high = map(_perplexity, nats.ci95)
        return to_row(scores, baselines, {"perplexity": Figure.rounded(_perplexity(nats.score), nats.n, (low, high))})


def _perplexity(nats: float) -> float:
    return math.exp(min(nats, 700))  # beyond it lies what no float holds


def world_text(config: WorldConfig, num_items: int) -> Text:
    """Captions of test scenes, beside those of training scenes."""
    return Text(captions(config, "test", num_items), lambda: captions(config, "train", TAUGHT))


def captions(config: WorldConfig, split: Split, number: int) -> list[str]:
    """A caption each of the first scenes of a split."""
    scenes = [(i, sample_scene(config, split, i)) for i in range(number)]
    return [caption(s, config, stream("text", config.seed, split, i), split).text for i, s in scenes]
