"""Keyed changes to a picture before an encoder, a tokenizer or a decoder sees it; off unless asked for."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Augment:
    """Mirrored half the time, and moved by up to `shift` pixels each way, its border pixels repeated."""

    flip: bool = False
    shift: int = 0

    def __call__(self, picture: np.ndarray, seed: int) -> np.ndarray:
        """uint8 [h, w, 3] to the same shape; a function of picture and seed alone."""
        random = np.random.default_rng(seed)
        mirrored, down, right = random.integers(2), *random.integers(0, 2 * self.shift + 1, size=2)
        if self.flip and mirrored:
            picture = picture[:, ::-1]
        if self.shift:
            height, width, _ = picture.shape
            padded = np.pad(picture, ((self.shift, self.shift), (self.shift, self.shift), (0, 0)), mode="edge")
            picture = padded[down : down + height, right : right + width]
        return picture
