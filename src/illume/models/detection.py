"""Something seen in a picture: what, how surely, and where; it does not know by which detector."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


@dataclass(frozen=True)
class Detection:
    """A label, how sure it is (0 to 1), a box, and its pixels where the detector tells them."""

    label: str
    score: float
    box: Box
    mask: Bool[np.ndarray, "h w"] | None = None
