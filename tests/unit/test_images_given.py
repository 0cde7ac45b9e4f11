"""Images given as objects are read as their files are, or refused in words."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from illume.core.errors import DataError
from illume.images import given, ops
from illume.images.given import opened, whole
from illume.images.masks import region_of

MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "I;16", "I")


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def photograph(orientation: int) -> bytes:
    """A JPEG as a phone writes it: its pixels lie, a tag says which side is up."""
    exif, data = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    noise(20, 10).save(data, "JPEG", exif=exif)
    return data.getvalue()


def check_upright(read: Callable[[Any], Image.Image]) -> None:
    for orientation in range(1, 9):
        data = photograph(orientation)
        for picture in (Image.open(io.BytesIO(data)), Image.open(io.BytesIO(data)).convert("RGB")):
            assert np.array_equal(np.array(read(picture)), np.array(read(data)))


def test_a_photograph_stands_upright_however_it_is_given() -> None:
    check_upright(opened)
    check_upright(whole)


def test_the_check_catches_a_picture_that_is_taken_as_it_lies() -> None:
    with pytest.raises(AssertionError):
        check_upright(lambda image: image if isinstance(image, Image.Image) else opened(image))


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_read(mode: str) -> None:
    source = Image.new("LA", (3, 2), (90, 255)) if mode in ("La", "PA") else Image.new("RGB", (3, 2), (90, 90, 90))
    source = source.convert("RGBA") if mode == "RGBa" else source.convert("L") if mode in ("I;16", "I") else source
    picture = opened(source.convert(mode))
    assert (picture.mode, picture.size) == ("RGB", (3, 2))
    if mode not in ("1", "P", "I;16", "I"):
        assert abs(int(np.array(picture)[0, 0, 0]) - 90) <= 2


def test_arrays_are_read() -> None:
    grey = np.full((2, 3), 7, np.uint8)
    for array in (grey, np.stack([grey] * 3, axis=2), np.stack([grey] * 3 + [grey + 248], axis=2)):
        assert np.array_equal(np.array(opened(array)), np.full((2, 3, 3), 7))


class Nothing:
    """What is no image at all."""


WRONG: dict[str, Any] = {
    "none": None, "list": [[0, 0], [0, 0]], "tensor": torch.zeros(3, 2, 2), "bytearray": bytearray(b"abc"),
    "object": Nothing(), "number": 3, "empty array": np.zeros((0, 0, 3), np.uint8),
    "empty rows": np.zeros((4, 0), np.uint8), "one channel": np.zeros((2, 2, 1), np.uint8),
    "five": np.zeros((2, 2, 5), np.uint8), "floats": np.zeros((2, 2, 3)), "line": np.zeros(4, np.uint8),
    "text": "no such file.png", "bytes": b"abc", "folder": Path(), "no area": Image.new("RGB", (0, 4)),
    "float picture": Image.new("F", (2, 2)),
    "truncated": photograph(1)[:300],
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_image_is_refused_in_words(name: str) -> None:
    for read in (opened, whole):
        with pytest.raises(DataError):
            read(WRONG[name])


def test_a_picture_that_cannot_be_read_is_refused_when_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="truncated"):
        opened(Image.open(io.BytesIO(photograph(1)[:-200])))
    animation = io.BytesIO()
    noise(4, 4).save(animation, "GIF", save_all=True, append_images=[noise(4, 5).resize((4, 4))])
    with pytest.raises(DataError, match="2 frames"):
        opened(Image.open(animation))
    monkeypatch.setattr(ops, "check_area", lambda image, where, most: (_ for _ in ()).throw(DataError("large")))
    with pytest.raises(DataError, match="large"):
        given.opened(noise(4, 4))


@pytest.mark.parametrize("box", [(1, 2, 3), (0, 0, 2, 2, 2), (0.0, 0, 2, 2), ("0", "0", "2", "2"), (None,) * 4, ()])
def test_a_box_is_four_whole_numbers(box: Any) -> None:
    with pytest.raises(DataError, match="four whole numbers"):
        region_of(box, (4, 4))
    assert region_of((np.int64(0), 0, np.uint8(2), 2), (4, 4)).sum() == 4  # type: ignore[arg-type]
