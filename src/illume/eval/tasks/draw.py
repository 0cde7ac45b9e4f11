"""Drawing: prompts of the six GenEval categories, each drawing checked by the world's oracle; it knows no model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from illume.core.statistics import mean
from illume.eval.scorecard import Row
from illume.eval.task import Example, Picture, Score, Subject, to_row
from illume.world import CATEGORIES, Caption, Spec, Split, Verdict, WorldConfig, holds, oracle, sample_prompt


@dataclass(frozen=True)
class Item:
    """A prompt to draw."""

    prompt: Caption
    split: Split


@dataclass(frozen=True)
class Draw:
    """`num_items` test prompts, the categories in turn, and as many that name held-out pairs, reported apart."""

    config: WorldConfig
    num_items: int
    ability: ClassVar[str] = "draw"

    def items(self) -> Sequence[Item]:
        return [Item(sample_prompt(self.config, split, i), split) for split in SPLITS for i in range(self.num_items)]

    def answer(self, subject: Subject, items: Sequence[Item]) -> Sequence[Picture]:
        return subject.draw([item.prompt.text for item in items])

    def score(self, item: Item, answer: Picture) -> Score:
        findings = oracle.check(answer, item.prompt.spec, self.config)
        right, category = holds(findings), item.prompt.category
        test = item.split == "test"
        label = "" if test else "a pair never seen"
        example = Example(item.prompt.text, ((label, answer),), failures(findings), right)
        return Score(right, (category,) if test else ("novel", f"novel {category}"), counted=test, example=example)

    def baselines(self, subject: Subject, items: Sequence[Item], answers: Sequence[Picture]) -> Mapping[str, float]:
        """The drawings, each held against the next prompt of its category: what drawing anything at all is worth."""
        pairs = [pair for pair in zip(items, answers, strict=True) if pair[0].split == "test"]
        turn = len(CATEGORIES) if len(pairs) > len(CATEGORIES) else 1
        others = [item.prompt.spec for item, _ in pairs[turn:] + pairs[:turn]]
        return {
            "shuffled": mean([self._shows(picture, spec) for (_, picture), spec in zip(pairs, others, strict=True)])
        }

    def aggregate(self, scores: Sequence[Score], baselines: Mapping[str, float]) -> Row:
        return to_row(scores, baselines)

    def _shows(self, picture: Picture, spec: Spec) -> bool:
        return holds(oracle.check(picture, spec, self.config))


SPLITS: tuple[Split, ...] = ("test", "novel")


def failures(findings: Verdict) -> str:
    """What is wrong, criterion by criterion, or the one reason of all; empty where nothing is."""
    wrong = {name: finding.reason for name, finding in findings.items() if finding.applicable and not finding.passed}
    reasons = set(wrong.values())
    return reasons.pop() if len(reasons) == 1 < len(wrong) else "; ".join(f"{n}: {r}" for n, r in wrong.items())
