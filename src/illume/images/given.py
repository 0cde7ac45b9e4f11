"""Whatever a person gives as an image, as an RGB picture; it does not know what becomes of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from illume.core.errors import DataError, RequestError
from illume.images import ops

ImageLike: TypeAlias = str | Path | bytes | Image.Image | np.ndarray
"""A file's name, a file's bytes, a picture, or an array of uint8 (h, w, 3), or (h, w, 4) or (h, w) of grey."""


def several(images: Sequence[ImageLike]) -> Sequence[ImageLike]:
    """Images in a list. RequestError for one alone: its letters, bytes or rows would be taken for images."""
    if not isinstance(images, Sequence) or isinstance(images, str | bytes | bytearray):
        raise RequestError(f"images are given in a list, a single one too: [image], not {type(images).__name__}")
    return images


def whole(image: ImageLike) -> Image.Image:
    """An RGB picture of one's own to keep, as large as it is given. DataError as in `opened`."""
    return opened(image).copy()


def opened(image: ImageLike) -> Image.Image:
    """The RGB picture, upright. DataError for what is no image, in whatever way, and for one that is too large."""
    match image:
        case str() | Path() | bytes():
            return ops.decode(image)
        case Image.Image():
            return ops.upright(image, f"a picture of mode {image.mode}")
        case np.ndarray():
            return ops.upright(_of_array(image), "an array")
        case other:
            raise DataError(
                f"an image is a file's name or its bytes, a picture of Pillow's, or an array of uint8, not "
                f"{type(other).__name__}"
            )


def _of_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise DataError(f"an array image has uint8 values and shape (h, w, 3), not {array.dtype} {array.shape}")
    if not array.size:
        raise DataError(f"an array of shape {array.shape}: an image without area")
    return Image.fromarray(array)
