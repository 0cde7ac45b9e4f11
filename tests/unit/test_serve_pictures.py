"""Pictures in and out: bombs are refused before they are decoded, masks are read as OpenAI means them."""

import base64
import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fixtures.serving import png, same, some_picture
from illume.images import ops
from illume.serve import pictures
from illume.serve.errors import ApiError
from illume.serve.pictures import Format

MOST = 10_000


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb(width: int, height: int) -> bytes:
    """A small PNG of many pixels."""
    rows = zlib.compress(b"\0" * (1 + width) * min(height, 2000), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(101, 100), (20_000, 20_000), (60_000, 60_000), (2**31 - 1, 1), (1, 2**31 - 1)])
def test_a_bomb_is_refused_without_being_unpacked(size: tuple[int, int]) -> None:
    data = bomb(*size)
    for open_it in (pictures.opened, pictures.opened_mask):
        tracemalloc.start()
        with pytest.raises(ApiError) as caught:
            open_it(data, "image", MOST)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert caught.value.status_code in (413, 422)
        assert peak < 5_000_000


def test_too_many_pixels_are_a_413_that_names_the_field() -> None:
    with pytest.raises(ApiError) as caught:
        pictures.opened(bomb(200, 200), "image", MOST)
    assert (caught.value.status_code, caught.value.param, caught.value.code) == (413, "image", "image_too_large")


@given(st.binary(max_size=300))
def test_what_is_no_picture_is_a_422(data: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        pictures.opened(data, "image", MOST)
    assert caught.value.status_code == 422


def status_of(open_it: Callable[..., Image.Image], data: bytes) -> int:
    try:
        assert open_it(data, "image", MOST).mode == "RGB"
    except ApiError as error:
        return error.status_code
    return 200


@pytest.mark.filterwarnings("ignore::UserWarning")  # that is how Pillow tells of damage
@given(st.integers(0, 10**6), st.data())
def test_a_damaged_picture_is_a_picture_or_a_422(where: int, data: st.DataObject) -> None:
    file = bytearray(png(some_picture(), data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "TIFF"]))))
    file[where % len(file)] ^= data.draw(st.integers(1, 255))
    for open_it in (pictures.opened, pictures.opened_mask):
        assert status_of(open_it, bytes(file)) in (200, 413, 422)


def test_an_animation_and_a_program_are_no_pictures() -> None:
    frames = io.BytesIO()
    some_picture().save(frames, "GIF", save_all=True, append_images=[some_picture(1)])
    for data in (frames.getvalue(), b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n", b"<svg/>"):
        with pytest.raises(ApiError):
            pictures.opened(data, "image", MOST)


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_the_best_of_png_and_webp_lose_nothing(kind: str) -> None:
    picture = some_picture()
    assert same(ops.decode(Format(kind).encoded(picture)), picture)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["webp", "jpeg"])
def test_quality_is_what_it_costs(kind: str) -> None:
    picture = some_picture(size=(64, 64))
    sizes = [len(Format(kind, quality).encoded(picture)) for quality in (0, 30, 60, 100)]  # type: ignore[arg-type]
    assert sizes == sorted(set(sizes))


def test_a_data_url_is_what_it_holds() -> None:
    file = png(some_picture())
    assert pictures.of_data_url(Format().url(file), "image") == file
    code = base64.b64encode(file).decode()
    assert pictures.of_data_url(f"DATA:image/png;charset=x;base64,{code}", "image") == file


@pytest.mark.parametrize(
    "url",
    ["", "data:", "data:text/html;base64,AAAA", "data:image/png,AAAA", "data:image/png;base64,A",
     "data:image/png;base64,ä", "data:image/png;base64,AA AA", "file:///etc/passwd", "/etc/passwd", "blob:x"],
)  # fmt: skip
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ApiError) as caught:
        pictures.of_data_url(url, "image")
    assert caught.value.status_code == 400


def masked(alpha: np.ndarray, kind: str = "PNG") -> bytes:
    pixels = np.concatenate([np.full((*alpha.shape, 3), 255, np.uint8), alpha[..., None]], axis=-1)
    data = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(data, kind, lossless=True)
    return data.getvalue()


def check_mask(read: object) -> None:
    """What is fully transparent is painted anew, whatever colour it has; half of it is not."""
    alpha = np.array([[0, 1, 128, 255]] * 4, np.uint8)
    for kind in ("PNG", "WEBP"):
        mask = np.array(read(masked(alpha, kind), "mask", MOST).convert("L")) > 127  # type: ignore[operator]
        assert np.array_equal(mask, alpha == 0)


def test_a_mask_says_by_transparency_what_is_painted_anew() -> None:
    check_mask(pictures.opened_mask)


def test_the_check_catches_a_mask_that_is_read_as_a_picture() -> None:
    with pytest.raises(AssertionError):
        check_mask(pictures.opened)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_a_mask_without_transparency_says_it_in_white(kind: str) -> None:
    picture = Image.new("RGB", (8, 8))
    picture.paste((255, 255, 255), (0, 0, 8, 4))
    mask = np.array(pictures.opened_mask(png(picture, kind), "mask", MOST).convert("L")) > 127
    assert mask[:4].all()
    assert not mask[4:].any()
