"""Drawing one id a row from logits; it knows neither the vocabulary nor what the ids mean.

The filters are applied once, in one order: temperature, top-k, top-p. The randomness of a row is a pure function of its
seed and its step, so that what else is in the batch changes nothing.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from illume.generate.request import Number, Sampling

_MASK = (1 << 64) - 1
_BITS = 23  # a float32 times 1 - 2**-23 is always smaller than itself, so an inverse-CDF draw never falls off the end


def keyed_uniform(seed: int, step: int) -> float:
    """A number in [0, 1) that depends on (seed, step) alone: splitmix64's stream `seed` at position `step`."""
    z = _mix(seed & _MASK) + (step + 1) * 0x9E3779B97F4A7C15
    return (_mix(z & _MASK) >> (64 - _BITS)) / (1 << _BITS)


def _mix(z: int) -> int:
    """splitmix64's finaliser: every input bit reaches every output bit (Steele, Lea, Flood 2014)."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def filtered(sampling: Sampling) -> bool:
    """Whether ids are left out: such rows draw from columns in order of likelihood, others in the columns' own."""
    return sampling.temperature != 0 and (sampling.top_k > 0 or sampling.top_p < 1)


def sample(
    logits: Float[Tensor, "b v"], samplings: Sequence[Sampling], uniforms: Sequence[float], *, strict: bool = False
) -> Int[Tensor, "b"]:
    """One column a row by inverse-CDF sampling, each row in its own way; `uniforms` holds each row's number in [0, 1).

    At temperature 0 the likeliest column. Rows never look at each other. Either all of the rows are `filtered` or none.
    `strict`: bit for bit the same whatever the other rows' filters are; slower.
    """
    if all(one.temperature == 0 for one in samplings):
        return logits.argmax(-1)
    probabilities, columns = keep(logits, samplings, strict=strict)
    uniform = torch.tensor(uniforms, dtype=torch.float32, device=logits.device)[:, None]
    cumulative = probabilities.cumsum(-1)
    choice = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    choice = choice.clamp(max=cumulative.shape[-1] - 1)  # logits that are no numbers cost their own row, no other
    choice = choice[:, 0] if columns is None else columns.gather(-1, choice)[:, 0]
    greedy = [one.temperature == 0 for one in samplings]
    return torch.where(torch.tensor(greedy, device=logits.device), logits.argmax(-1), choice) if any(greedy) else choice


def keep(
    logits: Float[Tensor, "b v"], samplings: Sequence[Sampling], *, strict: bool = False
) -> tuple[Float[Tensor, "b k"], Int[Tensor, "b k"] | None]:
    """What the filters leave: probabilities (not renormalised after top-p) and their columns; None is all, in order.

    top-p keeps the smallest set of likeliest columns whose mass, after top-k, reaches it; at least one.
    """
    size = logits.shape[-1]
    logits = logits.float() / _each(logits, [one.temperature or 1.0 for one in samplings])
    if not any(map(filtered, samplings)):
        return logits.softmax(-1), None
    kept = [min(one.top_k or size, size) for one in samplings]
    values, columns = logits.topk(size if strict else max(kept), dim=-1)
    if min(kept) < values.shape[-1]:
        rank = torch.arange(values.shape[-1], device=logits.device)
        values = values.masked_fill(rank >= _each(logits, kept), float("-inf"))
    probabilities = values.softmax(-1)
    if any(one.top_p < 1 for one in samplings):
        before = probabilities.cumsum(-1) - probabilities
        before[:, 0] = -1.0  # the likeliest stays, however small top_p is as a float32
        # a row without a limit keeps all, also where rounding makes its mass reach 1 too early
        probabilities = probabilities.where(before < _each(logits, [_limit(one.top_p) for one in samplings]), 0.0)
    return probabilities, columns


def _each(logits: Tensor, values: Sequence[Number]) -> Tensor:
    """A value a row; one number where all rows share it, so that most steps make no tensor for it."""
    if len(set(values)) == 1:
        return torch.full((1, 1), values[0], dtype=torch.float32, device=logits.device)
    return torch.tensor(values, dtype=torch.float32, device=logits.device)[:, None]


def _limit(top_p: Number) -> Number:
    return top_p if top_p < 1 else float("inf")
