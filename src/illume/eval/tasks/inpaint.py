"""Inpainting: a masked region painted as told, or restored, and all else kept, as the world's oracle reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image

from illume.core.statistics import mean
from illume.data.world_images import masked_picture
from illume.eval.scorecard import Figure, Row
from illume.eval.task import Example, Picture, Score, Subject, to_row
from illume.eval.tasks.edit import redrawn
from illume.images import masks
from illume.world import Inpainting, Scene, WorldConfig, oracle, sample_inpainting
from illume.world.render import render


@dataclass(frozen=True)
class Item:
    """A scene, its picture, the picture with its region marked, and what that region is to become."""

    scene: Scene
    picture: Picture
    masked: Picture
    asked: Inpainting


@dataclass(frozen=True)
class Inpaint:
    """`num_items` regions of test scenes, to be filled as told and to be restored in turn.

    What is scored is what a person gets: the drawing inside the region, the source outside of it. "as drawn" is the
    share of drawings that are right without that.
    """

    config: WorldConfig
    num_items: int
    ability: ClassVar[str] = "inpaint"

    def items(self) -> Sequence[Item]:
        found = [sample_inpainting(self.config, "test", index) for index in range(self.num_items)]
        config = self.config
        return [Item(s, render(s, config), masked_picture(s, asked, config), asked) for s, asked in found]

    def answer(self, subject: Subject, items: Sequence[Item]) -> Sequence[Picture]:
        return subject.inpaint([item.masked for item in items], [item.asked.instruction for item in items])

    def score(self, item: Item, answer: Picture) -> Score:
        made = self._composite(item, answer)
        right = self._done(item, made)
        pictures = (("before", item.picture), ("masked", item.masked), ("after", made))
        example = Example(item.asked.instruction or "restore the background", pictures, "", right)
        return Score(right, (item.asked.kind,), facts={"as drawn": self._done(item, answer)}, example=example)

    def baselines(self, subject: Subject, items: Sequence[Item], answers: Sequence[Picture]) -> Mapping[str, float]:
        """Giving the source back; painting the region with the background; drawing the target from its caption."""
        plain = np.broadcast_to(np.asarray(self.config.background, np.uint8), items[0].picture.shape)
        return {
            "copy the input": mean([self._done(item, item.picture) for item in items]),
            "background": mean([self._done(item, self._composite(item, plain)) for item in items]),
            "redraw": redrawn(subject, [item.asked.target for item in items], self.config),
        }

    def aggregate(self, scores: Sequence[Score], baselines: Mapping[str, float]) -> Row:
        return to_row(scores, baselines, {"as drawn": Figure.of([score.facts["as drawn"] for score in scores])})

    def _composite(self, item: Item, drawn: Picture) -> Picture:
        region = masks.region_of(item.asked.box, (self.config.size, self.config.size))
        return np.array(masks.composite(Image.fromarray(item.picture), Image.fromarray(drawn), region))

    def _done(self, item: Item, picture: Picture) -> bool:
        return oracle.same(picture, item.asked.target, self.config)
