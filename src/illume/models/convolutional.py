"""Convolutions between pixels and vectors on a grid: an encoder, and the pixel decoder that paints in one pass.

They do not know what stands between them: see reconstruction.py for the two as one autoencoder.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from illume.core.errors import ModelError
from illume.core.tensors import load_tensors, save_tensors
from illume.models.pixel_decoder import Generators, Noise, PixelDecoder, read_decoder_config, resized


@dataclass(frozen=True)
class ConvolutionalDecoderConfig:
    """`layers` residual blocks at each resolution, from the features' (the last of `channels`) to that of the pixels
    folded `unshuffle` x `unshuffle` into channels (the first). With three entries and 2: eight pixels a feature."""

    kind: Literal["convolutional"] = "convolutional"
    channels: tuple[int, ...] = (48, 96, 96)
    layers: int = 1
    unshuffle: int = 2
    groups: int = 8

    @property
    def stride(self) -> int:
        """The side of what one position of the coarsest resolution stands on, in pixels."""
        return int(self.unshuffle * 2 ** (len(self.channels) - 1))


class ResidualBlock(nn.Module):
    """Norm, SiLU, 3x3 convolution, twice, added to what came in; it starts as the identity (or a 1x1 convolution)."""

    def __init__(self, channels_in: int, channels_out: int, groups: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(groups, channels_in),
            nn.SiLU(),
            nn.Conv2d(channels_in, channels_out, 3, padding=1),
            nn.GroupNorm(groups, channels_out),
            nn.SiLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
        )
        for start in self.layers[-1].parameters():
            nn.init.zeros_(start)
        self.skip = nn.Identity() if channels_in == channels_out else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b e h w"]:
        return self.skip(x) + self.layers(x)


class ConvolutionalEncoder(nn.Module):
    """Pixels to vectors of width `dim`, one for each square of `config.stride` pixels."""

    def __init__(self, config: ConvolutionalDecoderConfig, dim: int) -> None:
        super().__init__()
        channels = config.channels
        layers: list[nn.Module] = [nn.PixelUnshuffle(config.unshuffle)]
        layers += [nn.Conv2d(3 * config.unshuffle**2, channels[0], 3, padding=1)]
        layers += _blocks(channels[0], config)
        for fine, coarse in pairwise(channels):
            layers += [nn.Conv2d(fine, coarse, 3, stride=2, padding=1), *_blocks(coarse, config)]
        self.layers = nn.Sequential(*layers, *_last(channels[-1], dim, config.groups, kernel=1))

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d r q"]:
        return self.layers(pixels)


class ConvolutionalPixelDecoder(PixelDecoder):
    """Features to pixels in one convolutional pass: nothing is left to chance, so nothing is sharpened by it either.

    Its loss is L1 + L2 on pixels. VQGAN (Esser et al. 2021) adds a perceptual and an adversarial loss; both are left
    out here.
    """

    def __init__(self, config: ConvolutionalDecoderConfig, dims: tuple[int, ...]) -> None:
        super().__init__(config, dims)
        channels = config.channels[::-1]
        layers: list[nn.Module] = [nn.Conv2d(sum(dims), channels[0], 3, padding=1), *_blocks(channels[0], config)]
        for coarse, fine in pairwise(channels):
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(coarse, fine, 3, padding=1), *_blocks(fine, config)]
        layers += _last(channels[-1], 3 * config.unshuffle**2, config.groups, kernel=3)
        self.layers = nn.Sequential(*layers, nn.PixelShuffle(config.unshuffle))

    def forward(self, features: tuple[Float[Tensor, "b _ _"], ...], size: tuple[int, int]) -> Float[Tensor, "b 3 h w"]:
        """The image as these features tell it, not yet clamped."""
        stride = self.config.stride
        if size[0] % stride or size[1] % stride:
            raise ModelError(f"{size[0]}x{size[1]} pixels do not divide into squares of {stride} pixels a side")
        coarse = (size[0] // stride, size[1] // stride)
        maps = [resized(grid, coarse) for grid in self.grids(features, size)]
        return self.layers(torch.cat(maps, dim=1)).float()

    @property
    def steps(self) -> int:
        return 1

    def noise(self, shape: tuple[int, int, int, int], generator: torch.Generator) -> Noise:
        """None: there is no chance in it."""
        return Noise(torch.zeros(shape[0], 0, 0, 0), torch.zeros(shape[0]), torch.ones(shape[0]))

    def loss(
        self, pixels: Float[Tensor, "b 3 h w"], features: tuple[Float[Tensor, "b _ _"], ...], noise: Noise
    ) -> Float[Tensor, ""]:
        return pixel_loss(self(features, (pixels.shape[2], pixels.shape[3])), pixels)

    @torch.no_grad()
    def draw(
        self,
        features: tuple[Float[Tensor, "b _ _"], ...],
        size: tuple[int, int],
        steps: int,
        generator: Generators,
        guidance: float = 1.0,
    ) -> Float[Tensor, "b 3 h w"]:
        """One pass, the same whatever the generator. ModelError where several steps or guidance are asked for."""
        if steps != 1 or guidance != 1:
            raise ModelError(f"this decoder paints in one pass, without guidance: not {steps} steps, scale {guidance}")
        return self(features, size).clamp(-1, 1)

    def save(self, folder: str | Path) -> None:
        self.save_config(Path(folder))
        save_tensors(Path(folder) / "model.safetensors", self.state_dict())

    @classmethod
    def load(cls, folder: str | Path) -> "ConvolutionalPixelDecoder":
        decoder = cls(*read_decoder_config(folder, ConvolutionalDecoderConfig))
        load_all(decoder, load_tensors(Path(folder) / "model.safetensors"), str(folder))
        return decoder.eval()


def pixel_loss(painted: Float[Tensor, "b 3 h w"], pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, ""]:
    """L1 + L2, a number of the image."""
    return F.l1_loss(painted, pixels) + F.mse_loss(painted, pixels)


def load_all(module: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Give a module exactly these tensors. ModelError where they are not its own."""
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"{where}: tensors and config.json disagree: {error}") from error


def _blocks(channels: int, config: ConvolutionalDecoderConfig) -> list[nn.Module]:
    return [ResidualBlock(channels, channels, config.groups) for _ in range(config.layers)]


def _last(channels: int, out: int, groups: int, kernel: int) -> list[nn.Module]:
    return [nn.GroupNorm(groups, channels), nn.SiLU(), nn.Conv2d(channels, out, kernel, padding=kernel // 2)]
