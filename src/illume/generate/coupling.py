"""Drafts of one distribution turned into samples of another, changing as few of them as can be.

It knows distributions over columns, but neither images nor models, nor where its random numbers come from.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def acceptance(
    wanted: Float[Tensor, "n v"], drafted: Float[Tensor, "n v"], drafts: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """The probability with which a draft stands: `min(1, wanted / drafted)` at its column. Where there is no draft,
    `drafted` is zero, and so is this (Leviathan et al. 2023, arXiv 2211.17192)."""
    column = drafts[:, None]
    new, old = wanted.gather(-1, column)[:, 0], drafted.gather(-1, column)[:, 0]
    return torch.where(old > 0, (new / old).clamp(max=1), 0.0)


def residual(wanted: Float[Tensor, "n v"], drafted: Float[Tensor, "n v"]) -> Float[Tensor, "n v"]:
    """What is drawn from where a draft does not stand: by how much `wanted` exceeds `drafted`, normalised; `wanted`
    itself where there is no draft."""
    rest = (wanted - drafted).clamp(min=0)
    mass = rest.sum(-1, keepdim=True)
    # No mass and yet a draft that did not stand: the two are equal up to rounding.
    return torch.where(mass > 0, rest / mass, wanted)


def couple(
    wanted: Float[Tensor, "n v"],
    drafted: Float[Tensor, "n v"],
    drafts: Int[Tensor, " n"],
    uniforms: Float[Tensor, "n 2"],
) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"]]:
    """A sample of `wanted` a row, and whether it is the row's draft, a sample of `drafted`; of all ways to have both,
    one where they differ least often: with the distributions' total variation distance."""
    stands = uniforms[:, 0] < acceptance(wanted, drafted, drafts)
    return torch.where(stands, drafts, draw(residual(wanted, drafted), uniforms[:, 1:])[:, 0]), stands


def draw(distribution: Float[Tensor, "n v"], uniforms: Float[Tensor, "n k"]) -> Int[Tensor, "n k"]:
    """So many columns of each distribution by its inverse, `uniforms` in [0, 1) a number for each."""
    cumulative = distribution.cumsum(-1)
    columns = torch.searchsorted(cumulative, uniforms * cumulative[:, -1:], right=True)
    return columns.clamp(max=cumulative.shape[-1] - 1)  # what is no distribution costs its own row, no other
