"""Who sits in which row of the cache, and what rows that were left still hold: what begins alike is not read twice.

It does not know tensors, nor why a row is wanted.
"""

from collections.abc import Mapping
from collections.abc import Sequence as Seq
from typing import TypeAlias

from illume.generate.sequence import Stretch

# What a position of the cache depends on beside those before it: an id and its place, or a slot's image, level, number.
Mark: TypeAlias = tuple[object, ...]
LEAST = 16  # positions that make it worth while to take over another row's


def marks_of(stretch: Stretch, images: Mapping[str, str]) -> list[Mark]:
    """One mark a position; `images` names what each image shows, so that equal pictures are equal."""
    marks: list[Mark] = list(zip(stretch.ids, stretch.places, strict=True))
    for run in stretch.slots:
        image = images[str(run.image)]
        for i in range(run.grid[0] * run.grid[1]):
            marks[run.start + i] = (image, run.level, i, stretch.places[run.start + i])
    return marks


class Rows:
    """Rows by number. One that was left keeps what it held until it is taken anew, the longest left first."""

    def __init__(self, number: int) -> None:
        self.held: list[list[Mark]] = [[] for _ in range(number)]
        self._free = dict.fromkeys(range(number))  # in the order in which they were left

    @property
    def free(self) -> int:
        """How many rows are free."""
        return len(self._free)

    def take(self, marks: Seq[Mark]) -> int:
        """A free row near those in use, for a step computes all rows from the first in use to the last: of the nearest
        the one that holds most of the beginning of `marks`, or else the one left longest ago."""
        used = [row for row in range(len(self.held)) if row not in self._free] or sorted(self._free)
        away = {row: max(0, used[0] - row, row - used[-1]) for row in self._free}
        nearest = min(away.values())
        near = [row for row in self._free if away[row] == nearest]
        shared = {row: _shared(self.held[row], marks) for row in near}
        best = max(near, key=lambda row: shared[row])
        row = best if shared[best] >= LEAST else near[0]
        del self._free[row]
        return row

    def leave(self, row: int) -> None:
        """Give a row back."""
        self._free[row] = None

    def beginning(self, marks: Seq[Mark]) -> tuple[int, int]:
        """The row that holds most of the beginning of `marks`, and how many positions: never all, for what follows the
        last one is asked of the model. None at all where it is not worth while."""
        shared = [_shared(held, marks) for held in self.held]
        row = max(range(len(shared)), key=lambda row: shared[row])
        count = min(shared[row], len(marks) - 1)
        return row, count if count >= LEAST else 0


def _shared(held: Seq[Mark], marks: Seq[Mark]) -> int:
    """How many positions two rows begin with alike."""
    low, high = 0, min(len(held), len(marks))
    while low < high:  # by halves: comparing slices is far faster than comparing in a loop
        middle = (low + high + 1) // 2
        low, high = (middle, high) if held[low:middle] == marks[low:middle] else (low, middle - 1)
    return low
