"""Training a pixel decoder on the features a frozen tokenizer gives back; it does not know how either works inside."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from illume.core.device import generator
from illume.data.collate import ImageBatch
from illume.models.pixel_decoder import Noise, PixelDecoder
from illume.models.tokenizing import AnyTokenizer
from illume.train.objective import Loss


class PixelObjective:
    """Denoising of images given the features that a vision tokenizer rebuilds from their codes.

    A decoder that paints larger images than the tokenizer reads learns from large ones, whose shrunk copies are read.
    Noise is keyed by (seed, step, sample): the same in one batch or in many, on one process or several.
    """

    def __init__(self, decoder: PixelDecoder, tokenizer: AnyTokenizer, seed: int = 0) -> None:
        self.decoder = decoder
        self.tokenizer = tokenizer.requires_grad_(False).eval()
        self.seed = seed
        self.step = 0

    def modules(self) -> Mapping[str, nn.Module]:
        """The tokenizer stays out: it is finished, and in its own folder."""
        return {"pixel_decoder": self.decoder}

    def size(self, batch: ImageBatch) -> int:
        """The images."""
        return len(batch.pixels)

    def loss(self, batch: ImageBatch) -> Loss:
        """The loss of this step's noise: the next step has other noise for the same images."""
        with torch.no_grad():
            seen = F.avg_pool2d(batch.pixels, self.decoder.upscale)  # by 1 it is the image itself
            features = self.tokenizer.decode(self.tokenizer.encode(seen))
        value = self.decoder.loss(batch.pixels, features, self.noise(batch))
        return Loss(value, {"flow": value.detach()})

    def noise(self, batch: ImageBatch) -> Noise:
        """What chance holds for each sample at this step, drawn on the CPU so that devices agree."""
        shape = (1, *batch.pixels.shape[1:])
        rows = [
            self.decoder.noise(shape, generator("cpu", "pixel noise", self.seed, self.step, key)) for key in batch.keys
        ]
        return Noise(*(torch.cat(parts).to(batch.pixels.device) for parts in zip(*rows, strict=True)))

    def after_step(self, step: int) -> None:
        self.step = step

    def state(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state(self, state: dict[str, Any]) -> None:
        self.step = int(state["step"])
