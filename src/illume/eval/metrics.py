"""How near a picture is to another, as a bounded figure; it knows nothing of models or tasks."""

import numpy as np
from jaxtyping import UInt8

from illume.images.ops import psnr

BEST_PSNR = 60.0
"""What counts as equal, in dB: rounding to bytes alone costs 59 dB, and a mean needs finite values."""


def capped_psnr(real: UInt8[np.ndarray, "h w 3"], other: UInt8[np.ndarray, "h w 3"]) -> float:
    """The peak signal-to-noise ratio of two pictures in dB, at most BEST_PSNR."""
    return min(psnr(real, other), BEST_PSNR)
