"""A UNet on maps, told the time: diffusers' `UNet2DModel` without attention, under the same names.

It does not know what it predicts, nor what conditions it. diffusers reads what is saved of it, and gives the same
numbers; it is written out here because importing that library takes longer than drawing a picture.
"""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from illume.core.errors import ModelError
from illume.core.files import read_json, write_json
from illume.core.tensors import load_tensors, save_tensors

WEIGHTS = "diffusion_pytorch_model.safetensors"
_LONGEST_PERIOD = 10_000


class UNet(nn.Module):
    """`layers` residual blocks at each resolution down, one more up; every one down is seen again on the way up.

    `channels`: one entry a resolution, finest first, each half the one before. Its parts are named as diffusers' are.
    """

    def __init__(
        self, channels_in: int, channels_out: int, channels: tuple[int, ...], layers: int, groups: int
    ) -> None:
        super().__init__()
        time, coarsest = 4 * channels[0], channels[-1]
        self.sizes = (channels_in, channels_out, channels, layers, groups)
        self.conv_in = nn.Conv2d(channels_in, channels[0], 3, padding=1)
        self.time_embedding = TimeEmbedding(channels[0], time)
        self.down_blocks = nn.ModuleList(
            Down(before, after, layers, time, groups, last=i == len(channels) - 1)
            for i, (before, after) in enumerate(pairwise((channels[0], *channels)))
        )
        self.mid_block = Middle(coarsest, time, groups)
        rising = channels[::-1]
        self.up_blocks = nn.ModuleList(
            Up(widths, layers + 1, time, groups, last=i == len(channels) - 1)
            for i, widths in enumerate(zip((coarsest, *rising), rising, (*rising[1:], channels[0]), strict=False))
        )
        self.conv_norm_out = nn.GroupNorm(groups, channels[0])
        self.conv_out = nn.Conv2d(channels[0], channels_out, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"], time: Float[Tensor, " b"]) -> Float[Tensor, "b d h w"]:
        """Maps of `channels_out` channels; each side a multiple of 2 for every resolution but the finest."""
        told = self.time_embedding(time)
        x = self.conv_in(x)
        passed = [x]
        for down in self.down_blocks:
            x, seen = down(x, told)
            passed += seen
        x = self.mid_block(x, told)
        for up in self.up_blocks:
            x = up(x, passed, told)
        return self.conv_out(F.silu(self.conv_norm_out(x)))

    def save(self, folder: Path) -> None:
        """A folder as diffusers writes it."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "config.json", self._diffusers_config())
        save_tensors(folder / WEIGHTS, self.state_dict())

    def load(self, folder: Path) -> None:
        """The weights of such a folder. ModelError where they are of another UNet."""
        check_diffusers_config(folder / "config.json", self._diffusers_config())
        tensors = load_tensors(folder / WEIGHTS)
        try:
            self.load_state_dict(tensors)
        except RuntimeError as error:  # names and shapes that do not fit
            raise ModelError(f"{folder}: the weights are not those of its config.json: {error}") from error

    def _diffusers_config(self) -> dict[str, Any]:
        """What diffusers calls these sizes, and what it must know besides."""
        channels_in, channels_out, channels, layers, groups = self.sizes
        return {
            "_class_name": "UNet2DModel",
            "act_fn": "silu",
            "add_attention": False,
            "block_out_channels": list(channels),
            "center_input_sample": False,
            "class_embed_type": None,
            "down_block_types": ["DownBlock2D"] * len(channels),
            "dropout": 0.0,
            "flip_sin_to_cos": True,
            "freq_shift": 0,
            "in_channels": channels_in,
            "layers_per_block": layers,
            "norm_eps": 1e-5,
            "norm_num_groups": groups,
            "out_channels": channels_out,
            "resnet_time_scale_shift": "default",
            "time_embedding_type": "positional",
            "up_block_types": ["UpBlock2D"] * len(channels),
        }


def check_diffusers_config(path: Path, expected: dict[str, Any]) -> None:
    """ModelError unless a file that diffusers may have written says this, whatever else it says."""
    found = read_json(path)
    for name, value in expected.items():
        if found.get(name) != value:
            raise ModelError(f"{path}: {name} is {found.get(name)!r}; this decoder's is {value!r}")


class TimeEmbedding(nn.Module):
    """Cosines and sines of the time, through two layers."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, hidden)
        self.linear_2 = nn.Linear(hidden, hidden)

    def forward(self, time: Float[Tensor, " b"]) -> Float[Tensor, "b d"]:
        waves = sinusoids(time, self.linear_1.in_features).to(self.linear_1.weight.dtype)
        return self.linear_2(F.silu(self.linear_1(waves)))


def sinusoids(time: Float[Tensor, " b"], width: int) -> Float[Tensor, "b {width}"]:
    """Cosines, then sines, of an even `width` in all, of periods from 2 pi to 20,000 pi (Vaswani et al. 2017)."""
    half = width // 2
    exponents = -math.log(_LONGEST_PERIOD) * torch.arange(half, dtype=torch.float32, device=time.device) / half
    angles = time[:, None].float() * exponents.exp()
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class Residual(nn.Module):
    """Norm, SiLU, 3x3 convolution, twice, with the time added between; a 1x1 convolution where the width changes."""

    def __init__(self, channels_in: int, channels_out: int, time: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.time_emb_proj = nn.Linear(time, channels_out)
        self.norm2 = nn.GroupNorm(groups, channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else None

    def forward(self, x: Float[Tensor, "b c h w"], time: Float[Tensor, "b t"]) -> Float[Tensor, "b d h w"]:
        y = self.conv1(F.silu(self.norm1(x)))
        y = y + self.time_emb_proj(F.silu(time))[:, :, None, None]
        y = self.conv2(F.silu(self.norm2(y)))
        return (x if self.conv_shortcut is None else self.conv_shortcut(x)) + y


class Down(nn.Module):
    """Residual blocks, then half the resolution unless it is the last."""

    def __init__(self, channels_in: int, channels: int, layers: int, time: int, groups: int, last: bool) -> None:
        super().__init__()
        widths = (channels_in, *(channels,) * layers)
        self.resnets = nn.ModuleList(Residual(*pair, time, groups) for pair in pairwise(widths))
        self.downsamplers = nn.ModuleList(() if last else (Downsample(channels),))

    def forward(
        self, x: Float[Tensor, "b c h w"], time: Float[Tensor, "b t"]
    ) -> tuple[Float[Tensor, "b d _ _"], list[Float[Tensor, "b d _ _"]]]:
        """What goes on, and all that the way up is to see again."""
        passed = []
        for resnet in self.resnets:
            x = resnet(x, time)
            passed.append(x)
        for downsampler in self.downsamplers:
            x = downsampler(x)
            passed.append(x)
        return x, passed


class Middle(nn.Module):
    """Two residual blocks at the coarsest resolution."""

    def __init__(self, channels: int, time: int, groups: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(Residual(channels, channels, time, groups) for _ in range(2))

    def forward(self, x: Float[Tensor, "b c h w"], time: Float[Tensor, "b t"]) -> Float[Tensor, "b c h w"]:
        for resnet in self.resnets:
            x = resnet(x, time)
        return x


class Up(nn.Module):
    """Residual blocks, each of what comes from below beside what passed here on the way down; then twice the resolution
    unless it is the last. `channels`: those from below, its own, and those of the last that it sees again."""

    def __init__(self, channels: tuple[int, int, int], layers: int, time: int, groups: int, last: bool) -> None:
        super().__init__()
        below, here, beside = channels
        widths = zip((below, *(here,) * (layers - 1)), (*(here,) * (layers - 1), beside), strict=True)
        self.resnets = nn.ModuleList(Residual(one + other, here, time, groups) for one, other in widths)
        self.upsamplers = nn.ModuleList(() if last else (Upsample(here),))

    def forward(
        self, x: Float[Tensor, "b c h w"], passed: list[Float[Tensor, "b _ _ _"]], time: Float[Tensor, "b t"]
    ) -> Float[Tensor, "b d _ _"]:
        """Takes what it sees again from the end of `passed`."""
        for resnet in self.resnets:
            x = resnet(torch.cat([x, passed.pop()], dim=1), time)
        for upsampler in self.upsamplers:
            x = upsampler(x)
        return x


class Downsample(nn.Module):
    """Half the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c _ _"]:
        return self.conv(x)


class Upsample(nn.Module):
    """Twice the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c _ _"]:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
