"""Features to pixels: what a pixel decoder is, and the small diffusion model conditioned on a tokenizer's features.

It does not know where the features come from, and draws no random numbers but from the generators it is given.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from illume.core.config import from_dict, to_dict
from illume.core.errors import ModelError
from illume.core.files import write_json
from illume.core.tensors import load_tensors, save_tensors
from illume.models.folder import read_config
from illume.models.unet import UNet, check_diffusers_config

C = TypeVar("C")
FORMAT_VERSION = 1
# Where noise comes from: one stream for a batch, or one for each image, which then does not depend on its company.
Generators = torch.Generator | list[torch.Generator] | None
# The UNet's unit of time: diffusers counts noise levels from 0 to 1000.
TIME_SCALE = 1000
# What is drawn with, as diffusers calls it: Euler steps along the straight line, evenly.
SCHEDULER_FILE = "scheduler/scheduler_config.json"
SCHEDULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "num_train_timesteps": TIME_SCALE,
    "shift": 1.0,
    "shift_terminal": None,
    "use_dynamic_shifting": False,
    "invert_sigmas": False,
    "stochastic_sampling": False,
}


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


class PixelDecoder(nn.Module, ABC):
    """Features (one tensor a level, row-major over grids of the image's proportions) to pixels.

    `config` is its configuration, `dims` are the widths of the levels' features, `steps` says in how many it paints
    unless told otherwise. A decoder with `upscale` 2 paints, and learns from, images of twice the side of those that
    the features were read from.
    """

    @property
    def upscale(self) -> int:
        return 1

    def __init__(self, config: Any, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.config = config
        self.dims = dims

    @property
    def steps(self) -> int:
        return int(self.config.steps)

    @abstractmethod
    def noise(self, shape: tuple[int, int, int, int], generator: torch.Generator) -> Noise:
        """The chance that a batch of pixels of this shape needs in `loss`."""

    @abstractmethod
    def loss(
        self, pixels: Float[Tensor, "b 3 h w"], features: tuple[Float[Tensor, "b _ _"], ...], noise: Noise
    ) -> Float[Tensor, ""]:
        """What it costs to paint these pixels from these features, a number of a sample."""

    @abstractmethod
    def draw(
        self,
        features: tuple[Float[Tensor, "b _ _"], ...],
        size: tuple[int, int],
        steps: int,
        generator: Generators,
        guidance: float = 1.0,
    ) -> Float[Tensor, "b 3 h w"]:
        """Images of `size` in [-1, 1]. Noise is drawn on the CPU, so that devices agree."""

    @abstractmethod
    def save(self, folder: str | Path) -> None:
        """Write a folder: config.json and safetensors, in diffusers' layout where the networks are diffusers'."""

    @classmethod
    @abstractmethod
    def load(cls, folder: str | Path) -> "PixelDecoder":
        """Read what `save` wrote. ModelError where the folder is not of this format."""

    def save_config(self, folder: Path) -> None:
        """config.json, in a folder that is made if need be."""
        folder.mkdir(parents=True, exist_ok=True)
        plain = {"format_version": FORMAT_VERSION, "pixel_decoder": to_dict(self.config), "dims": list(self.dims)}
        write_json(folder / "config.json", plain)

    def grids(
        self, features: tuple[Float[Tensor, "b _ _"], ...], size: tuple[int, int]
    ) -> list[Float[Tensor, "b _ _ _"]]:
        """Each level as a map b d rows columns of the proportions of `size`. ModelError for another number of them."""
        if len(features) != len(self.dims):
            raise ModelError(f"features of {len(features)} levels for a pixel decoder of {len(self.dims)}")
        rows = [grid_of(level.shape[1], size)[0] for level in features]
        return [rearrange(level, "b (r q) d -> b d r q", r=r) for level, r in zip(features, rows, strict=True)]


def read_decoder_config(folder: str | Path, cls: type[C]) -> tuple[C, tuple[int, ...]]:
    """The configuration and the features' widths of a pixel decoder's folder."""
    plain = read_config(Path(folder) / "config.json", FORMAT_VERSION)
    return from_dict(cls, plain["pixel_decoder"], where=f"{folder}/config.json"), tuple(plain["dims"])


def guided(predict: Callable[[Tensor], Tensor], rows: int, guidance: float, device: torch.device) -> Tensor:
    """What `predict` says of `rows` images with their features, moved away from what it says without them.

    `predict` takes 1 for each image whose features it may see and 0 for the others (Ho and Salimans 2022).
    """
    told = predict(torch.ones(rows, device=device))
    if guidance == 1:
        return told
    untold = predict(torch.zeros(rows, device=device))
    return untold + guidance * (told - untold)


class DiffusionPixelDecoder(PixelDecoder):
    """Flow matching in pixels: the network sees a mixture of image and noise and predicts the image (x-prediction).

    Times are logit-normal (Esser et al. 2024). The loss is that of the velocity, (prediction - image)^2 / level^2,
    its weight bounded, as a prediction of the image is steadier than one of the velocity (Li and He 2025).
    """

    def __init__(self, config: DiffusionDecoderConfig, dims: tuple[int, ...]) -> None:
        super().__init__(config, dims)
        width = config.condition * config.cells**2
        self.conditions = nn.ModuleList(nn.Linear(dim, width) for dim in dims)
        pixels = 3 * config.unshuffle**2
        seen = pixels + config.condition * len(dims)
        # without attention: the features already say what is where
        self.unet = UNet(seen, pixels, config.channels, config.layers, config.groups)

    def noise(self, shape: tuple[int, int, int, int], generator: torch.Generator) -> Noise:
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
        return F.pixel_shuffle(self.unet(x, level * TIME_SCALE), self.config.unshuffle).float()

    def condition(
        self, features: tuple[Float[Tensor, "b _ _"], ...], size: tuple[int, int]
    ) -> Float[Tensor, "b c h w"]:
        """The features of all levels as channels at this resolution: each says something of its own to each place."""
        maps = []
        cells = self.config.cells
        for project, grid in zip(self.conditions, self.grids(features, size), strict=True):
            projected = project(rearrange(grid, "b d r q -> b r q d"))
            unfolded = rearrange(projected, "b r q (i j c) -> b c (r i) (q j)", i=cells, j=cells)
            maps.append(resized(unfolded, size))
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
        x = normal((rows, 3, *size), generator).to(features[0].device)
        levels = torch.tensor([1 - i / steps for i in range(steps + 1)], device=x.device)
        for now, then in pairwise(levels):
            level = now.expand(rows)
            predict = partial(self, x, level, features)
            velocity = (x - guided(predict, rows, guidance, x.device)) / now
            x = x + (then - now) * velocity
        return x.clamp(-1, 1)

    def save(self, folder: str | Path) -> None:
        """Write a diffusers folder (unet/, scheduler/), our config.json, and the projections of the features."""
        folder = Path(folder)
        self.save_config(folder)
        self.unet.save(folder / "unet")
        write_json(folder / SCHEDULER_FILE, SCHEDULER)
        save_tensors(folder / "model.safetensors", self.conditions.state_dict())

    @classmethod
    def load(cls, folder: str | Path) -> "DiffusionPixelDecoder":
        folder = Path(folder)
        decoder = cls(*read_decoder_config(folder, DiffusionDecoderConfig))
        check_diffusers_config(folder / SCHEDULER_FILE, SCHEDULER)
        decoder.unet.load(folder / "unet")
        decoder.conditions.load_state_dict(load_tensors(folder / "model.safetensors"))
        return decoder.eval()


def normal(shape: tuple[int, ...], generator: Generators) -> Float[Tensor, "b *s"]:
    """Normal noise, on the CPU."""
    if isinstance(generator, list):
        return torch.cat([torch.randn((1, *shape[1:]), generator=one) for one in generator])
    return torch.randn(shape, generator=generator)


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


def resized(maps: Float[Tensor, "b c _ _"], size: tuple[int, int]) -> Float[Tensor, "b c h w"]:
    """Maps brought to a resolution, bilinearly; as they are where they have it."""
    fits = tuple(maps.shape[2:]) == size
    return maps if fits else F.interpolate(maps, size, mode="bilinear", align_corners=False)


def grid_of(number: int, size: tuple[int, int]) -> tuple[int, int]:
    """The grid of `number` features with the proportions of an image. ModelError where there is none."""
    rows = round(math.sqrt(number * size[0] / size[1]))
    if rows == 0 or number % rows or rows * size[1] != number // rows * size[0]:
        raise ModelError(f"{number} features do not make a grid with the proportions of {size[0]}x{size[1]} pixels")
    return rows, number // rows
