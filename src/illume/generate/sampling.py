"""Drawing one id a row from logits; it knows neither the vocabulary nor what the ids mean.

The filters are applied once, in one order: temperature, top-k, top-p. The randomness of a row is a pure function of its
seed and its step, so that what else is in the batch changes nothing.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from illume.generate.request import Sampling

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


def sample(logits: Float[Tensor, "b v"], sampling: Sampling, uniforms: Sequence[float]) -> Int[Tensor, "b"]:
    """One column a row by inverse-CDF sampling; `uniforms` holds each row's number in [0, 1).

    At temperature 0 the likeliest column. Rows never look at each other.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    probabilities, columns = keep(logits, sampling)
    uniform = torch.tensor(uniforms, dtype=torch.float32, device=logits.device)[:, None]
    cumulative = probabilities.cumsum(-1)
    choice = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    return choice[:, 0] if columns is None else columns.gather(-1, choice)[:, 0]


def keep(logits: Float[Tensor, "b v"], sampling: Sampling) -> tuple[Float[Tensor, "b k"], Int[Tensor, "b k"] | None]:
    """What the filters leave: probabilities (not renormalised after top-p) and their columns; None is all, in order.

    top-p keeps the smallest set of likeliest columns whose mass, after top-k, reaches it; at least one.
    """
    logits = logits.float() / sampling.temperature
    top_k = min(sampling.top_k or logits.shape[-1], logits.shape[-1])
    if top_k == logits.shape[-1] and sampling.top_p == 1:
        return logits.softmax(-1), None
    values, columns = logits.topk(top_k, dim=-1)
    probabilities = values.softmax(-1)
    if sampling.top_p < 1:
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.where(before < sampling.top_p, 0.0)
    return probabilities, columns
