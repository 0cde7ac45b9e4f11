"""Pictures that come with a request and pictures that are sent back, as bytes; it knows no endpoint.

What comes is distrusted: its size is checked before it is decoded, and only plain rasters are.
"""

import base64
import binascii
import io
import re
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from illume.core.errors import DataError
from illume.images import ops
from illume.serve.errors import ApiError, bad

Kind = Literal["png", "webp", "jpeg"]
_DATA_URL = re.compile(r"data:(image/[\w.+-]+)?((?:;[\w.+-]+=[\w.+-]+)*);base64,", re.ASCII | re.IGNORECASE)
_SHOWN = 12  # characters of an address that an error repeats


@dataclass(frozen=True)
class Format:
    """How pictures are sent: `quality` 0-100 of webp and jpeg; at 100 webp loses nothing."""

    kind: Kind = "png"
    quality: int = 100

    def encoded(self, picture: Image.Image) -> bytes:
        """A picture's file."""
        data = io.BytesIO()
        if self.kind == "png":
            picture.save(data, "PNG")
        elif self.kind == "webp":
            picture.save(data, "WEBP", quality=self.quality, lossless=self.quality == 100)
        else:
            picture.save(data, "JPEG", quality=max(1, self.quality))
        return data.getvalue()

    def url(self, data: bytes) -> str:
        """A data URL of a file of this format."""
        return f"data:image/{self.kind};base64,{as_base64(data)}"


def as_base64(data: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(data).decode("ascii")


def of_data_url(url: str, param: str) -> bytes:
    """The bytes that a data URL holds: of an image, in base64."""
    start = _DATA_URL.match(url)
    if start is None:
        raise bad(f"{param}: {url[:_SHOWN]!r}... is no data URL of an image in base64", param, "invalid_image_url")
    return of_base64(url[start.end() :], param)


def of_base64(text: str, param: str) -> bytes:
    """The bytes that base64 stands for."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise bad(f"{param}: is not base64", param, "invalid_base64") from error


def opened(data: bytes, param: str, max_pixels: int) -> Image.Image:
    """An RGB picture. ApiError 413 for one of too many pixels, however small its file; 422 for what is no picture."""
    _check_pixels(data, param, max_pixels)
    try:
        return ops.decode(data, where=param, max_pixels=max_pixels)
    except DataError as error:
        raise ApiError(422, str(error), param=param, code="invalid_image") from error


def opened_mask(data: bytes, param: str, max_pixels: int) -> Image.Image:
    """A mask in black and white, white being what is to be painted anew.

    In a picture with transparency that is what is fully transparent, as in OpenAI's masks; in any other what is white.
    """
    _check_pixels(data, param, max_pixels)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "WEBP", "TIFF")) as image:
            if image.has_transparency_data:
                clear = image.convert("RGBA").getchannel("A").point([255] + [0] * 255)
                return clear.convert("RGB")
    except Image.UnidentifiedImageError:
        pass  # of a kind without transparency
    except Exception as error:  # decoders meet broken files with errors of any class
        raise ApiError(422, f"{param}: truncated or damaged", param=param, code="invalid_image") from error
    return opened(data, param, max_pixels)


def _check_pixels(data: bytes, param: str, max_pixels: int) -> None:
    """Before anything is decoded. What cannot be opened at all is left to be told by `opened`."""
    try:
        with Image.open(io.BytesIO(data), formats=ops.formats()) as image:
            width, height = image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        width, height = max_pixels, 2
    except Exception:
        return
    if width * height > max_pixels:
        raise ApiError(
            413, f"{param}: an image may have at most {max_pixels:,} pixels", param=param, code="image_too_large"
        )
