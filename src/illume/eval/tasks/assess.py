"""Assessing: pictures with a prompt that is true of them and one that is wrong, and what a model says of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import ClassVar

from illume.core.errors import ConfigError, DataError
from illume.core.statistics import cohen_kappa, kappa_ci95, mean
from illume.core.streams import stream
from illume.eval.scorecard import Figure, Row
from illume.eval.task import Example, Picture, Score, Subject, to_row
from illume.tasks.verdict import CRITERIA, Verdict
from illume.world import Caption, WorldConfig, caption, perturb, sample_scene
from illume.world.render import render

_PATIENCE = 1000  # scenes tried for one with a caption that is wrong in the criterion whose turn it is


@dataclass(frozen=True)
class Item:
    """A picture and a prompt. wrong: the one criterion in which the prompt is wrong of it; None: it is right."""

    picture: Picture
    prompt: Caption
    wrong: str | None


@dataclass(frozen=True)
class Assess:
    """`num_items` pictures with prompts: each test scene once with a true caption and once with one near it that is
    wrong in one criterion, the criteria in turn; so neither picture nor prompt alone tells them apart.

    An odd number of items becomes the next even one."""

    config: WorldConfig
    num_items: int
    ability: ClassVar[str] = "assess"

    def items(self) -> Sequence[Item]:
        numbers = count()
        pairs = [self._pair(CRITERIA[i % len(CRITERIA)], numbers) for i in range((self.num_items + 1) // 2)]
        return [item for pair in pairs for item in pair]

    def answer(self, subject: Subject, items: Sequence[Item]) -> Sequence[str]:
        return subject.assess([item.picture for item in items], [item.prompt.text for item in items])

    def score(self, item: Item, answer: str) -> Score:
        true = item.wrong is None
        group, truth = ("right", "right") if true else (f"wrong {item.wrong}", f"wrong in {item.wrong}")
        return decision(answer, true, truth, item.picture, item.prompt.text, (group,) if true else ("wrong", group))

    def baselines(self, subject: Subject, items: Sequence[Item], answers: Sequence[str]) -> Mapping[str, float]:
        """Passing everything."""
        return {"always pass": mean([item.wrong is None for item in items])}

    def aggregate(self, scores: Sequence[Score], baselines: Mapping[str, float]) -> Row:
        return agreement(scores, baselines)

    def _pair(self, criterion: str, numbers: "count[int]") -> tuple[Item, Item]:
        """The next scene that has a caption wrong in this criterion, with a true one and that."""
        for number in (next(numbers) for _ in range(_PATIENCE)):
            scene = sample_scene(self.config, "test", number)
            said = caption(scene, self.config, rng := stream("assess", self.config.seed, number), "test")
            found = perturb(said, scene, self.config, rng, "test", criterion)
            if found is not None:
                picture = render(scene, self.config)
                return Item(picture, said, None), Item(picture, found[0], criterion)
        raise ConfigError(f"no test scene of this world has a caption that is wrong in {criterion} alone")


def decision(answer: str, true: bool, truth: str, picture: Picture, prompt: str, by: tuple[str, ...]) -> Score:
    """1 where the answer is a verdict whose overall decision is the true one; what is no verdict is wrong."""
    said = _verdict(answer)
    right = said is not None and said.overall == true
    example = Example(prompt, (("", picture),), f"{_shown(said, answer)} (the prompt is {truth})", right)
    facts = {"valid": said is not None, "true": true, "said": true if right else not true}
    return Score(right, by, facts=facts, example=example)


def agreement(scores: Sequence[Score], baselines: Mapping[str, float]) -> Row:
    """The share of right decisions, Cohen's kappa, and the share of answers that are verdicts at all."""
    said, true = [score.facts["said"] for score in scores], [score.facts["true"] for score in scores]
    kappa = Figure.rounded(cohen_kappa(said, true), len(scores), kappa_ci95(said, true))
    valid = Figure.of([score.facts["valid"] for score in scores])
    return to_row(scores, baselines, {"kappa": kappa, "valid_json": valid})


def _verdict(answer: str) -> Verdict | None:
    try:
        return Verdict.from_json(answer)
    except DataError:
        return None


def _shown(said: Verdict | None, answer: str) -> str:
    """What was said, in words."""
    if said is None:
        return f"no verdict: {answer[:80]}"
    wrong = [f"{name}: {c.reason}" for name, c in said.criteria.items() if c.applicable and not c.passed]
    return "; ".join(wrong) or "all good"
