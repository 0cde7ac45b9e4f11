"""Whatever a person gives as an image, as an RGB picture; it does not know what becomes of it."""

import io
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from illume.core.errors import DataError
from illume.images import ops

ImageLike: TypeAlias = str | Path | bytes | Image.Image | np.ndarray
"""A file's name, a file's bytes, a picture, or an array of uint8 (h, w, 3)."""


def whole(image: ImageLike) -> Image.Image:
    """An RGB picture of one's own to keep, as large as it is given. DataError where it is too large to be kept so."""
    picture = opened(image).copy()
    ops.check_area(picture, "the picture")
    return picture


def opened(image: ImageLike) -> Image.Image:
    """The RGB picture. DataError for what is no image, in whatever way."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise DataError(f"an array image has uint8 values and shape (h, w, 3), not {image.dtype} {image.shape}")
        image = Image.fromarray(image)
    if not isinstance(image, Image.Image):
        return ops.decode(image)
    if image.mode == "RGB":
        return image
    data = io.BytesIO()  # the other modes take the way of a file: one place knows how they become RGB
    image.save(data, format="TIFF")
    return ops.decode(data.getvalue(), where=f"a picture of mode {image.mode}")
