"""Seeing: questions about the world's scenes, answered from their pictures; it does not know how a model answers."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from illume.core.errors import ConfigError
from illume.core.statistics import mean
from illume.core.streams import stream
from illume.eval.scorecard import Row
from illume.eval.task import Example, Picture, Score, Subject, to_row
from illume.world import Question, Scene, Split, WorldConfig, ask, question_kinds, questions, sample_scene
from illume.world.render import render

_PATIENCE = 1000  # scenes tried for one that a question of a kind can be asked about
_TAUGHT_SCENES = 800  # training scenes from whose questions the commonest answers are taken


@dataclass(frozen=True)
class Item:
    """A question about a scene."""

    question: Question
    picture: Picture
    split: Split


@dataclass(frozen=True)
class See:
    """`num_items` questions about test scenes, the kinds in turn, and as many about novel scenes, reported apart."""

    config: WorldConfig
    num_items: int
    ability: ClassVar[str] = "see"

    def items(self) -> Sequence[Item]:
        splits: tuple[Split, ...] = ("test", "novel")
        return [self._item(split, index) for split in splits for index in range(self.num_items)]

    def answer(self, subject: Subject, items: Sequence[Item]) -> Sequence[str]:
        return subject.ask([item.picture for item in items], [item.question.text for item in items])

    def score(self, item: Item, answer: str) -> Score:
        question = item.question
        right = normalised(answer) == normalised(question.answer)
        said = answer if right else f"{answer} (right: {question.answer})"
        example = Example(question.text, (("", item.picture),), said, right)
        test = item.split == "test"
        return Score(float(right), (question.kind if test else "novel",), counted=test, example=example)

    def baselines(self, subject: Subject, items: Sequence[Item], answers: Sequence[str]) -> Mapping[str, float]:
        """The same questions without the picture; what training answers most often to the question's text."""
        counted = [item for item in items if item.split == "test"]
        blind = subject.ask([None] * len(counted), [item.question.text for item in counted])
        common = [self._commonest.answer(item.question) for item in counted]
        return {"without image": _accuracy(counted, blind), "commonest answer": _accuracy(counted, common)}

    def aggregate(self, scores: Sequence[Score], baselines: Mapping[str, float]) -> Row:
        return to_row(scores, baselines)

    def _item(self, split: Split, index: int) -> Item:
        kinds = question_kinds(self.config)
        kind = kinds[index % len(kinds)]
        rng = stream("see", self.config.seed, split, index)
        for _ in range(_PATIENCE):
            scene = sample_scene(self.config, split, rng.getrandbits(62))
            question = ask(scene, self.config, rng, kind)
            if question is not None:
                return Item(question, render(scene, self.config), split)
        raise ConfigError(f"no scene of split {split} of this world allows a question of kind {kind}")

    @cached_property
    def _commonest(self) -> "Commonest":
        return Commonest(self.config, [sample_scene(self.config, "train", index) for index in range(_TAUGHT_SCENES)])


class Commonest:
    """The answer that these scenes give most often to a question's text, or to its kind where the text is new."""

    def __init__(self, config: WorldConfig, scenes: Sequence[Scene]) -> None:
        self._by_text: dict[str, Counter[str]] = defaultdict(Counter)
        self._by_kind: dict[str, Counter[str]] = defaultdict(Counter)
        for number, scene in enumerate(scenes):
            for question in questions(scene, config, stream("commonest", config.seed, number)):
                self._by_text[question.text][question.answer] += 1
                self._by_kind[question.kind][question.answer] += 1

    def answer(self, question: Question) -> str:
        counts = self._by_text.get(question.text) or self._by_kind.get(question.kind) or Counter({"": 1})
        return max(sorted(counts), key=lambda answer: counts[answer])


def normalised(answer: str) -> str:
    """An answer without case, outer spaces and the point at its end."""
    return " ".join(answer.casefold().split()).removesuffix(".")


def _accuracy(items: Sequence[Item], answers: Sequence[str]) -> float:
    pairs = zip(items, answers, strict=True)
    return mean([normalised(item.question.answer) == normalised(answer) for item, answer in pairs])
