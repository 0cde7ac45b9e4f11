"""Masks: what they mark, what they refuse, and that a composite changes the marked pixels alone."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from illume.core.errors import DataError
from illume.images import ops
from illume.images.masks import MARKER, Region, as_picture, composite, found_marked, marked, region_of, touched

SIZE = (6, 8)  # height, width


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 200, (*SIZE, 3), dtype=np.uint8))


def mask_image(box: tuple[int, int, int, int], white: int = 255) -> Image.Image:
    pixels = np.zeros(SIZE, np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = white
    return Image.fromarray(pixels)


@pytest.mark.parametrize("box", [(0, 0, 8, 6), (2, 1, 5, 6), (7, 5, 8, 6)])
def test_a_box_and_its_white_picture_mark_the_same(box: tuple[int, int, int, int]) -> None:
    region = region_of(box, SIZE)
    assert region.sum() == (box[2] - box[0]) * (box[3] - box[1])
    for picture in (mask_image(box), mask_image(box, 128), mask_image(box).convert("RGB"), as_picture(region)):
        assert np.array_equal(region_of(picture, SIZE), region)
    assert np.array_equal(touched(mask_image(box, 1)), region)


Compose = Callable[[Image.Image, Image.Image, Region], Image.Image]


def check_only_the_region_changes(compose: Compose) -> None:
    kept, drawn, region = noise(1), noise(2), region_of((2, 1, 5, 6), SIZE)
    made = np.array(compose(kept, drawn, region))
    assert np.array_equal(made[region], np.array(drawn)[region])
    assert np.array_equal(made[~region], np.array(kept)[~region])


def test_a_composite_is_the_drawing_inside_and_the_source_outside() -> None:
    check_only_the_region_changes(composite)


@pytest.mark.parametrize("broken", [lambda k, d, r: d, lambda k, d, r: k, lambda k, d, r: composite(d, k, r)])
def test_the_check_catches_what_keeps_too_little_or_too_much(broken: Compose) -> None:
    with pytest.raises(AssertionError):
        check_only_the_region_changes(broken)


def test_nothing_of_the_region_is_left_to_see() -> None:
    region = region_of((2, 1, 5, 6), SIZE)
    shown = np.array(marked(noise(1), region))
    assert (shown[region] == MARKER).all()
    assert np.array_equal(shown[~region], np.array(noise(1))[~region])


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (Image.new("L", (6, 8), 255), "m.png has 6 x 8 pixels, the image 8 x 6: make them one size"),
        (Image.new("L", (8, 6), 127), "m.png marks nothing"),
        ((0, 0, 9, 6), r"the box \[0, 0, 9, 6\] .* none of 8 x 6 pixels"),
        ((-1, 0, 2, 6), "none of 8 x 6"),
        ((3, 0, 3, 6), "none of 8 x 6"),
        ((3, 4, 5, 2), "none of 8 x 6"),
    ],
)
def test_masks_that_cannot_be_laid_over_the_picture_are_refused(mask: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        region_of(mask, SIZE, "m.png")  # type: ignore[arg-type]


@pytest.mark.parametrize("box", [(8, 8, 40, 24), (0, 0, 64, 64), (20, 21, 44, 51)])
def test_a_marked_region_is_found_again_after_resizing(box: tuple[int, int, int, int]) -> None:
    """Nothing outside of what it touches, and most of it."""
    noise = np.random.default_rng(0).integers(0, 200, (64, 64, 3), dtype=np.uint8)
    region = region_of(box, (64, 64))
    found = found_marked(ops.fit(marked(Image.fromarray(noise), region), 32))
    inside = touched(ops.fit(as_picture(region), 32))
    assert not (found & ~inside).any()
    assert found.sum() > 0.6 * inside.sum()
