"""Slices tile the picture, lose nothing of it, and are of the grid that wastes least."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from illume.core.errors import DataError
from illume.images import slices as slices_module
from illume.images.sizes import Grid, slice_boxes, slice_grid, slice_waste
from illume.images.slices import Sliced, cut

SIDES = st.integers(1, 5000)
SIZES, BASES = st.tuples(SIDES, SIDES), st.tuples(st.integers(1, 700), st.integers(1, 700))
GRIDS = st.sampled_from([(r, c) for r, c in product(range(1, 10), repeat=2) if r * c <= 9])


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), np.uint8))


@given(SIZES, BASES, st.integers(1, 12))
def test_the_grid_wastes_least(size: tuple[int, int], base: tuple[int, int], most: int) -> None:
    """Against all grids, by the area left white and twice the area lost, worked out once more."""
    chosen = slice_grid(size, base, most)
    assert 1 <= chosen[0] * chosen[1] <= most

    def waste(grid: Grid) -> float:
        height, width = grid[0] * base[0], grid[1] * base[1]
        scale = min(1.0, height / size[0], width / size[1])
        shown = (size[0] * scale) * (size[1] * scale)
        return (height * width - shown) + 2 * (size[0] * size[1] - shown)

    best = min(waste((r, c)) for r, c in product(range(1, most + 1), repeat=2) if r * c <= most)
    assert waste(chosen) == pytest.approx(best, rel=1e-9, abs=1e-3)
    assert float(slice_waste(size, base, chosen)) == pytest.approx(waste(chosen), rel=1e-9, abs=1e-3)


@given(GRIDS, BASES)
def test_a_picture_that_fills_a_grid_has_that_grid(grid: Grid, base: tuple[int, int]) -> None:
    assert slice_waste((grid[0] * base[0], grid[1] * base[1]), base, grid) == 0
    assert slice_grid((grid[0] * base[0], grid[1] * base[1]), base) == grid


@given(BASES, st.integers(1, 100), st.integers(1, 100))
def test_a_picture_no_larger_than_the_base_is_read_whole(base: tuple[int, int], down: int, right: int) -> None:
    assert slice_grid((max(1, base[0] - down), max(1, base[1] - right)), base) == (1, 1)


@given(SIZES, BASES)
def test_a_turned_picture_has_the_turned_grid(size: tuple[int, int], base: tuple[int, int]) -> None:
    waste = slice_waste(size, base, slice_grid(size, base))
    turned = slice_grid(size[::-1], base[::-1])
    assert slice_waste(size[::-1], base[::-1], turned) == waste


@given(GRIDS, BASES)
def test_boxes_tile_the_area(grid: Grid, base: tuple[int, int]) -> None:
    boxes = [box for row in slice_boxes(grid, base) for box in row]
    assert sum((right - left) * (bottom - top) for left, top, right, bottom in boxes) == (
        grid[0] * grid[1] * base[0] * base[1]
    )
    assert {(top // base[0], left // base[1]) for left, top, _, _ in boxes} == set(product(*map(range, grid)))
    assert boxes == sorted(boxes, key=lambda box: (box[1], box[0]))  # row by row
    assert {(bottom - top, right - left) for left, top, right, bottom in boxes} == {base}


def joined(found: Sliced) -> np.ndarray:
    return np.vstack([np.hstack([np.asarray(one) for one in row]) for row in found.rows])


def check_lossless(make: Callable[..., Sliced], grid: Grid) -> None:
    """A picture that fills a grid is in its slices pixel for pixel, each in its place."""
    picture = noise(grid[0] * 6, grid[1] * 5)
    found = make(picture, (6, 5))
    assert found.grid == grid
    assert {one.size for row in found.rows for one in row} == {(5, 6)}
    assert np.array_equal(joined(found), np.asarray(picture))


@pytest.mark.parametrize("grid", [(r, c) for r, c in product(range(1, 10), repeat=2) if 2 <= r * c <= 9])
def test_no_pixel_is_lost(grid: Grid) -> None:
    check_lossless(cut, grid)


def test_the_check_catches_columns_before_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        slices_module, "slice_boxes", lambda grid, base: tuple(zip(*slice_boxes(grid, base), strict=True))
    )
    for grid in ((2, 3), (2, 2)):
        with pytest.raises((AssertionError, ValueError)):
            check_lossless(cut, grid)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60))
def test_a_picture_of_any_shape_is_whole_in_its_slices(height: int, width: int) -> None:
    """A black picture on white: its shape and its area are there in overview and slices."""
    found = cut(Image.new("RGB", (width, height)), (8, 8))
    assert found.overview.size == (8, 8)
    assert found.grid == (0, 0) or found.grid == slice_grid((height, width), (8, 8))
    canvas = joined(found) if found.rows else np.asarray(found.overview)
    dark = (canvas < 128).any(axis=2)
    scale = min(canvas.shape[0] / height, canvas.shape[1] / width)
    for axis, side in ((1, height), (0, width)):
        assert abs(dark.any(axis=axis).sum() - max(1, side * scale)) <= 1


def test_examples_at_the_papers_size() -> None:
    base = (448, 448)
    shapes = {(448, 448): (1, 1), (900, 900): (2, 2), (448, 1344): (1, 3), (1344, 1344): (3, 3), (4000, 4000): (3, 3)}
    shapes |= {(500, 450): (1, 1), (1080, 1920): (2, 4), (3508, 2480): (3, 2), (200, 3000): (1, 7)}
    assert {size: slice_grid(size, base) for size in shapes} == shapes


def test_impossible_slices_are_refused() -> None:
    with pytest.raises(ValueError, match="1 slice or more"):
        slice_grid((10, 10), (4, 4), 0)
    with pytest.raises(DataError, match="no slices"):
        slice_grid((0, 10), (4, 4))
