"""Features to pixels: a small diffusion model conditioned on the features a vision tokenizer gives back.

It does not know where the features come from, and draws no random numbers but from the generators it is given.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DModel
from diffusers.utils.torch_utils import randn_tensor
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from illume.core.checkpoint import load_tensors, save_tensors
from illume.core.config import from_dict, to_dict
from illume.core.errors import ModelError
from illume.core.files import write_json
from illume.models.folder import read_config, save_network

FORMAT_VERSION = 1
# Where noise comes from: one stream for a batch, or one for each image, which then does not depend on its company.
Generators = torch.Generator | list[torch.Generator] | None
# The scheduler's unit of time: diffusers counts noise levels from 0 to 1000.
TIME_SCALE = 1000


@dataclass(frozen=True)
class DiffusionDecoderConfig:
    """A UNet on pixels folded `unshuffle` x `unshuffle` into channels, with the features at the same resolution.

    Each feature unfolds into `cells` x `cells` places of `condition` channels. `drop`: how often an image trains
    without features, so that guidance has something to compare with. `max_weight` bounds the weight of clear images.
    """

    kind: Literal["diffusion"] = "diffusion"
    unshuffle: int = 2
    channels: tuple[int, ...] = (48, 96, 96)
    layers: int = 1
    condition: int = 32
    cells: int = 4
    groups: int = 8
    drop: float = 0.1
    max_weight: float = 5.0
    steps: int = 6


class Noise(NamedTuple):
    """All the chance in one batch of training: the noise, its level (0 clear, 1 only noise), features kept or not.

    A decoder makes it in its `noise`, of the shape of what it denoises: pixels, or latents."""

    pixels: Float[Tensor, "b c h w"]
    level: Float[Tensor, " b"]
    keep: Float[Tensor, " b"]


class PixelDecoder(Protocol):
    """Features (one tensor a level, row-major over grids of the image's proportions) to pixels."""

    def draw(
        self,
        features: tuple[Float[Tensor, "b _ _"], ...],
        size: tuple[int, int],
        steps: int,
        generator: Generators,
        guidance: float = 1.0,
    ) -> Float[Tensor, "b 3 h w"]: ...


class DiffusionPixelDecoder(nn.Module):
    """Flow matching in pixels: the network sees a mixture of image and noise and predicts the image (x-prediction).

    Times are logit-normal (Esser et al. 2024). The loss is that of the velocity, (prediction - image)^2 / level^2,
    its weight bounded, as a prediction of the image is steadier than one of the velocity (Li and He 2025).
    """

    def __init__(self, config: DiffusionDecoderConfig, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.config = config
        self.dims = dims
        width = config.condition * config.cells**2
        self.conditions = nn.ModuleList(nn.Linear(dim, width) for dim in dims)
        self.unet: Any = small_unet(config, 3 * config.unshuffle**2, config.condition * len(dims))
        self.scheduler: Any = FlowMatchEulerDiscreteScheduler(num_train_timesteps=TIME_SCALE)

    def noise(self, shape: tuple[int, int, int, int], generator: torch.Generator) -> Noise:
        """The chance that a batch of pixels of this shape needs in `loss`."""
        return draw_noise(shape, self.config.drop, generator)

    def forward(
        self,
        noisy: Float[Tensor, "b 3 h w"],
        level: Float[Tensor, " b"],
        features: tuple[Float[Tensor, "b _ _"], ...],
        keep: Float[Tensor, " b"],
    ) -> Float[Tensor, "b 3 h w"]:
        """The image as the network sees it through the noise; `keep` 0 hides an image's features from it."""
        x = F.pixel_unshuffle(noisy, self.config.unshuffle)
        condition = self.condition(features, (x.shape[2], x.shape[3])) * keep[:, None, None, None]
        x = torch.cat([x, condition.to(x.dtype)], dim=1)
        return F.pixel_shuffle(self.unet(x, level * TIME_SCALE).sample, self.config.unshuffle).float()

    def condition(
        self, features: tuple[Float[Tensor, "b _ _"], ...], size: tuple[int, int]
    ) -> Float[Tensor, "b c h w"]:
        """The features of all levels as channels at this resolution: each says something of its own to each place."""
        if len(features) != len(self.dims):
            raise ModelError(f"features of {len(features)} levels for a pixel decoder of {len(self.dims)}")
        maps = []
        for project, level in zip(self.conditions, features, strict=True):
            rows, _ = grid_of(level.shape[1], size)
            cells = self.config.cells
            unfolded = rearrange(project(level), "b (r q) (i j c) -> b c (r i) (q j)", r=rows, i=cells, j=cells)
            fits = unfolded.shape[2:] == size
            maps.append(unfolded if fits else F.interpolate(unfolded, size, mode="bilinear", align_corners=False))
        return torch.cat(maps, dim=1)

    def loss(
        self, pixels: Float[Tensor, "b 3 h w"], features: tuple[Float[Tensor, "b _ _"], ...], noise: Noise
    ) -> Float[Tensor, ""]:
        """The weighted error of the predicted image, a pixel."""
        noisy = mixed(pixels, noise.pixels, noise.level)
        error = (self(noisy, noise.level, features, noise.keep) - pixels).square().mean(dim=(1, 2, 3))
        return (error * flow_weight(noise.level, self.config.max_weight)).mean()

    @torch.no_grad()
    def draw(
        self,
        features: tuple[Float[Tensor, "b _ _"], ...],
        size: tuple[int, int],
        steps: int,
        generator: Generators,
        guidance: float = 1.0,
    ) -> Float[Tensor, "b 3 h w"]:
        """Euler steps from noise (of generators on the CPU, so that devices agree) to images in [-1, 1]."""
        rows = features[0].shape[0]
        x = randn_tensor((rows, 3, *size), generator).to(features[0].device)
        scheduler: Any = FlowMatchEulerDiscreteScheduler.from_config(self.scheduler.config)
        scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)], device=x.device)
        for time in scheduler.timesteps:
            level = (time / TIME_SCALE).expand(rows)
            image = self._guided(x, level, features, guidance)
            velocity = (x - image) / level[:, None, None, None]
            x = scheduler.step(velocity, time, x).prev_sample
        return x.clamp(-1, 1)

    def _guided(
        self, x: Tensor, level: Tensor, features: tuple[Tensor, ...], guidance: float
    ) -> Float[Tensor, "b 3 h w"]:
        told = self(x, level, features, torch.ones_like(level))
        if guidance == 1:
            return told
        untold = self(x, level, features, torch.zeros_like(level))
        return untold + guidance * (told - untold)

    def save(self, folder: str | Path) -> None:
        """Write a diffusers folder (unet/, scheduler/), our config.json, and the projections of the features."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_network(folder / "unet", self.unet)
        self.scheduler.save_pretrained(folder / "scheduler")
        save_tensors(folder / "model.safetensors", self.conditions.state_dict())
        plain = {"format_version": FORMAT_VERSION, "pixel_decoder": to_dict(self.config), "dims": list(self.dims)}
        write_json(folder / "config.json", plain)

    @classmethod
    def load(cls, folder: str | Path) -> "DiffusionPixelDecoder":
        """Read what `save` wrote. ModelError where the folder is not of this format."""
        folder = Path(folder)
        plain = read_config(folder / "config.json", FORMAT_VERSION)
        config = from_dict(DiffusionDecoderConfig, plain["pixel_decoder"], where=f"{folder}/config.json")
        decoder = cls(config, tuple(plain["dims"]))
        try:
            decoder.unet = UNet2DModel.from_pretrained(folder / "unet", use_safetensors=True, low_cpu_mem_usage=False)
            decoder.scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler")
        except OSError as error:
            raise ModelError(f"{folder}: its diffusers part cannot be read: {error}") from error
        decoder.conditions.load_state_dict(load_tensors(folder / "model.safetensors"))
        return decoder.eval()


def small_unet(config: DiffusionDecoderConfig, pixels: int, condition: int) -> UNet2DModel:
    """diffusers' UNet without attention: the features already say what is where."""
    levels = len(config.channels)
    return UNet2DModel(
        in_channels=pixels + condition,
        out_channels=pixels,
        block_out_channels=config.channels,
        down_block_types=("DownBlock2D",) * levels,
        up_block_types=("UpBlock2D",) * levels,
        layers_per_block=config.layers,
        norm_num_groups=config.groups,
        add_attention=False,
    )


