"""Held-out records of edits, inpaintings and assessments as benchmarks, beside what they should become.

It does not know how a model answers, nor how the records were split.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, TypeVar

import numpy as np
from PIL import Image

from illume.core.statistics import mean
from illume.data.collection import OpenCollection
from illume.data.held_out import Parted
from illume.data.records import Record, TaskName
from illume.eval.metrics import capped_psnr
from illume.eval.scorecard import Figure, Row
from illume.eval.task import Example, Picture, Score, Subject, to_row
from illume.eval.tasks.assess import agreement, decision
from illume.eval.tasks.records import in_turn
from illume.images import masks
from illume.tasks.verdict import Verdict

T = TypeVar("T")


@dataclass(frozen=True)
class EditItem:
    """An image, what is asked, the image it is to become, and the source it comes from."""

    picture: Picture
    instruction: str
    target: Picture
    source: str


@dataclass(frozen=True)
class OwnEdit:
    """Held-out edits: how near the drawing comes to the target, in dB (PSNR).

    An edit leaves most of an image as it is, so giving the input back is near already: the score means something beside
    that baseline only, and beside the share of drawings that are nearer to the target than the input was.
    """

    edits: Sequence[EditItem]
    ability: ClassVar[str] = "edit"

    def items(self) -> Sequence[EditItem]:
        return self.edits

    def answer(self, subject: Subject, items: Sequence[EditItem]) -> Sequence[Picture]:
        return subject.edit([item.picture for item in items], [item.instruction for item in items])

    def score(self, item: EditItem, answer: Picture) -> Score:
        before, after = capped_psnr(item.target, item.picture), capped_psnr(item.target, answer)
        pictures = (("before", item.picture), ("after", answer), ("target", item.target))
        example = Example(item.instruction, pictures, f"{after:.1f} dB, the input {before:.1f} dB")
        return Score(after, (item.source,), facts={"nearer": after > before}, example=example)

    def baselines(self, subject: Subject, items: Sequence[EditItem], answers: Sequence[Picture]) -> Mapping[str, float]:
        """Giving the input back."""
        return {"copy the input": mean([capped_psnr(item.target, item.picture) for item in items])}

    def aggregate(self, scores: Sequence[Score], baselines: Mapping[str, float]) -> Row:
        return to_row(scores, baselines, {"nearer than the input": Figure.of([s.facts["nearer"] for s in scores])})


@dataclass(frozen=True)
class OwnInpaint:
    """Held-out inpaintings: how near the drawing comes to the target inside the masked region, in dB (PSNR).

    The rest is the source's own in what a person gets, and is not scored.
    """

    regions: Sequence[EditItem]
    ability: ClassVar[str] = "inpaint"

    def items(self) -> Sequence[EditItem]:
        return self.regions

    def answer(self, subject: Subject, items: Sequence[EditItem]) -> Sequence[Picture]:
        return subject.inpaint([item.picture for item in items], [item.instruction or None for item in items])

    def score(self, item: EditItem, answer: Picture) -> Score:
        found = self._likeness(item, answer)
        pictures = (("masked", item.picture), ("after", answer), ("target", item.target))
        asked = item.instruction or "restore the region"
        return Score(found, (item.source,), example=Example(asked, pictures, f"{found:.1f} dB in the region"))

    def baselines(self, subject: Subject, items: Sequence[EditItem], answers: Sequence[Picture]) -> Mapping[str, float]:
        """Painting the region with the mean colour of what is around it."""
        return {"mean colour": mean([self._likeness(item, _filled(item.picture)) for item in items])}

    def aggregate(self, scores: Sequence[Score], baselines: Mapping[str, float]) -> Row:
        return to_row(scores, baselines)

    def _likeness(self, item: EditItem, drawn: Picture) -> float:
        region = masks.found_marked(Image.fromarray(item.picture))
        return capped_psnr(item.target[region][None], drawn[region][None])


def _filled(masked: Picture) -> Picture:
    """A picture whose marked region has the mean colour of the rest."""
    region = masks.found_marked(Image.fromarray(masked))
    rest = masked[~region] if not region.all() else masked.reshape(-1, 3)
    return np.where(region[..., None], rest.mean(axis=0).round().astype(np.uint8), masked)


@dataclass(frozen=True)
class Judged:
    """A picture, a prompt, the verdict that a record has on them, and the source it comes from."""

    picture: Picture
    prompt: str
    verdict: Verdict
    source: str


@dataclass(frozen=True)
class OwnAssess:
    """Held-out assessments: whether the model decides as the record's verdict does."""

    judged: Sequence[Judged]
    ability: ClassVar[str] = "assess"

    def items(self) -> Sequence[Judged]:
        return self.judged

    def answer(self, subject: Subject, items: Sequence[Judged]) -> Sequence[str]:
        return subject.assess([item.picture for item in items], [item.prompt for item in items])

    def score(self, item: Judged, answer: str) -> Score:
        true = item.verdict.overall
        return decision(answer, true, "right" if true else "wrong", item.picture, item.prompt, (item.source,))

    def baselines(self, subject: Subject, items: Sequence[Judged], answers: Sequence[str]) -> Mapping[str, float]:
        """Passing everything."""
        return {"always pass": mean([item.verdict.overall for item in items])}

    def aggregate(self, scores: Sequence[Score], baselines: Mapping[str, float]) -> Row:
        return agreement(scores, baselines)


def edits_of(parted: Parted, num_items: int, task: TaskName = "edit") -> list[EditItem]:
    """The held-out edits, or inpaintings, from all sources in turn."""

    def item(record: Record, opened: OpenCollection, name: str) -> EditItem:
        before, after = map(opened.images.image, record.images)
        return EditItem(before, record.instruction, after, name)

    return _of_task(parted, num_items, task, item)


def judged_of(parted: Parted, num_items: int) -> list[Judged]:
    """The held-out assessments, from all sources in turn."""

    def item(record: Record, opened: OpenCollection, name: str) -> Judged:
        assert record.verdict is not None  # validated
        return Judged(opened.images.image(record.images[0]), record.text, record.verdict, name)

    return _of_task(parted, num_items, "assess", item)


def _of_task(
    parted: Parted, num_items: int, task: TaskName, item: Callable[[Record, OpenCollection, str], T]
) -> list[T]:
    opened = parted.held_out
    found = in_turn({name: (r for r in one.records if r.task == task) for name, one in opened.items()})
    return [item(record, opened[name], name) for name, record in islice(found, num_items)]
