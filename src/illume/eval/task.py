"""What a benchmark is: items, the model's answers to them, a score for each, and the row these make.

It knows neither how answers are computed nor what any benchmark asks.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from jaxtyping import UInt8

from illume.eval.scorecard import Figure, Row

Picture = UInt8[np.ndarray, "h w 3"]


class Subject(Protocol):
    """A model as benchmarks see it: many questions at once, answers in their order, the same at every call.

    Pictures are RGB bytes of the model's size.
    """

    def ask(self, pictures: Sequence[Picture | None], questions: Sequence[str], *, slices: int = 0) -> list[str]:
        """Short answers to questions about pictures (None: the question alone).

        With `slices` pictures may be of any size, and are read as an overview and at most so many slices.
        """
        ...

    def caption(self, pictures: Sequence[Picture]) -> list[str]: ...

    def draw(self, prompts: Sequence[str]) -> list[Picture]: ...

    def edit(self, pictures: Sequence[Picture], instructions: Sequence[str]) -> list[Picture]: ...

    def inpaint(self, masked: Sequence[Picture], instructions: Sequence[str | None]) -> list[Picture]:
        """Pictures whose region in the marker's colour is painted anew, as told or (None) so that it fits."""
        ...

    def reconstruct(self, pictures: Sequence[Picture]) -> list[Picture]:
        """The pictures through the vision tokenizer's codes and the pixel decoder; the language model takes no part."""
        ...

    def assess(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> list[str]:
        """What the model says when it is to judge pictures against prompts: a verdict as JSON, if it can."""
        ...

    def nats(self, texts: Sequence[str]) -> list[float]:
        """How unlikely plain texts are, each from its first word to its end: minus the log of its probability."""
        ...


@dataclass(frozen=True)
class Example:
    """One answered item, as a person wants to see it: what was asked, the pictures with their labels, the answer."""

    asked: str
    pictures: tuple[tuple[str, Picture], ...] = ()
    answer: str = ""
    passed: bool | None = None


@dataclass(frozen=True)
class Score:
    """What one answer is worth, the groups it counts in, what else it showed, and how to show it.

    An item that is not `counted` enters its groups only, not the row's score.
    """

    value: float
    by: tuple[str, ...] = ()
    counted: bool = True
    facts: Mapping[str, Any] = field(default_factory=dict)
    example: Example | None = None


class Task(Protocol):
    """A benchmark of one ability. Items are the same at every call; `answer` takes and gives them in order."""

    @property
    def ability(self) -> str:
        """The row of the scorecard that it fills."""
        ...

    def items(self) -> Sequence[Any]: ...

    def answer(self, subject: Subject, items: Sequence[Any]) -> Sequence[Any]: ...

    def score(self, item: Any, answer: Any) -> Score: ...

    def baselines(self, subject: Subject, items: Sequence[Any], answers: Sequence[Any]) -> Mapping[str, float]:
        """What answers that look past the point (no image, copying the source, ...) score on the counted items."""
        ...

    def aggregate(self, scores: Sequence[Score], baselines: Mapping[str, float]) -> Row: ...


def to_row(scores: Sequence[Score], baselines: Mapping[str, float], by: Mapping[str, Figure] | None = None) -> Row:
    """The mean over counted items, the mean of each group, and the baselines; `by` adds figures of another kind."""
    groups: dict[str, list[float]] = defaultdict(list)
    for score in scores:
        for name in score.by:
            groups[name].append(score.value)
    whole = Figure.of([score.value for score in scores if score.counted])
    figures = {name: Figure.of(values) for name, values in sorted(groups.items())}
    rounded = {name: round(value, 4) for name, value in baselines.items()}
    return Row(whole.score, whole.n, whole.ci95, {**figures, **(by or {})}, rounded)
