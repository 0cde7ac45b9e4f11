"""Drawn codes to pixels and pictures: the vision tokenizer's features, painted by the pixel decoder.

It does not know how the codes were chosen, nor what the pictures show.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from illume.core.device import autocast, generator
from illume.core.errors import RequestError
from illume.core.streams import seed_of
from illume.generate.coded import Coder, Codes
from illume.generate.painting import Drawn
from illume.generate.request import Number, Pixels, Result
from illume.images.ops import from_pixels
from illume.models.pixel_decoder import PixelDecoder
from illume.models.tokenizing import AnyTokenizer
from illume.vocab.messages import Grid, ImageFrame, ImagePart


class Painter:
    """Paints images with `steps` steps of a pixel decoder; called, it is what an engine looks at its drawings with.

    Each image is painted from noise of its own seed, up to `together` images of a size at once. With `together` 1 it is
    bit for bit the same whatever it is painted with, and slower. The pixel decoder's weights are float32; its products
    and convolutions run in `dtype`, as they did while it was trained.
    """

    def __init__(
        self,
        tokenizer: AnyTokenizer,
        decoder: PixelDecoder,
        *,
        steps: int,
        guidance: Number = 1.0,
        together: int = 1,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.tokenizer = tokenizer
        self.decoder = decoder
        self.steps = steps
        self.guidance = float(guidance)
        self.together = together
        self.dtype = dtype
        self._device = next(tokenizer.parameters()).device
        self._blanks: dict[ImageFrame, Codes] = {}

    @torch.inference_mode()
    def __call__(self, drawn: Sequence[Drawn]) -> list[Pixels]:
        """Pixels in [-1, 1] of the sizes that their frames stand for, in the order given, on the CPU."""
        return [F.avg_pool2d(pixels, self.decoder.upscale) for pixels in self.painted(drawn)]

    @torch.inference_mode()
    def painted(self, drawn: Sequence[Drawn]) -> list[Pixels]:
        """The same as large as the decoder paints."""
        by_frame: dict[ImageFrame, list[int]] = {}
        for i, image in enumerate(drawn):
            by_frame.setdefault(image.frame, []).append(i)
        found: dict[int, Pixels] = {}
        for alike in by_frame.values():
            for start in range(0, len(alike), self.together):
                some = alike[start : start + self.together]
                found |= dict(zip(some, self._paint([drawn[i] for i in some]), strict=True))
        return [found[i] for i in range(len(drawn))]

    def pictures(self, drawn: Sequence[Drawn]) -> list[Image.Image]:
        """The same as large as the decoder paints, as pictures."""
        return [from_pixels(pixels.numpy()) for pixels in self.painted(drawn)]

    def completed(self, drawn: Drawn) -> Drawn:
        """An unfinished drawing, what is not written yet as in a blank picture: to be painted while it is drawn."""
        blank = self._blank(drawn.frame)
        return replace(
            drawn, codes=tuple(some + rest[len(some) :] for some, rest in zip(drawn.codes, blank, strict=True))
        )

    @torch.inference_mode()
    def _blank(self, frame: ImageFrame) -> Codes:
        """The codes of a white picture."""
        if frame not in self._blanks:
            height, width = (side * self.tokenizer.strides[0] for side in frame.grids[0])
            self._blanks[frame] = Coder(self.tokenizer)(torch.ones(3, height, width))
        return self._blanks[frame]

    def _paint(self, images: Sequence[Drawn]) -> list[Pixels]:
        """Images of one frame."""
        grids = images[0].frame.grids
        codes = tuple(self._codes([image.codes[n] for image in images], grid) for n, grid in enumerate(grids))
        noise = [generator("cpu", image.seed) for image in images]
        features = self.tokenizer.decode(codes)
        with autocast(self._device, self.dtype):
            painted = self.decoder.draw(features, self._size(grids), self.steps, noise, self.guidance)
        return list(painted.float().cpu())

    def _codes(self, codes: Sequence[tuple[int, ...]], grid: Grid) -> Int[Tensor, "b h w"]:
        return rearrange(torch.tensor(codes, device=self._device), "b (h w) -> b h w", h=grid[0])

    def _size(self, grids: tuple[Grid, ...]) -> tuple[int, int]:
        """The size in pixels that is painted of features of these grids."""
        stride = self.tokenizer.strides[0] * self.decoder.upscale
        return grids[0][0] * stride, grids[0][1] * stride


def drawn(result: Result, seed: int) -> Drawn:
    """The one image that a request with this seed drew. RequestError for one that drew none or several."""
    images = [part for part in result.parts if isinstance(part, ImagePart)]
    if len(images) != 1 or images[0].codes is None:
        raise RequestError(f"a request of {len(images)} drawn images has not one picture: give it mode 'image'")
    return Drawn(images[0].frame, images[0].codes, seed_of("paint", seed, 0))
