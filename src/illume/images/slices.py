"""A large picture as an overview and slices, each of the size that a model reads (ILLUME, stage 3).

It does not know how they stand in a conversation: tasks/detail.py does.
"""

from dataclasses import dataclass

from PIL import Image

from illume.images import ops
from illume.images.sizes import MOST_SLICES, Grid, slice_boxes, slice_grid


@dataclass(frozen=True)
class Sliced:
    """`overview` shows the whole picture; `rows` of slices show it again in more pixels, and are empty where the
    overview shows all there is."""

    overview: Image.Image
    rows: tuple[tuple[Image.Image, ...], ...]

    @property
    def grid(self) -> Grid:
        """Rows and columns of slices; (0, 0) where there are none."""
        return len(self.rows), len(self.rows[0]) if self.rows else 0

    def piece(self, place: tuple[int, int] | None) -> Image.Image:
        """The slice at (row, column); None: the overview."""
        return self.overview if place is None else self.rows[place[0]][place[1]]


def cut(picture: Image.Image, base: tuple[int, int], most: int = MOST_SLICES) -> Sliced:
    """An overview of (height, width) `base` and at most `most` slices of that size, which tile the scaled picture.

    The picture's shape is kept, what it does not fill is white: nothing is cut off. A picture that fills a grid of
    slices exactly is in them pixel for pixel.
    """
    grid = slice_grid((picture.height, picture.width), base, most)
    overview = ops.fit(picture, base, "contain")
    if grid == (1, 1):
        return Sliced(overview, ())
    canvas = ops.fit(picture, (grid[0] * base[0], grid[1] * base[1]), "contain")
    return Sliced(overview, tuple(tuple(map(canvas.crop, row)) for row in slice_boxes(grid, base)))
