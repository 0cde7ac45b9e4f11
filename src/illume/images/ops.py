"""Image files to RGB pictures, to pixels in [-1, 1] and back; it knows nothing of what the pictures show."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32, UInt8
from PIL import Image, ImageOps

from illume.core.errors import DataError

Fit = Literal["cover", "contain", "stretch"]
Size = int | tuple[int, int]

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")  # plain rasters: none runs a program
MAX_PIXELS = 50_000_000
_WHITE = (255, 255, 255)
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def decode(source: str | Path | bytes, where: str = "", *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """A still picture as RGB: upright, transparency over white, 16-bit grey scaled to 8 bits.

    Raises DataError, beginning with `where` (default: the path), for a file that is missing, empty, truncated, not an
    image, animated, of no area, larger than `max_pixels`, or of a kind whose values have no fixed range.
    """
    where = where or (f"image of {len(source)} bytes" if isinstance(source, bytes) else str(source))
    data = source if isinstance(source, bytes) else _read(Path(source), where)
    if not data:
        raise DataError(f"{where}: an empty file, not an image")
    with _plain_errors(where, max_pixels), Image.open(io.BytesIO(data), formats=formats()) as image:
        return _upright(image, where, max_pixels)


def upright(image: Image.Image, where: str = "a picture", *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """A picture of Pillow's, of any mode, read or not, as its file would be decoded. DataError as there."""
    with _plain_errors(where, max_pixels):
        return _upright(image, where, max_pixels)


def fit(image: Image.Image, size: Size, how: Fit = "cover") -> Image.Image:
    """The picture at `size`, one side or (height, width).

    cover: scaled until it fills the size, the middle kept; contain: scaled until it fits in, the rest white;
    stretch: each axis by itself. A picture that has the size already comes back with the same pixels.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ValueError(f"size must be at least 1 x 1, got {height} x {width}")
    if image.size == (width, height):
        return image.copy()
    if how == "cover":
        return ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    if how == "stretch":
        return image.resize((width, height), Image.Resampling.BICUBIC)
    if how == "contain":
        return _contain(image, height, width)
    raise ValueError(f"how must be cover, contain or stretch, got {how!r}")


def to_array(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """The bytes of an RGB picture."""
    if image.mode != "RGB":
        raise ValueError(f"expected an RGB picture, got mode {image.mode}: decode() makes one")
    return np.array(image)


def to_pixels(image: Image.Image) -> Float32[np.ndarray, "3 h w"]:
    """An RGB picture as floats in [-1, 1], channels first; `from_pixels` gives the same picture back."""
    return (to_array(image).transpose(2, 0, 1).astype(np.float32) / 127.5) - np.float32(1)


def from_pixels(pixels: Float32[np.ndarray, "3 h w"]) -> Image.Image:
    """Floats in [-1, 1] as a picture; what a decoder paints beyond the range is clipped. ValueError for NaN."""
    if pixels.ndim != 3 or pixels.shape[0] != 3:
        raise ValueError(f"expected pixels of shape (3, height, width), got {pixels.shape}")
    if not np.isfinite(pixels).all():
        raise ValueError("pixels that are not finite cannot be shown")
    values = np.rint((pixels.astype(np.float32) + 1) * 127.5).clip(0, 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(values.transpose(1, 2, 0)))


def psnr(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Peak signal-to-noise ratio in dB of two bytes arrays (range 255) or two float arrays (range 2); equal: inf."""
    if a.shape != b.shape or a.dtype != b.dtype:
        raise ValueError(f"expected two arrays alike, got {a.dtype}{a.shape} and {b.dtype}{b.shape}")
    if a.dtype != np.uint8 and not np.issubdtype(a.dtype, np.floating):
        raise ValueError(f"expected uint8 or floats in [-1, 1], got {a.dtype}")
    peak = 255.0 if a.dtype == np.uint8 else 2.0
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def _read(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{where}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: no name of a file
        raise DataError(f"{where!r:.200}: cannot be read: {error}") from error


@contextmanager
def _plain_errors(where: str, max_pixels: int) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{where}: not an image of a known kind ({', '.join(FORMATS)})") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{where}: more than {max_pixels:,} pixels: {error}") from error
    except Exception as error:  # decoders meet broken files with errors of any class
        raise DataError(f"{where}: truncated or damaged: {error}") from error


def formats() -> list[str]:
    """The kinds of files that are opened, as Pillow calls them."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]  # AVIF is not in every build of Pillow


def check_area(image: Image.Image, where: str, max_pixels: int = MAX_PIXELS) -> None:
    """DataError for a picture of more pixels."""
    width, height = image.size
    if width * height > max_pixels:
        raise DataError(f"{where}: {width} x {height} pixels, more than {max_pixels:,}: scale it down first")


def _check_shape(image: Image.Image, where: str, max_pixels: int) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise DataError(f"{where}: {width} x {height} pixels: an image without area")
    check_area(image, where, max_pixels)
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # MPO: a camera's JPEG with previews behind it is one still picture
        raise DataError(f"{where}: {frames} frames: an animation or a stack, not one still picture")


def _upright(image: Image.Image, where: str, max_pixels: int) -> Image.Image:
    _check_shape(image, where, max_pixels)
    image.load()
    return _to_rgb(ImageOps.exif_transpose(image), where)


def _to_rgb(image: Image.Image, where: str) -> Image.Image:
    if image.mode == "F":
        raise DataError(f"{where}: floating-point values without a fixed range: save it with 8 bits a channel")
    if image.mode in _SIXTEEN_BIT:
        return _from_sixteen_bits(image, where)
    if image.has_transparency_data:
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (*_WHITE, 255)), rgba).convert("RGB")
    return image.convert("RGB")


def _from_sixteen_bits(image: Image.Image, where: str) -> Image.Image:
    """Grey of 16 bits to 8. Pillow's own conversion clips at 255 in some versions: white pictures."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise DataError(f"{where}: 32-bit values beyond 16 bits, without a fixed range: save it with 8 bits a channel")
    grey = np.rint(values / 257).astype(np.uint8)
    if isinstance(image.info.get("transparency"), int):
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey).convert("RGB")


def _contain(image: Image.Image, height: int, width: int) -> Image.Image:
    scale = min(height / image.height, width / image.width)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas = Image.new("RGB", (width, height), _WHITE)
    canvas.paste(image.resize(inner, Image.Resampling.BICUBIC), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return canvas
