"""Sizes of pictures: the grids they make, the few sizes a model works at, the slices it reads a large one in.

It does not touch pixels.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

from illume.core.errors import DataError

Grid = tuple[int, int]  # (rows, columns)
Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels
MOST_SLICES = 9  # ILLUME, stage 3: an overview and at most nine slices


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


def slice_grid(size: tuple[int, int], base: tuple[int, int], most: int = MOST_SLICES) -> Grid:
    """(rows, columns) of at most `most` slices of `base` in which a picture of `size` is read with the least waste.

    All sizes are (height, width). (1, 1): the picture is read whole, an overview shows all there is. Among grids that
    waste the same, the one with fewer slices, then with fewer rows.
    """
    if most < 1:
        raise ValueError(f"a picture is read in 1 slice or more, not in {most}")
    if min(*size, *base) < 1:
        raise DataError(f"a picture of {size[0]} x {size[1]} pixels has no slices of {base[0]} x {base[1]}")
    grids = [(rows, columns) for rows in range(1, most + 1) for columns in range(1, most // rows + 1)]
    return min(grids, key=lambda grid: (slice_waste(size, base, grid), grid[0] * grid[1], grid))


def slice_waste(size: tuple[int, int], base: tuple[int, int], grid: Grid) -> Fraction:
    """What a grid of slices wastes: the pixels of its area that show nothing new, and twice those of the picture that
    are lost where it has to be scaled down to fit (once, a strip of text would be read whole, and not be legible).

    0 where the picture fills the grid as it is. The weight is ours; the paper does not say how it chooses.
    """
    canvas = (grid[0] * base[0], grid[1] * base[1])
    scale = min(Fraction(canvas[0], size[0]), Fraction(canvas[1], size[1]), Fraction(1))
    shown = size[0] * size[1] * scale**2
    return (canvas[0] * canvas[1] - shown) + 2 * (size[0] * size[1] - shown)


def slice_boxes(grid: Grid, base: tuple[int, int]) -> tuple[tuple[Box, ...], ...]:
    """The boxes of the slices in their common area, row by row."""
    height, width = base
    return tuple(
        tuple((column * width, row * height, (column + 1) * width, (row + 1) * height) for column in range(grid[1]))
        for row in range(grid[0])
    )
