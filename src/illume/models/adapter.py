"""Turns an encoder's features into rows of the language model's width, one projector a level.

It does not know which encoder they come from or where in a sequence they go.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from illume.models.layers import lower


class Projector(nn.Module):
    """LayerNorm, Linear, GELU, Linear. The norm is what makes features of an unknown scale safe to read
    (ILLUME, section 3.1; ILLUME+ reports it as crucial)."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.up_proj = nn.Linear(dim, width)
        self.down_proj = nn.Linear(width, width)

    def forward(self, features: Float[Tensor, "*b dim"]) -> Float[Tensor, "*b d"]:
        return self.down_proj(F.gelu(self.up_proj(lower(self.norm(features)))))


class Adapter(nn.Module):
    """One `Projector` a level: features of `dims[level]` become rows of `width`."""

    def __init__(self, dims: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(Projector(dim, width) for dim in dims)

    def forward(self, features: tuple[Float[Tensor, "b _ _"], ...]) -> tuple[Float[Tensor, "b _ d"], ...]:
        if len(features) != len(self.levels):
            raise ValueError(f"features of {len(features)} levels for an adapter of {len(self.levels)}")
        return tuple(project(level) for project, level in zip(self.levels, features, strict=True))
