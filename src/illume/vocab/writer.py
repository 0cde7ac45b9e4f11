"""Writes ids, loss, slots and places of a sequence together, so that they cannot disagree.

It does not know turns or who says what: `format.render` leads it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from illume.core.errors import FormatError
from illume.vocab.layout import Place, VocabLayout, read_frame, written_frame
from illume.vocab.messages import Grid, ImageFrame, ImagePart, Message, SizePart

Reading = Literal["features", "codes"]


@dataclass(frozen=True)
class Slots:
    """A run of rows*columns positions, from `start`, whose embeds are replaced by features of an image.

    `level` is that of the features: which of an encoder's outputs they are.
    """

    start: int
    level: int
    grid: Grid
    image: str | None


@dataclass(frozen=True)
class Rendered:
    """A sequence. All fields but `slots` have one entry a position.

    `loss_mask[i]`: ids[i] is predicted with loss. `places[i]`: at a slot its own place; elsewhere the place of ids[i+1]
    if that is a code (the input carries its target's position), else None. The next id of a prompt's last position is
    not there yet: its place is the grammar's to say.
    """

    ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]
    slots: tuple[Slots, ...]
    places: tuple[Place | None, ...]


class Writer:
    """Collects ids, loss, slots and places together, so that they cannot disagree."""

    def __init__(self, layout: VocabLayout, reading: Reading) -> None:
        self.layout = layout
        self.reading = reading
        self.rereads = layout.reread and reading == "features"
        self.ids: list[int] = []
        self.loss: list[bool] = []
        self.places: list[Place | None] = []
        self.slots: list[Slots] = []

    def is_written(self, message: Message, image: ImagePart) -> bool:
        """Whether an image stands as codes; FormatError if it must and has none."""
        must = message.is_target or self.reading == "codes"
        if must and image.codes is None:
            why = "is to be drawn" if message.is_target else "is read by its codes"
            raise FormatError(f"the image {image.image!r} in a turn of the {message.role} {why}, but has no codes")
        return must or (message.role == "assistant" and image.codes is not None)

    def say(self, ids: Sequence[int], loss: bool) -> None:
        self.ids += ids
        self.loss += [loss] * len(ids)
        self.places += [None] * len(ids)

    def size(self, size: SizePart) -> None:
        if not (0 <= size.height < self.layout.num_sizes and 0 <= size.width < self.layout.num_sizes):
            raise FormatError(f"{size} is not among the {self.layout.num_sizes} size tags of this layout")
        ranges = self.layout.ranges()
        self.say((ranges["heights"][size.height], ranges["widths"][size.width]), loss=False)

    def write(self, image: ImagePart, loss: bool) -> None:
        assert image.codes is not None  # is_written has seen to it
        if self.ids and self.ids[-1] in self.layout.ranges()["widths"]:
            raise FormatError("a size right before a written image would be read as its own: make the image `sized`")
        codes = [iter(level) for level in image.codes]
        for step in written_frame(self.layout, image.frame, image.sized):
            if step.place is None:
                self.ids.append(step.ids.start)
            else:
                self.ids.append(self.layout.code_id(step.place[0], next(codes[step.place[0]])))
                self.places[-1] = step.place  # of the id before, which is never a slot: a frame opens with a marker
            self.places.append(None)
        self.loss += [loss] * (len(self.ids) - len(self.loss))

    def read(self, image: ImagePart) -> None:
        ids, places, runs = _read(self.layout, image.frame)
        self.slots += [Slots(len(self.ids) + start, level, grid, image.image) for start, level, grid in runs]
        self.ids += ids
        self.loss += [False] * len(ids)
        self.places += places

    def rendered(self) -> Rendered:
        """What was written so far."""
        return Rendered(tuple(self.ids), tuple(self.loss), tuple(self.slots), tuple(self.places))


@lru_cache(maxsize=256)
def _read(
    layout: VocabLayout, frame: ImageFrame
) -> tuple[tuple[int, ...], tuple[Place | None, ...], tuple[tuple[int, int, Grid], ...]]:
    """Ids, places, and each run of slots (its start, its level, its grid) of an image that is read."""
    steps = read_frame(layout, frame)
    places = tuple(step.place for step in steps)
    runs = [
        (places.index((level, 0, 0)), number, frame.grids[level]) for number, level in enumerate(layout.read_levels)
    ]
    return tuple(step.ids.start for step in steps), places, tuple(runs)
