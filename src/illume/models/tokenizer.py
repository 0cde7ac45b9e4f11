"""The vision tokenizer: pixels to grids of codes, and codes back to the features of a frozen encoder.

It does not know how features become pixels (pixel_decoder.py), nor how codes become ids.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from illume.core.config import from_dict, to_dict
from illume.core.errors import ModelError
from illume.core.files import write_json
from illume.core.tensors import load_tensors, save_tensors
from illume.models.folder import read_config
from illume.models.layers import Block
from illume.models.quantizer import (
    VQ,
    ProductVQ,
    QuantizerConfig,
    QuantizerLoss,
    SimVQ,
    VQConfig,
    build_quantizer,
    from_levels,
    level_sizes,
    level_vectors,
    to_levels,
)
from illume.models.vision_encoder import Grid, VisionEncoder, encoder_from_spec

FORMAT_VERSION = 1
AnyQuantizer = VQ | ProductVQ | SimVQ


@dataclass(frozen=True)
class LevelConfig:
    """One level: the quantiser, and the transformer blocks of `width` before and behind it."""

    quantizer: QuantizerConfig = field(default_factory=VQConfig)
    width: int = 128
    heads: int = 4
    hidden: int = 512
    blocks_in: int = 1
    blocks_out: int = 2

    def __post_init__(self) -> None:
        if self.width % 4:
            raise ValueError(f"width {self.width} is not a multiple of 4, which the positions of a grid need")


@dataclass(frozen=True)
class TokenizerConfig:
    """The levels, one for each output of the encoder."""

    levels: tuple[LevelConfig, ...] = (LevelConfig(),)


class LevelPass(NamedTuple):
    """What one level made of an image: what it should give back, what it gave back, and the quantiser's share."""

    target: Float[Tensor, "b n d"]
    rebuilt: Float[Tensor, "b n d"]
    quantizer: QuantizerLoss


