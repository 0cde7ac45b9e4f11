"""Every odd image file gives the right pixels or a DataError that says what is wrong."""

import io
import math
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from illume.core.errors import DataError
from illume.images.ops import decode, fit, from_pixels, psnr, to_array, to_pixels

RAMP = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels_of(data, **options):
    return to_array(decode(data, **options))


def noise(height, width):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


# -- the right pixels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_images_ops_lossless_kinds_come_back_exact(kind, tmp_path):
    data = encoded(Image.fromarray(RAMP), kind)
    assert np.array_equal(pixels_of(data), RAMP)
    (tmp_path / "a").write_bytes(data)
    assert np.array_equal(pixels_of(tmp_path / "a"), RAMP)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_images_ops_lossy_kinds_come_back_close(kind):
    flat = Image.new("RGB", (16, 8), (200, 40, 90))
    assert np.abs(pixels_of(encoded(flat, kind)).astype(int) - (200, 40, 90)).max() <= 8


def check_alpha(to_rgb):
    """White shows through by as much as the picture is transparent."""
    image = Image.fromarray(np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], dtype=np.uint8))
    assert to_rgb(encoded(image)).tolist() == [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]]


def test_images_ops_alpha_lies_over_white():
    check_alpha(pixels_of)


def test_images_ops_alpha_catches_dropping_the_channel():
    with pytest.raises(AssertionError):
        check_alpha(lambda data: np.array(Image.open(io.BytesIO(data)).convert("RGB")))


def test_images_ops_transparency_of_other_modes_lies_over_white():
    grey = Image.fromarray(np.array([[[7, 255], [7, 0]]], dtype=np.uint8), "LA")
    assert pixels_of(encoded(grey)).tolist() == [[[7] * 3, [255] * 3]]
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "P")
    palette.putpalette([1, 2, 3, 4, 5, 6])
    assert pixels_of(encoded(palette)).tolist() == [[[1, 2, 3], [4, 5, 6]]]
    assert pixels_of(encoded(palette, transparency=1)).tolist() == [[[1, 2, 3], [255] * 3]]
    plain = Image.fromarray(RAMP)
    assert pixels_of(encoded(plain, transparency=(0, 5, 10)))[0, 0].tolist() == [255] * 3


def test_images_ops_grey_and_bilevel():
    grey = Image.fromarray(RAMP[..., 0])
    assert np.array_equal(pixels_of(encoded(grey)), np.repeat(RAMP[..., :1], 3, axis=2))
    assert pixels_of(encoded(Image.new("1", (2, 1), 1))).tolist() == [[[255] * 3] * 2]


def check_sixteen_bits(to_rgb, kind="PNG"):
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    assert to_rgb(encoded(Image.fromarray(values), kind))[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_images_ops_sixteen_bit_grey_is_scaled(kind):
    check_sixteen_bits(pixels_of, kind)


def sixteen_bit_colour_png(values):
    """A PNG of 16 bits a channel, which Pillow reads but does not write."""
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0), b"IDAT" + zlib.compress(rows), b"IEND")
    framed = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def test_images_ops_sixteen_bit_colour_is_scaled():
    values = np.arange(48).reshape(4, 4, 3) * 1365
    shown = pixels_of(sixteen_bit_colour_png(values))
    assert np.abs(shown - values / 257).max() <= 1


def test_images_ops_sixteen_bits_catches_clipping():
    def clipped(data):
        values = np.asarray(Image.open(io.BytesIO(data))).clip(0, 255).astype(np.uint8)
        return np.repeat(values[..., None], 3, axis=2)

    with pytest.raises(AssertionError):
        check_sixteen_bits(clipped)


def test_images_ops_cmyk_keeps_its_colours():
    cmyk = Image.fromarray(RAMP).resize((16, 16)).convert("CMYK")
    for kind, tolerance in (("TIFF", 0), ("JPEG", 12)):
        shown = pixels_of(encoded(cmyk, kind)).astype(int)
        assert np.abs(shown - np.array(cmyk.convert("RGB"))).max() <= tolerance


def test_images_ops_pictures_stand_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees to see it upright
    assert np.array_equal(pixels_of(encoded(Image.fromarray(RAMP), exif=exif)), np.rot90(RAMP, 3))


def test_images_ops_a_cameras_jpeg_with_previews_is_a_still_picture():
    flat = Image.new("RGB", (8, 8), (200, 40, 90))
    data = encoded(flat, "MPO", save_all=True, append_images=[Image.new("RGB", (4, 4))])
    assert decode(data).size == (8, 8)


# -- clear errors ---------------------------------------------------------------------------------------------------


def animated(kind):
    return encoded(noise(8, 8), kind, save_all=True, append_images=[noise(8, 8).rotate(90)])