def draw_noise(shape: tuple[int, int, int, int], drop: float, generator: torch.Generator) -> Noise:
    """Noise for a batch of this shape, its levels logit-normal, features dropped with probability `drop`."""
    pixels = torch.randn(shape, generator=generator)
    level = torch.randn(shape[0], generator=generator).sigmoid()
    keep = (torch.rand(shape[0], generator=generator) >= drop).float()
    return Noise(pixels, level, keep)


def mixed(
    pixels: Float[Tensor, "b 3 h w"], noise: Float[Tensor, "b 3 h w"], level: Float[Tensor, " b"]
) -> Float[Tensor, "b 3 h w"]:
    """The straight line of flow matching: the image at level 0, the noise at level 1."""
    level = level[:, None, None, None]
    return (1 - level) * pixels + level * noise


def flow_weight(level: Float[Tensor, " b"], bound: float) -> Float[Tensor, " b"]:
    """What an error of the predicted image weighs as an error of the velocity, 1 / level^2, at most `bound`."""
    return level.square().reciprocal().clamp_max(bound)


def grid_of(number: int, size: tuple[int, int]) -> tuple[int, int]:
    """The grid of `number` features with the proportions of an image. ModelError where there is none."""
    rows = round(math.sqrt(number * size[0] / size[1]))
    if rows == 0 or number % rows or rows * size[1] != number // rows * size[0]:
        raise ModelError(f"{number} features do not make a grid with the proportions of {size[0]}x{size[1]} pixels")
    return rows, number // rows
