"""Which ids mean what: one range of ids for text, markers, sizes and each codebook level; and what a frame is made of.

It does not know text tokenizers, conversations or turns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate

from illume.core.errors import FormatError
from illume.vocab.messages import Grid, ImageFrame

Place = tuple[int, int, int]
"""(level, row, column) of one code or slot."""


@dataclass(frozen=True)
class Step:
    """One position of a frame: the ids it may hold, its place if that is a code or a slot, its name for a reader."""

    ids: range
    place: Place | None
    name: str


@dataclass(frozen=True)
class VocabLayout:
    """The vocabulary of one model.

    In order: text ids, padding, markers, height ids, width ids, the codes of each level, and one slot id that stands
    where features are put and is never predicted. Marker order and size ids are those of ILLUME+ (arXiv 2504.01934).

    `sides` says what the size tags mean: with height tag i an image has `sides[i][l]` rows of codes at level l, with
    width tag i as many columns. Empty: tags are not tied to grids, and no frame can be sized.
    `row_ends` and `level_markers` belong to frames; `reread` says that a drawn image is read again before anything
    follows it. `depths` says how many levels, one after the other, write each grid of features that is read (empty: one
    each): a feature told by several codes is still read through one slot.
    """

    text_size: int
    levels: tuple[int, ...]
    text_padding: int = 0
    num_sizes: int = 16
    row_ends: bool = True
    level_markers: bool = True
    reread: bool = True
    sides: tuple[tuple[int, ...], ...] = ()
    depths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.text_size < 1 or not self.levels or min(self.levels) < 1:
            raise ValueError("a layout needs at least one text id and one codebook level, each level one code or more")
        if self.text_padding < 0 or self.num_sizes < 0:
            raise ValueError("text_padding and num_sizes are counts, not negative")
        if self.depths and (min(self.depths) < 1 or sum(self.depths) != len(self.levels)):
            raise ValueError(
                f"depths {self.depths} part the {len(self.levels)} levels: they are counts that add up to it"
            )
        self._check_sides()

    def _check_sides(self) -> None:
        if self.sides and len(self.sides) != self.num_sizes:
            raise ValueError(f"sides gives {len(self.sides)} sizes, num_sizes is {self.num_sizes}")
        if any(len(side) != len(self.levels) or min(side) < 1 for side in self.sides):
            raise ValueError(f"each entry of sides gives one positive count for each of the {len(self.levels)} levels")
        if len(set(self.sides)) != len(self.sides):
            raise ValueError("two size tags mean the same side: a frame would not say which of them it has")

    @cached_property
    def read_levels(self) -> tuple[int, ...]:
        """The levels whose grids have slots where an image is read: the first of each grid of features."""
        depths = self.depths or (1,) * len(self.levels)
        return tuple(accumulate(depths, initial=0))[:-1]

    @cached_property
    def markers(self) -> tuple[str, ...]:
        """The names of the markers in use, in the order of their ids."""
        row = ("end_of_line",) if self.row_ends else ()
        level = [f"{end}_of_level{n}" for n in range(len(self.levels)) for end in ("start", "end")]
        return ("start_of_image", "end_of_image", *row, *(level if self.level_markers else ()))

    @cached_property
    def _ranges(self) -> dict[str, range]:
        sizes = {"text": self.text_size, "padding": self.text_padding, "markers": len(self.markers)}
        sizes |= {"heights": self.num_sizes, "widths": self.num_sizes}
        sizes |= {f"level{n}": size for n, size in enumerate(self.levels)} | {"slot": 1}
        ranges, start = {}, 0
        for name, size in sizes.items():
            ranges[name] = range(start, start + size)
            start += size
        return ranges

    def ranges(self) -> dict[str, range]:
        """Name -> ids, in order, tiling [0, size). Padding and sizes may be empty."""
        return dict(self._ranges)

    @property
    def size(self) -> int:
        """Number of ids, the slot included."""
        return self._ranges["slot"].stop

    @property
    def vision_start(self) -> int:
        """The first marker: text rows are [0, vision_start), vision rows the rest."""
        return self._ranges["markers"].start

    @property
    def slot(self) -> int:
        """The id that stands where features are put."""
        return self._ranges["slot"].start

    def marker(self, name: str) -> int:
        """The id of a marker; FormatError if this layout does not use it."""
        if name not in self.markers:
            raise FormatError(f"this layout has no marker {name!r}; it has {', '.join(self.markers)}")
        return self.vision_start + self.markers.index(name)

    def region(self, id: int) -> str:
        """The name of the range that holds an id; FormatError outside [0, size)."""
        for name, ids in self._ranges.items():
            if id in ids:
                return name
        raise FormatError(f"id {id} is outside the vocabulary [0, {self.size})")

    def code_id(self, level: int, code: int) -> int:
        """(level, code) -> id; FormatError if that level has no such code."""
        if not (0 <= level < len(self.levels) and 0 <= code < self.levels[level]):
            raise FormatError(f"level {level} has no code {code}; codebook sizes are {self.levels}")
        return self._ranges[f"level{level}"].start + code

    def code_of(self, id: int) -> tuple[int, int]:
        """id -> (level, code); FormatError if the id is not a code."""
        for level in range(len(self.levels)):
            ids = self._ranges[f"level{level}"]
            if id in ids:
                return level, id - ids.start
        raise FormatError(f"id {id} is {self.describe(id)}, not a code")

    def describe(self, id: int) -> str:
        """An id in words, for messages and the documentation."""
        region = self.region(id)
        index = id - self._ranges[region].start
        if region == "markers":
            return f"<{self.markers[index]}>"
        if region in ("heights", "widths"):
            return f"<{region[:-1]}{index}>"
        return {"text": f"text id {id}", "padding": f"padding id {id}", "slot": "<slot>"}.get(
            region, f"{region}:{index}"
        )

    def frame_of(self, height: int, width: int) -> ImageFrame:
        """The frame that a pair of size tags means; FormatError where the tags mean nothing."""
        if not self.sides:
            raise FormatError("size tags have no meaning in this layout: give it `sides`")
        if not (0 <= height < self.num_sizes and 0 <= width < self.num_sizes):
            raise FormatError(f"size tags are in [0, {self.num_sizes}), not {height} and {width}")
        return ImageFrame(tuple(zip(self.sides[height], self.sides[width], strict=True)))

    def whole(self, grids: Sequence[Grid]) -> tuple[Grid, ...]:
        """The grid of every level, given those that are read."""
        depths = self.depths or (1,) * len(self.levels)
        return tuple(grid for grid, depth in zip(grids, depths, strict=True) for _ in range(depth))

    def tags_of(self, frame: ImageFrame) -> tuple[int, int]:
        """The (height, width) tags of a frame; FormatError if no pair of tags means it."""
        rows, columns = tuple(g[0] for g in frame.grids), tuple(g[1] for g in frame.grids)
        if rows not in self.sides or columns not in self.sides:
            raise FormatError(f"no size tags of this layout mean the grids {frame.grids}")
        return self.sides.index(rows), self.sides.index(columns)


@lru_cache(maxsize=256)
def written_frame(layout: VocabLayout, frame: ImageFrame, sized: bool) -> tuple[Step, ...]:
    """The positions of an image that is drawn: size tags, markers, codes, row ends.

    Whoever renders, parses or draws an image follows these steps; no other place knows them. FormatError for a frame
    whose grids could not be told from its ids.
    """
    square = all(rows == columns for rows, columns in frame.grids)
    if not (square or layout.row_ends or sized):
        raise FormatError(f"without row ends or size tags, codes say nothing of the grids {frame.grids}")
    sizes: tuple[Step, ...] = ()
    if sized:
        height, width = layout.tags_of(frame)
        sizes = (_size(layout, "height", height), _size(layout, "width", width))
    return (*sizes, *_frame(layout, frame, written=True))


@lru_cache(maxsize=256)
def read_frame(layout: VocabLayout, frame: ImageFrame) -> tuple[Step, ...]:
    """The positions of an image that is read: markers and slots."""
    return _frame(layout, frame, written=False)


def _frame(layout: VocabLayout, frame: ImageFrame, written: bool) -> tuple[Step, ...]:
    if len(frame.grids) != len(layout.levels):
        raise FormatError(f"a frame of {len(frame.grids)} levels in a layout of {len(layout.levels)}")
    if frame.grids != layout.whole([frame.grids[level] for level in layout.read_levels]):
        raise FormatError(f"levels that write the same features have the same grid, unlike {frame.grids}")
    steps = [_marker(layout, "start_of_image")]
    for level in range(len(layout.levels)) if written else layout.read_levels:
        inside = _cells(layout, level, frame.grids[level], written)
        if layout.level_markers:
            inside = [_marker(layout, f"start_of_level{level}"), *inside, _marker(layout, f"end_of_level{level}")]
        steps += inside
    return (*steps, _marker(layout, "end_of_image"))


def _cells(layout: VocabLayout, level: int, grid: Grid, written: bool) -> list[Step]:
    region = f"level{level}" if written else "slot"
    ids, name = layout.ranges()[region], "a code of level " + str(level) if written else "<slot>"
    steps = []
    for row in range(grid[0]):
        steps += [Step(ids, (level, row, column), name) for column in range(grid[1])]
        if written and layout.row_ends:
            steps.append(_marker(layout, "end_of_line"))
    return steps


def _marker(layout: VocabLayout, name: str) -> Step:
    id = layout.marker(name)
    return Step(range(id, id + 1), None, f"<{name}>")


def _size(layout: VocabLayout, side: str, index: int) -> Step:
    id = layout.ranges()[f"{side}s"][index]
    return Step(range(id, id + 1), None, f"<{side}{index}>")
