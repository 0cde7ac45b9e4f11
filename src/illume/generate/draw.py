"""Drawn codes to pixels and pictures: the vision tokenizer's features, painted by the pixel decoder.

It does not know how the codes were chosen, nor what the pictures show.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from illume.core.device import generator
from illume.generate.engine import Drawn
from illume.generate.request import Number, Pixels
from illume.images.ops import from_pixels
from illume.models.pixel_decoder import PixelDecoder
from illume.models.tokenizer import VisionTokenizer
from illume.vocab.messages import Grid


class Painter:
    """Paints images with `steps` steps of a pixel decoder; called, it is what an engine looks at its drawings with.

    An image's noise is keyed by its own seed, so that it is painted the same alone and in company.
    """

    def __init__(
        self, tokenizer: VisionTokenizer, decoder: PixelDecoder, *, steps: int, guidance: Number = 1.0
    ) -> None:
        self.tokenizer = tokenizer
        self.decoder = decoder
        self.steps = steps
        self.guidance = float(guidance)
        self._device = next(tokenizer.parameters()).device

    @torch.inference_mode()
    def __call__(self, drawn: Sequence[Drawn]) -> list[Pixels]:
        """Pixels in [-1, 1], in the order given, on the CPU."""
        return [self._paint(image) for image in drawn]

    def pictures(self, drawn: Sequence[Drawn]) -> list[Image.Image]:
        """The same as pictures."""
        return [from_pixels(pixels.numpy()) for pixels in self(drawn)]

    def _paint(self, image: Drawn) -> Pixels:
        levels = zip(image.codes, image.frame.grids, strict=True)
        features = self.tokenizer.decode(tuple(self._grid(codes, grid) for codes, grid in levels))
        size, noise = self._size(image.frame.grids), generator("cpu", image.seed)
        painted: Float[Tensor, "1 3 h w"] = self.decoder.draw(features, size, self.steps, noise, self.guidance)
        return painted[0].float().cpu()

    def _grid(self, codes: tuple[int, ...], grid: Grid) -> Int[Tensor, "1 h w"]:
        return rearrange(torch.tensor(codes, device=self._device), "(h w) -> 1 h w", h=grid[0])

    def _size(self, grids: tuple[Grid, ...]) -> tuple[int, int]:
        """The size in pixels whose features have these grids."""
        stride = self.tokenizer.encoder.strides[0]
        return grids[0][0] * stride, grids[0][1] * stride
