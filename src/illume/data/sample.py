"""One rendered sample as arrays, ready to be laid into a row; it knows positions in its own sequence only."""

from dataclasses import dataclass

import numpy as np

from illume.core.errors import FormatError
from illume.vocab.format import Rendered

NO_PLACE = (-1, -1, -1)


@dataclass(frozen=True, slots=True)
class SlotRun:
    """Slots of one image at one level: positions start .. start + count - 1 of the sample."""

    start: int
    level: int
    count: int
    image: str


@dataclass(frozen=True)
class Sample:
    """The ids of one sample; at about 11 bytes an id, thousands of them can be kept."""

    name: str  # of source and item, for messages
    task: str
    ids: np.ndarray  # int32 [n]
    loss_mask: np.ndarray  # bool [n]: ids[i] is predicted with loss
    places: np.ndarray  # int16 [n, 3]: level, row, column; -1 where there is none
    slots: tuple[SlotRun, ...]

    def __len__(self) -> int:
        return len(self.ids)


def sample_of(rendered: Rendered, name: str, task: str) -> Sample:
    """A rendered conversation as arrays. FormatError for slots of no image, or a first id with loss.

    (The first id of a packed sample would be predicted from another sample.)
    """
    if not rendered.ids:
        raise FormatError("it renders to no ids at all")
    if rendered.loss_mask[0]:
        raise FormatError("its first id has loss, but nothing stands before it to predict it from")
    places = [NO_PLACE if place is None else place for place in rendered.places]
    return Sample(
        name,
        task,
        np.array(rendered.ids, dtype=np.int32),
        np.array(rendered.loss_mask, dtype=np.bool_),
        np.array(places, dtype=np.int16),
        tuple(SlotRun(run.start, run.level, run.grid[0] * run.grid[1], _named(run.image)) for run in rendered.slots),
    )


def _named(image: str | None) -> str:
    if image is None:
        raise FormatError("an image is read here, but the message does not say which one")
    return image
