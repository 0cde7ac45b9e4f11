"""Rank, world size and the few collectives ILLUME needs, no-ops on one process; it does not know what is trained."""

import os
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")
FOR_EVER = timedelta(days=365)  # a process that ended is noticed at once; one that works is waited for
_patient: Any = None  # the group that waits so; None: the default group, of whoever started it elsewhere


def is_active() -> bool:
    """Whether a process group is running; without one every function here is a no-op."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This process's number, 0 on one process."""
    return dist.get_rank() if is_active() else 0


def world_size() -> int:
    """How many processes work together."""
    return dist.get_world_size() if is_active() else 1


def is_main() -> bool:
    """Whether this is the process that writes files and speaks to the person."""
    return rank() == 0


def barrier() -> None:
    """Wait until every process is here, however long that takes: what the main one does meanwhile, such as asking an
    API or scoring, may take hours."""
    if is_active():
        dist.barrier(group=_patient)


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """The sum over processes, as a new tensor without gradient. Every process calls it with the same shape."""
    total = tensor.detach().clone()
    if is_active():
        dist.all_reduce(total)
    return total


def gather_rows(tensor: Tensor) -> Tensor:
    """The rows (first axis) of every process in order of rank; their numbers may differ.

    Differentiable: the gradient of a process's rows is the sum over processes of the gradients of their gathered
    copies, so that a loss computed on each process over all rows counts once per process.
    """
    return cast(Tensor, _GatherRows.apply(tensor)) if is_active() else tensor


def broadcast_object(value: T) -> T:
    """The main process's value, on every process. It is pickled: for the processes of one run only."""
    if not is_active():
        return value
    box: list[Any] = [value]
    dist.broadcast_object_list(box, src=0)
    return cast(T, box[0])


def init_from_env(device: torch.device, timeout: timedelta = timedelta(minutes=30)) -> torch.device:
    """Join the process group that torchrun's environment describes, if it does; returns this process's device.

    Tensors on the CPU travel by gloo, those on a GPU by NCCL, one GPU a process.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ or is_active():
        return device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=timeout)
    global _patient
    _patient = dist.new_group(backend="gloo", timeout=FOR_EVER)
    return device


def close() -> None:
    """Leave the process group, if there is one."""
    global _patient
    if is_active():
        dist.destroy_process_group()
    _patient = None


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        counts = _row_counts(tensor)
        ctx.first, ctx.rows = sum(counts[: rank()]), tensor.shape[0]
        padded = tensor.new_zeros((max(counts), *tensor.shape[1:]))
        padded[: tensor.shape[0]] = tensor
        gathered = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(gathered, padded)
        return torch.cat([rows[:count] for rows, count in zip(gathered, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return all_reduce_sum(grads[0].contiguous())[ctx.first : ctx.first + ctx.rows]


def _row_counts(tensor: Tensor) -> list[int]:
    mine = torch.tensor([tensor.shape[0]], device=tensor.device)
    counts = [torch.empty_like(mine) for _ in range(world_size())]
    dist.all_gather(counts, mine)
    return [int(count) for count in counts]
