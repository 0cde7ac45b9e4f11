"""One rendered sample as arrays, ready to be laid into a row; it knows positions in its own sequence only."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

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
    branches: np.ndarray | None = None  # int16 [n], see `join`; None: 0 everywhere

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def positions(self) -> np.ndarray:
        """int64 [n]: 0, 1, ...; every branch goes on where the beginning that it shares ends."""
        count = np.arange(len(self))
        if self.branches is None:
            return count
        starts = np.flatnonzero(np.diff(self.branches)) + 1  # of the branches, which lie one after the other
        shared = starts[0] if len(starts) else len(self)
        start_of = np.append(0, starts)[self.branches]
        return np.where(self.branches == 0, count, shared + count - start_of)


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


def join(conversations: Sequence[Rendered], name: str, task: str) -> Sample:
    """Conversations that begin alike as one sample: the shared beginning stands once, as branch 0, and the rest of
    each follows as branch 1, 2, ...; a position sees its own branch and branch 0, so each is learnt as if alone.

    This is how several questions about one image are learnt at the cost of one image (Molmo, Deitke et al. 2024:
    multi-annotated images). The beginning ends before the first id with loss; images are read in it only.
    FormatError where they share nothing, or one of them reads an image of its own.
    """
    if len(conversations) == 1:
        return sample_of(conversations[0], name, task)
    shared, first = _shared(conversations), conversations[0]
    if shared == 0 or any(run.start + run.grid[0] * run.grid[1] > shared for run in first.slots):
        raise FormatError("conversations joined into one sample have to begin alike, and to show their images there")

    def laid(field: str) -> tuple[Any, ...]:
        return (*getattr(first, field)[:shared], *(x for one in conversations for x in getattr(one, field)[shared:]))

    lengths = [shared, *(len(one.ids) - shared for one in conversations)]
    branches = np.repeat(np.arange(len(lengths), dtype=np.int16), lengths)
    whole = Rendered(laid("ids"), laid("loss_mask"), first.slots, laid("places"))
    return replace(sample_of(whole, name, task), branches=branches)


def _shared(conversations: Sequence[Rendered]) -> int:
    """How many positions all of them begin with: the id before the first with loss is each one's own."""
    first, *others = conversations
    if any(first.slots != other.slots for other in others):
        return 0
    length = min(max(one.loss_mask.index(True) - 1, 0) if any(one.loss_mask) else 0 for one in conversations)
    for other in others:
        pairs = zip(first.ids[:length], other.ids, first.places, other.places, strict=False)
        length = next((at for at, (a, b, here, there) in enumerate(pairs) if a != b or here != there), length)
    return length


def _named(image: str | None) -> str:
    if image is None:
        raise FormatError("an image is read here, but the message does not say which one")
    return image