class Level(nn.Module):
    """Features of one level to codes and back: project, mix, quantise; project, mix, project."""

    quantizer: AnyQuantizer

    def __init__(self, config: LevelConfig, dim: int) -> None:
        super().__init__()
        self.quantizer = build_quantizer(config.quantizer)
        self.proj_in = nn.Linear(dim, config.width)
        self.blocks_in = self._blocks(config, config.blocks_in)
        self.to_code = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, self.quantizer.dim))
        self.from_code = nn.Linear(self.quantizer.dim, config.width)
        self.blocks_out = self._blocks(config, config.blocks_out)
        self.proj_out = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, dim))

    @staticmethod
    def _blocks(config: LevelConfig, number: int) -> nn.Sequential:
        return nn.Sequential(*(Block(config.width, config.heads, config.hidden) for _ in range(number)))

    def before(self, features: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n e"]:
        """The vectors to be quantised."""
        x = self.proj_in(features)
        return self.to_code(self.blocks_in(x + grid_positions(grid, x)))

    def after(self, vectors: Float[Tensor, "b n e"], grid: Grid) -> Float[Tensor, "b n d"]:
        """The features rebuilt from the quantiser's vectors."""
        x = self.from_code(vectors)
        return self.proj_out(self.blocks_out(x + grid_positions(grid, x)))

    def forward(
        self, features: Float[Tensor, "b n d"], grid: Grid, views: tuple[Float[Tensor, "b n d"], ...] = ()
    ) -> LevelPass:
        """With `views`, group i of the code is taken from the features of view i, and all are to give `features` back:
        so a group can only hold what its view shares with the image (see VisionTokenizer.forward)."""
        vectors = self.before(features, grid) if not views else self._gathered(views, grid)
        quantized = self.quantizer.loss(vectors)
        return LevelPass(features, self.after(quantized.quantised, grid), quantized)

    def _gathered(self, views: tuple[Float[Tensor, "b n d"], ...], grid: Grid) -> Float[Tensor, "b n e"]:
        if not isinstance(self.quantizer, ProductVQ) or len(self.quantizer.sizes) != len(views):
            raise ModelError(f"{len(views)} views of each image, for a quantiser that has not as many groups")
        before = self.before(torch.cat(views), grid).chunk(len(views))
        return torch.cat([self.quantizer.parts(vectors)[group] for group, vectors in enumerate(before)], dim=-1)


class VisionTokenizer(nn.Module):
    """A frozen encoder, and a quantising autoencoder of its features for each level (ILLUME, section 3.1).

    The features it gives back are normalised, each to mean 0 and variance 1 (`normalised`): so levels and encoders of
    any scale weigh the same in a loss.
    """

    def __init__(self, config: TokenizerConfig, encoder: VisionEncoder) -> None:
        super().__init__()
        if len(config.levels) != len(encoder.dims):
            raise ModelError(f"{len(config.levels)} levels for an encoder with {len(encoder.dims)} outputs")
        self.config = config
        self.encoder = encoder.requires_grad_(False)
        self.levels = nn.ModuleList(Level(c, dim) for c, dim in zip(config.levels, encoder.dims, strict=True))

    @property
    def quantizers(self) -> tuple[AnyQuantizer, ...]:
        """One a level."""
        return tuple(level.quantizer for level in self._levels())

    @property
    def num_codes(self) -> tuple[int, ...]:
        """The size of every codebook that an image's codes are of, one a level of the sequence."""
        return tuple(size for level in self._levels() for size in level_sizes(level.quantizer))

    @property
    def depths(self) -> tuple[int, ...]:
        """How many levels of the sequence write each of the encoder's outputs: see VocabLayout."""
        return tuple(len(level_sizes(level.quantizer)) for level in self._levels())

    @property
    def dims(self) -> tuple[int, ...]:
        """The width of each level's features."""
        return self.encoder.dims

    @property
    def strides(self) -> tuple[int, ...]:
        """The side of what a code stands on, in pixels, a level."""
        return self.encoder.strides

    def grids(self, size: tuple[int, int]) -> tuple[Grid, ...]:
        """The grid of codes of each level of the sequence for an image of (height, width) pixels."""
        pairs = zip(self.encoder.grids(size), self.depths, strict=True)
        return tuple(grid for grid, depth in pairs for _ in range(depth))

    def code_vectors(self) -> tuple[Float[Tensor, "k e"], ...]:
        """What is known of every code, a level of the sequence: see Quantizer."""
        return tuple(vectors for level in self._levels() for vectors in level_vectors(level.quantizer))

    def targets(self, pixels: Float[Tensor, "b 3 h w"]) -> tuple[tuple[Float[Tensor, "b _ _"], Grid], ...]:
        """The encoder's features, normalised: what the levels read and what they are to give back. No gradient."""
        with torch.no_grad():
            return tuple((normalised(features), grid) for features, grid in self.encoder(pixels))

    def encode(self, pixels: Float[Tensor, "b 3 h w"]) -> tuple[Int[Tensor, "b _ _"], ...]:
        """One grid of codes a level of the sequence."""
        found: list[Tensor] = []
        for level, (features, grid) in zip(self._levels(), self.targets(pixels), strict=True):
            codes = level.quantizer.encode(level.before(features, grid))
            digits = to_levels(codes, level_sizes(level.quantizer))
            found += [rearrange(digit, "b (h w) -> b h w", h=grid[0]) for digit in digits]
        return tuple(found)

    def decode(self, codes: tuple[Int[Tensor, "b _ _"], ...]) -> tuple[Float[Tensor, "b _ _"], ...]:
        """The encoder's features, normalised, as the codes tell them."""
        if len(codes) != len(self.num_codes):
            raise ModelError(f"{len(codes)} grids of codes for {len(self.num_codes)} levels")
        found, left = [], list(codes)
        for level, depth in zip(self._levels(), self.depths, strict=True):
            digits, left = left[:depth], left[depth:]
            joined = from_levels([digit.flatten(1) for digit in digits], level_sizes(level.quantizer))
            found.append(level.after(level.quantizer.decode(joined), (digits[0].shape[1], digits[0].shape[2])))
        return tuple(found)

    def forward(
        self, pixels: Float[Tensor, "b 3 h w"], views: tuple[Float[Tensor, "b 3 h w"], ...] = ()
    ) -> tuple[LevelPass, ...]:
        """Through the codes and back, with gradients for everything but the encoder.

        `views`: for every group of a product quantiser, pictures that share with `pixels` what the group is to hold and
        differ in the rest (the same shapes in other colours; the same colours on other shapes). The codes are then
        gathered from the views, a group from each, so that no group can tell what belongs to another.
        """
        targets = self.targets(pixels)
        seen = [self.targets(view) for view in views]
        return tuple(
            level(*targets[i], tuple(levels[i][0] for levels in seen)) for i, level in enumerate(self._levels())
        )

    def after_step(self, step: int, steps: int) -> None:
        """Let the codebooks that follow statistics move; called when `step` of `steps` are done."""
        for level in self._levels():
            level.quantizer.after_step(step, steps)

    def train(self, mode: bool = True) -> "VisionTokenizer":
        """As in torch, but the frozen encoder stays in evaluation mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def save(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors, the encoder included, what only training needs left out."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        plain = {"format_version": FORMAT_VERSION, "tokenizer": to_dict(self.config), "encoder": self.encoder.spec()}
        write_json(Path(folder) / "config.json", plain)
        save_tensors(Path(folder) / "model.safetensors", lasting(self.state_dict()))

    @classmethod
    def load(cls, folder: str | Path) -> "VisionTokenizer":
        """Read what `save` wrote. ModelError where the folder is not of this format or its tensors do not fit."""
        plain = read_config(Path(folder) / "config.json", FORMAT_VERSION)
        config = from_dict(TokenizerConfig, plain["tokenizer"], where=f"{folder}/config.json")
        tokenizer = cls(config, encoder_from_spec(plain["encoder"]))
        load_lasting(tokenizer, load_tensors(Path(folder) / "model.safetensors"), str(folder))
        return tokenizer.eval()

    def _levels(self) -> list[Level]:
        return [level for level in self.levels if isinstance(level, Level)]


def lasting(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a state dict, what a model in use needs: all but the codebooks' statistics."""
    return {name: tensor for name, tensor in state.items() if ".statistics." not in name}


def load_lasting(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Give a module what `lasting` keeps of it. ModelError naming tensors that it lacks, or that it has no use for."""
    wanted = lasting(module.state_dict())
    if tensors.keys() != wanted.keys():
        wrong = sorted(tensors.keys() ^ wanted.keys())
        raise ModelError(f"{where}: tensors and config.json disagree about {', '.join(wrong[:5])}")
    module.load_state_dict(tensors, strict=False)


def normalised(features: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
    """Each feature shifted and scaled to mean 0 and variance 1, in float32."""
    return F.layer_norm(features.float(), features.shape[-1:])


def grid_positions(grid: Grid, like: Float[Tensor, "b n d"]) -> Float[Tensor, "n d"]:
    """Sines and cosines of a position's row (first half of the width) and column (second half), for any grid."""
    quarter = like.shape[-1] // 4
    frequency = 100 ** -(torch.arange(quarter, device=like.device) / quarter)
    rows, columns = (torch.arange(length, device=like.device)[:, None] * frequency for length in grid)
    row, column = repeat(rows, "h d -> (h w) d", w=grid[1]), repeat(columns, "w d -> (h w) d", h=grid[0])
    return torch.cat([row.sin(), row.cos(), column.sin(), column.cos()], dim=-1).to(like.dtype)
