"""Cross-entropy over rows in two blocks, chunk by chunk; no logits are kept for the backward pass.

It knows matrices only. The backward pass computes each chunk of logits again and turns it, in place, into its gradient:
one product more, but only one chunk is ever in memory (as in Liger-Kernel, Hsu et al. 2024, arXiv 2410.10989).
"""

from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from illume.models.layers import product_dtype


def linear_cross_entropy(
    hidden: Float[Tensor, "m d"],
    targets: Int[Tensor, " m"],
    first: Float[Tensor, "a d"],
    second: Float[Tensor, "b d"],
    chunk: int,
) -> Float[Tensor, " m"]:
    """Nats, float32, of every position: logits are products with the rows of `first`, then those of `second`.

    Products are made in autocast's dtype, everything else in float32; `chunk` positions at a time.
    """
    dtype = product_dtype(hidden)
    return cast(Tensor, _LinearCrossEntropy.apply(hidden.to(dtype), targets, first.to(dtype), second.to(dtype), chunk))


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, targets: Tensor, first: Tensor, second: Tensor, chunk: int) -> Tensor:
        ctx.chunk = chunk
        totals, losses = [], []
        with torch.autocast(hidden.device.type, enabled=False):
            for some, wanted in zip(hidden.split(chunk), targets.split(chunk), strict=True):
                blocks = _logits(some, first, second)
                total = torch.logaddexp(*(block.logsumexp(dim=1) for block in blocks))
                totals.append(total)
                losses.append(total - _of_targets(blocks, wanted))
        total = torch.cat(totals)
        ctx.save_for_backward(hidden, targets, first, second, total)
        return torch.cat(losses)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor, None, Tensor, Tensor, None]:
        hidden, targets, first, second, total = ctx.saved_tensors
        to_hidden = torch.empty_like(hidden)
        to_rows = [torch.zeros_like(rows, dtype=torch.float32) for rows in (first, second)]
        for start in range(0, len(hidden), ctx.chunk):
            here = slice(start, start + ctx.chunk)
            blocks = _logits(hidden[here], first, second)
            for block in blocks:  # to probabilities
                block.sub_(total[here, None]).exp_()
            _subtract_targets(blocks, targets[here])
            low = [block.mul_(weights[here, None]).to(hidden.dtype) for block in blocks]
            to_hidden[here] = low[0] @ first + low[1] @ second
            for gradient, block in zip(to_rows, low, strict=True):
                gradient += block.T @ hidden[here]
        return to_hidden, None, to_rows[0].to(first.dtype), to_rows[1].to(second.dtype), None


def _logits(hidden: Tensor, first: Tensor, second: Tensor) -> list[Tensor]:
    return [(hidden @ rows.T).float() for rows in (first, second)]


def _places(blocks: list[Tensor], targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which targets lie in the second block, and the column of each target in either one (any column, if not there)."""
    split = blocks[0].shape[1]
    in_second = targets >= split
    return in_second, targets.clamp(max=split - 1)[:, None], (targets - split).clamp(min=0)[:, None]


def _of_targets(blocks: list[Tensor], targets: Tensor) -> Tensor:
    in_second, first, second = _places(blocks, targets)
    return torch.where(in_second, blocks[1].gather(1, second)[:, 0], blocks[0].gather(1, first)[:, 0])


def _subtract_targets(blocks: list[Tensor], targets: Tensor) -> None:
    in_second, first, second = _places(blocks, targets)
    one = in_second.to(blocks[0].dtype)[:, None]
    blocks[0].scatter_add_(1, first, one - 1)
    blocks[1].scatter_add_(1, second, -one)
