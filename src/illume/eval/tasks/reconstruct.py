"""Reconstruction: scenes through the vision tokenizer's codes and back to pixels, read by the world's oracle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from illume.core.statistics import mean
from illume.eval.metrics import capped_psnr
from illume.eval.scorecard import Figure, Row
from illume.eval.task import Example, Picture, Score, Subject, to_row
from illume.world import Scene, Split, WorldConfig, oracle, sample_scene
from illume.world.render import render


@dataclass(frozen=True)
class Item:
    """A scene and its picture."""

    scene: Scene
    picture: Picture
    split: Split


@dataclass(frozen=True)
class Reconstruct:
    """`num_items` test scenes, and as many with held-out pairs, reported apart."""

    config: WorldConfig
    num_items: int
    ability: ClassVar[str] = "reconstruct"

    def items(self) -> Sequence[Item]:
        splits: tuple[Split, ...] = ("test", "novel")
        return [self._item(split, index) for split in splits for index in range(self.num_items)]

    def answer(self, subject: Subject, items: Sequence[Item]) -> Sequence[Picture]:
        return subject.reconstruct([item.picture for item in items])

    def score(self, item: Item, answer: Picture) -> Score:
        right, test = oracle.same(answer, item.scene, self.config), item.split == "test"
        decibels = capped_psnr(item.picture, answer)
        pictures = (("real", item.picture), ("reconstructed", answer))
        example = Example("", pictures, f"{decibels:.1f} dB", right)
        return Score(right, () if test else ("novel",), counted=test, facts={"psnr": decibels}, example=example)

    def baselines(self, subject: Subject, items: Sequence[Item], answers: Sequence[Picture]) -> Mapping[str, float]:
        """One picture for all: the mean of training pictures."""
        train = [render(sample_scene(self.config, "train", i), self.config) for i in range(self.num_items)]
        middle = mean_picture(train)
        counted = [item for item in items if item.split == "test"]
        return {
            "mean image": mean([oracle.same(middle, item.scene, self.config) for item in counted]),
            "mean image psnr_db": mean([capped_psnr(item.picture, middle) for item in counted]),
        }

    def aggregate(self, scores: Sequence[Score], baselines: Mapping[str, float]) -> Row:
        psnr = Figure.of([score.facts["psnr"] for score in scores if score.counted])
        return to_row(scores, baselines, {"psnr_db": psnr})

    def _item(self, split: Split, index: int) -> Item:
        scene = sample_scene(self.config, split, index)
        return Item(scene, render(scene, self.config), split)


def mean_picture(pictures: Sequence[Picture]) -> Picture:
    """The mean of pictures, pixel by pixel."""
    total = np.zeros(pictures[0].shape, np.float64)
    for picture in pictures:
        total += picture
    return np.rint(total / len(pictures)).astype(np.uint8)
