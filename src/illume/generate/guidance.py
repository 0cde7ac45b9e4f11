"""Classifier-free guidance on next-id logits; it knows neither rows nor where an image begins."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def combine(
    cond: Float[Tensor, "b v"], uncond: Float[Tensor, "b v"], scale: float | int | Float[Tensor, "b"]
) -> Float[Tensor, "b v"]:
    """`uncond + scale * (cond - uncond)` on log-probabilities (ILLUME+, arXiv 2504.01934: inference), in float32.

    At scale 1 this is `cond` itself up to rounding, at 0 `uncond`; `scale` may differ from row to row. Both sides are
    normalised over the same allowed ids, so that ids which cannot come next have no say in the result.
    """
    cond, uncond = cond.float().log_softmax(-1), uncond.float().log_softmax(-1)
    factor = scale[:, None] if isinstance(scale, Tensor) else scale
    return uncond + factor * (cond - uncond)


def guide(logits: Float[Tensor, "m v"], guided: Sequence[int], scales: Sequence[float | int]) -> Float[Tensor, "b v"]:
    """Of logits of `b` rows and, behind them, of the unconditional rows of those that are `guided`, in their order:
    the `b` rows, the guided ones combined, each at its scale."""
    if not guided:
        return logits
    count = len(logits) - len(guided)
    cond, uncond = logits[:count].float(), logits[count:]
    factors = torch.tensor(scales, dtype=torch.float32, device=logits.device)
    if len(guided) == count:
        return combine(cond, uncond, factors)
    cond[guided] = combine(cond[guided], uncond, factors)
    return cond