def bombs():
    yield "an empty file", b""
    yield "not an image", b"hello, this is a text file\n" * 10
    yield "not an image", bytes(range(256)) * 8
    yield "not an image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n"
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "GIF"):
        yield "truncated or damaged|not an image", encoded(noise(64, 64), kind)[:-2000]
    yield "truncated or damaged|not an image", encoded(noise(64, 64))[:20]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        yield "2 frames", animated(kind)
    yield "200 x 200 pixels, more than 10,000", encoded(noise(200, 200))
    yield "without area|damaged|not an image", b"P6\n0 5\n255\n"
    yield (
        "without area|damaged|not an image",
        encoded(noise(4, 4), "BMP").replace(b"\x04\0\0\0\x04\0\0\0", b"\0" * 8, 1),
    )
    yield "floating-point", encoded(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF")
    yield "beyond 16 bits", encoded(Image.fromarray(np.full((2, 2), 70_000, np.int32)), "TIFF")


@pytest.mark.parametrize(("words", "data"), list(bombs()))
def test_images_ops_bad_images_are_named(words, data):
    with pytest.raises(DataError, match=rf"^photos\.jsonl:3: .*({words})"):
        decode(data, "photos.jsonl:3", max_pixels=10_000)


def test_images_ops_a_huge_header_is_refused_before_decoding():
    header = encoded(Image.new("1", (20_000, 20_000)))
    with pytest.raises(DataError, match="more than 50,000,000"):
        decode(header[:60] + b"\0" * 10)


def test_images_ops_a_corrupted_byte_is_an_error_or_another_picture():
    data = encoded(noise(16, 16))
    for at in range(0, len(data), 7):
        broken = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        with suppress(DataError):
            assert decode(broken).size[0] > 0


def test_images_ops_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.png: no such file"):
        decode(tmp_path / "none.png")
    with pytest.raises(DataError, match="cannot be read"):
        decode(tmp_path)


# -- sizes and ranges -----------------------------------------------------------------------------------------------


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from(["cover", "stretch", "contain"]),
)
def test_images_ops_fit_has_the_size_and_keeps_a_flat_colour(height, width, rows, columns, how):
    flat = Image.new("RGB", (width, height), (10, 200, 30))
    array = to_array(fit(flat, (rows, columns), how))
    assert array.shape == (rows, columns, 3)
    colours = {tuple(colour) for colour in array.reshape(-1, 3).tolist()}
    assert (10, 200, 30) in colours
    assert colours <= ({(10, 200, 30), (255, 255, 255)} if how == "contain" else {(10, 200, 30)})


def test_images_ops_cover_keeps_the_middle_and_contain_keeps_all():
    stripes = np.zeros((10, 30, 3), np.uint8)
    stripes[:, :10], stripes[:, 10:20], stripes[:, 20:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    covered = to_array(fit(Image.fromarray(stripes), 10, "cover"))
    assert np.array_equal(covered, stripes[:, 10:20])
    contained = to_array(fit(Image.fromarray(stripes), (30, 30), "contain"))
    assert np.array_equal(contained[10:20], stripes)
    assert (contained[:10] == 255).all()


def test_images_ops_fit_of_the_same_size_changes_nothing():
    assert np.array_equal(to_array(fit(Image.fromarray(RAMP), 4)), RAMP)
    assert to_array(fit(noise(1000, 1), 32, "contain")).shape == (32, 32, 3)
    with pytest.raises(ValueError, match="at least 1"):
        fit(Image.fromarray(RAMP), 0)
    with pytest.raises(ValueError, match="cover, contain or stretch"):
        fit(Image.fromarray(RAMP), 8, "crop")  # type: ignore[arg-type]


def test_images_ops_pixels_and_pictures_are_inverse():
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(np.stack([every, every.T, 255 - every], axis=-1))
    pixels = to_pixels(image)
    assert pixels.dtype == np.float32
    assert (pixels.shape, pixels.min(), pixels.max()) == ((3, 16, 16), -1, 1)
    assert np.array_equal(to_array(from_pixels(pixels)), to_array(image))
    assert to_array(from_pixels(pixels * 3)).max() == 255
    for wrong in (pixels * np.float32(math.nan), pixels[0], pixels.transpose(1, 2, 0)):
        with pytest.raises(ValueError, match="pixels"):
            from_pixels(wrong)
    with pytest.raises(ValueError, match="mode L"):
        to_pixels(Image.new("L", (2, 2)))


def test_images_ops_psnr():
    black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    assert psnr(black, white) == 0
    assert psnr(black, black) == math.inf
    assert psnr(black, black + np.uint8(51)) == pytest.approx(20 * math.log10(5))
    as_pixels = [to_pixels(Image.fromarray(array)) for array in (black, black + np.uint8(51))]
    assert psnr(*as_pixels) == pytest.approx(20 * math.log10(5), abs=1e-5)
    for other in (black.astype(np.float32), black[:1], black.astype(np.int64)):
        with pytest.raises(ValueError, match="expected"):
            psnr(other, black if other.dtype != np.int64 else other)
