"""Which part of a picture is to be painted anew, and how a model is shown it; it does not know who paints.

The region is painted over in one flat colour, for a model reads pixels: no further channel is needed, so any encoder
can read it, and nothing of what was there before shines through.
"""

from dataclasses import dataclass
from operator import index

import numpy as np
from jaxtyping import Bool
from PIL import Image

from illume.core.errors import DataError
from illume.images import ops

MARKER = (255, 0, 255)
"""The colour of a region to be painted anew: pure magenta, which photographs hardly and generated scenes never wear."""

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; the last two lie outside
Region = Bool[np.ndarray, "h w"]
_NEAR = 64  # in every channel
_WHITE = 128  # from here on a mask's grey means: to be changed


def region_of(mask: Image.Image | Box, size: tuple[int, int], where: str = "the mask") -> Region:
    """The pixels of a picture of (height, width) that a mask marks: white in a mask image, or inside a box.

    DataError for a mask of another size, one that marks nothing, and a box that is empty or leaves the picture.
    """
    region = _inside(mask, size, where) if isinstance(mask, tuple) else _white(mask, size, where)
    if not region.any():
        raise DataError(f"{where} marks nothing: white is what is to be changed, and there is no white in it")
    return region


def marked(picture: Image.Image, region: Region) -> Image.Image:
    """The RGB picture with the region painted over in the marker's colour."""
    pixels = np.array(picture)
    pixels[region] = MARKER
    return Image.fromarray(pixels)


def composite(kept: Image.Image, drawn: Image.Image, region: Region) -> Image.Image:
    """What was drawn inside the region, what was there outside of it, to the byte. All of one size."""
    return Image.fromarray(np.where(region[..., None], np.array(drawn), np.array(kept)))


@dataclass(frozen=True)
class Masked:
    """A picture at the size a model works in: as it is, as it is shown with its region marked, and the region."""

    kept: Image.Image
    shown: Image.Image
    region: Region


def masked(picture: Image.Image, mask: Image.Image | Box, size: int | tuple[int, int]) -> Masked:
    """An RGB picture with the region that a mask of its own size marks, both fitted to a size (centre cut)."""
    region = region_of(mask, (picture.height, picture.width))
    fitted = touched(ops.fit(as_picture(region), size))
    if not fitted.any():
        raise DataError("the mask marks nothing of what is left when the picture is cut to the model's proportions")
    return Masked(ops.fit(picture, size), ops.fit(marked(picture, region), size), fitted)


def as_picture(region: Region) -> Image.Image:
    """A region as a black and white picture."""
    return Image.fromarray(region.astype(np.uint8) * 255).convert("RGB")


def touched(picture: Image.Image) -> Region:
    """The pixels of a resized mask in which there is any white: where the marker may have left a trace."""
    return np.array(picture.convert("L")) > 0


def found_marked(picture: Image.Image) -> Region:
    """The pixels of a picture, marked and then resized, that wear the marker's colour, or are the nearest to it."""
    far = np.abs(np.array(picture).astype(np.int16) - MARKER).max(axis=2)
    return far <= max(_NEAR, int(far.min()))


def _inside(box: Box, size: tuple[int, int], where: str) -> Region:
    height, width = size
    try:
        left, top, right, bottom = (index(edge) for edge in box)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: a box is four whole numbers: left, top, right, bottom, not {box!r:.80}") from error
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        found = [left, top, right, bottom]
        raise DataError(f"{where}: the box {found} (left, top, right, bottom) is none of {width} x {height} pixels")
    region = np.zeros(size, bool)
    region[top:bottom, left:right] = True
    return region


def _white(mask: Image.Image, size: tuple[int, int], where: str) -> Region:
    if (mask.height, mask.width) != size:
        raise DataError(
            f"{where} has {mask.width} x {mask.height} pixels, the image {size[1]} x {size[0]}: make them one size"
        )
    return np.array(mask.convert("L")) >= _WHITE
