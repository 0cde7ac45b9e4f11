"""Editing: the instruction done and everything else kept, both at once, as the world's oracle reads the result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from illume.core.statistics import mean
from illume.core.streams import stream
from illume.eval.scorecard import Row
from illume.eval.task import Example, Picture, Score, Subject, to_row
from illume.world import Edit as WorldEdit
from illume.world import Scene, WorldConfig, oracle, sample_edit_pair
from illume.world.language import find_caption
from illume.world.render import render

_REDRAWN = 100  # items that the baseline of drawing anew is measured on: it is near zero


@dataclass(frozen=True)
class Item:
    """A scene, its picture, and the edit asked for."""

    scene: Scene
    picture: Picture
    edit: WorldEdit


@dataclass(frozen=True)
class Edit:
    """`num_items` edits of test scenes, the kinds in turn."""

    config: WorldConfig
    num_items: int
    ability: ClassVar[str] = "edit"

    def items(self) -> Sequence[Item]:
        pairs = [sample_edit_pair(self.config, "test", index) for index in range(self.num_items)]
        return [Item(scene, render(scene, self.config), edit) for scene, edit in pairs]

    def answer(self, subject: Subject, items: Sequence[Item]) -> Sequence[Picture]:
        return subject.edit([item.picture for item in items], [item.edit.instruction for item in items])

    def score(self, item: Item, answer: Picture) -> Score:
        right = self._done(item, answer)
        pictures = (("before", item.picture), ("after", answer))
        return Score(right, (item.edit.kind,), example=Example(item.edit.instruction, pictures, "", right))

    def baselines(self, subject: Subject, items: Sequence[Item], answers: Sequence[Picture]) -> Mapping[str, float]:
        """Giving the source back; drawing the target from a caption of it, which says little of what stands where."""
        return {
            "copy the input": mean([self._done(item, item.picture) for item in items]),
            "redraw": redrawn(subject, [item.edit.target for item in items], self.config),
        }

    def aggregate(self, scores: Sequence[Score], baselines: Mapping[str, float]) -> Row:
        return to_row(scores, baselines)

    def _done(self, item: Item, picture: Picture) -> bool:
        return oracle.same(picture, item.edit.target, self.config)


def redrawn(subject: Subject, targets: Sequence[Scene], config: WorldConfig) -> float:
    """How often drawing a scene from a caption of it gives that scene, its places included."""
    some = targets[:_REDRAWN]
    drawn = subject.draw([_caption(target, index, config) for index, target in enumerate(some)])
    return mean([oracle.same(picture, target, config) for target, picture in zip(some, drawn, strict=True)])


def _caption(scene: Scene, index: int, config: WorldConfig) -> str:
    rng = stream("redraw", config.seed, index)
    found = [find_caption(scene, config, rng, split) for split in ("test", "train")]
    return next(caption.text for caption in found if caption is not None)  # every scene but a novel one has one
