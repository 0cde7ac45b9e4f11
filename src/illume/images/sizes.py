"""Sizes of pictures: the grids they make and the few sizes a model works at; it does not touch pixels."""

import math
from dataclasses import dataclass

from illume.core.errors import DataError

Grid = tuple[int, int]  # (rows, columns)


def grid_of(size: int | tuple[int, int], stride: int) -> Grid:
    """(rows, columns) of a picture of `size` pixels, one side or (height, width), at `stride` pixels a cell.

    Raises DataError where the stride does not divide the size: nothing is cut off or padded silently.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    if height < 1 or width < 1 or height % stride or width % stride:
        raise DataError(f"a picture of {height} x {width} pixels does not divide into cells of {stride} x {stride}")
    return height // stride, width // stride


@dataclass(frozen=True)
class SizeBuckets:
    """The (height, width) sizes in pixels a model works at, in the order of preference among equals."""

    sizes: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if not self.sizes:
            raise ValueError("sizes: at least one (height, width) is needed")
        if len(set(self.sizes)) < len(self.sizes) or any(side < 1 for size in self.sizes for side in size):
            raise ValueError(f"sizes: expected different (height, width) pairs of at least 1, got {self.sizes}")

    def nearest(self, height: int, width: int) -> tuple[int, int]:
        """The size closest in shape (ratio of the sides), and among those of one shape closest in area."""
        if height < 1 or width < 1:
            raise DataError(f"a picture of {height} x {width} pixels has no shape")

        def distance(size: tuple[int, int]) -> tuple[float, float]:
            shape = abs(math.log(size[1] / size[0]) - math.log(width / height))
            return round(shape, 9), abs(math.log(size[0] * size[1]) - math.log(height * width))

        return min(self.sizes, key=distance)

    @property
    def heights(self) -> tuple[int, ...]:
        """The different heights in rising order: a height tag is an index into these."""
        return tuple(sorted({height for height, _ in self.sizes}))

    @property
    def widths(self) -> tuple[int, ...]:
        """The different widths in rising order: a width tag is an index into these."""
        return tuple(sorted({width for _, width in self.sizes}))

    def tags(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (height, width) tag indices of one of the sizes; DataError for any other size."""
        if size not in self.sizes:
            raise DataError(
                f"{size[0]} x {size[1]} is none of the sizes {', '.join(f'{h} x {w}' for h, w in self.sizes)}"
            )
        return self.heights.index(size[0]), self.widths.index(size[1])

    def size_of(self, height_tag: int, width_tag: int) -> tuple[int, int]:
        """The size of two tag indices; DataError where they name none of the sizes."""
        inside = 0 <= height_tag < len(self.heights) and 0 <= width_tag < len(self.widths)
        size = (self.heights[height_tag], self.widths[width_tag]) if inside else None
        if size is None or size not in self.sizes:
            raise DataError(f"size tags ({height_tag}, {width_tag}) name none of the sizes")
        return size
