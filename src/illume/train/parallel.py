"""How a step is spread over processes: each has the whole model and its own micro-batches.

It does not know the loss or the optimiser. Sharding (FSDP2) enters in `parallelise` and nowhere else.
"""

from collections.abc import Sequence

import torch
from torch import distributed as torch_dist
from torch import nn

from illume.core.dist import world_size
from illume.train.objective import Objective


@torch.no_grad()
def parallelise(objective: Objective) -> None:
    """Make the processes start from one model: rank 0's parameters and buffers."""
    if world_size() == 1:
        return
    for module in objective.modules().values():
        for tensor in (*module.parameters(), *module.buffers()):
            torch_dist.broadcast(tensor, src=0)


@torch.no_grad()
def sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Every gradient becomes the sum over ranks; one that no backward pass reached counts as zero.

    On one process too, so that an optimiser sees the same gradients however a step is spread: a parameter a
    micro-batch does not touch (no image in it, say) may be touched on another rank.
    """
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if world_size() > 1:
            torch_dist.all_reduce(parameter.grad)
