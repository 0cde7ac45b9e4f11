"""The one training loop. It knows neither models nor data: an objective gives losses, a loader gives batches."""

import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from illume.core.device import autocast
from illume.core.dist import all_reduce_sum, rank
from illume.core.errors import ConfigError, DataError, IllumeError
from illume.core.streams import seed_of
from illume.train.callback import Callback, StepReport
from illume.train.interrupt import Interrupt
from illume.train.objective import HasAfterStep, Loss, Objective, couples_batch
from illume.train.optim import set_rates
from illume.train.parallel import parallelise, sum_gradients
from illume.train.stage import Stage
from illume.train.state import Checkpoints, TrainState


class DivergedError(IllumeError):
    """The loss or its gradient is no longer a finite number."""


@runtime_checkable
class Loader(Protocol):
    def batches(self, step: int) -> Sequence[Any]:
        """This rank's micro-batches of a step: the same ones whenever it is asked.

        A batch has `.to(device)`, and where it can a field `keys` that names its samples in error messages.
        """
        ...


def fit(
    objective: Objective,
    loader: Loader,
    stage: Stage,
    callbacks: Iterable[Callback] = (),
    *,
    folder: Path | None,
    device: torch.device,
    config_hash: str = "",
) -> TrainState:
    """Train `objective` through `stage`, going on from the newest checkpoint in `folder`, and leave in its modules the
    weights to export (the averaged ones where the stage has an EMA). A finished stage is only loaded.

    Ctrl-C finishes the step, saves and raises KeyboardInterrupt. DivergedError if a loss is not finite; the checkpoint
    before stays. ConfigError if a parameter does not match exactly one rule. Each step seeds torch's global stream.
    """
    callbacks = tuple(callbacks)
    state = TrainState.begin(objective, stage, device)
    parallelise(objective)
    checkpoints = Checkpoints(folder, config_hash)
    checkpoints.resume(state)
    if state.step < stage.steps:
        _run(state, loader, callbacks, checkpoints)
    state.finish()
    return state


def _run(state: TrainState, loader: Loader, callbacks: Sequence[Callback], checkpoints: Checkpoints) -> None:
    stage = state.stage
    state.train_mode()
    try:
        for callback in callbacks:
            callback.on_start(state)
        with Interrupt() as interrupt:
            while state.step < stage.steps:
                report, stop = take_step(state, loader, interrupt)
                for callback in callbacks:
                    callback.on_step(state, report)
                due = stage.save_every and state.step % stage.save_every == 0
                if due or stop or state.step == stage.steps:
                    checkpoints.save(state)
                if stop:
                    raise KeyboardInterrupt
    finally:
        for callback in callbacks:
            callback.on_end(state)


def take_step(state: TrainState, loader: Loader, interrupt: Interrupt) -> tuple[StepReport, bool]:
    """One step on all micro-batches of all ranks, and whether any rank was interrupted."""
    began = time.perf_counter()
    objective, stage, step = state.objective, state.stage, state.step
    torch.manual_seed(seed_of("step", stage.seed, step, rank()))  # a resumed run draws what it would have drawn
    batches = [batch.to(state.device) for batch in loader.batches(step)]
    if len(batches) > 1 and couples_batch(objective):
        raise ConfigError(f"stage {stage.name!r}: its loss couples a batch, so a step cannot be {len(batches)} of them")
    sizes = [objective.size(batch) for batch in batches]
    total = _total(sizes, state, step)
    factor = stage.schedule.factor(step, stage.steps)
    set_rates(state.optimizers, factor)

    tally = Tally(total)
    for batch, size in zip(batches, sizes, strict=True):
        with autocast(state.device, state.dtype):
            loss = objective.loss(batch)
        (loss.value * (size / total)).backward()
        tally.add(loss, size)
    trained = list(state.parameters.values())
    sum_gradients(trained)
    norm = float(torch.nn.utils.clip_grad_norm_(trained, stage.clip or math.inf))
    mean, metrics, stop = tally.reduce(state.device, interrupt.requested)
    if not (math.isfinite(mean) and math.isfinite(norm)):
        raise DivergedError(_diverged(stage, step, mean, norm, batches))

    for optimizer in state.optimizers:
        optimizer.step()
        optimizer.zero_grad()
    state.step += 1
    if isinstance(objective, HasAfterStep):
        objective.after_step(state.step)
    if state.ema is not None:
        state.ema.update(state.step)
    rate = state.optimizers[0].param_groups[0]["lr"]
    return StepReport(state.step, mean, rate, time.perf_counter() - began, total, norm, metrics), stop


def _total(sizes: Sequence[int], state: TrainState, step: int) -> int:
    total = int(all_reduce_sum(torch.tensor(float(sum(sizes)), device=state.device)))
    if total == 0:
        raise DataError(f"stage {state.stage.name!r}, step {step}: no element of the batch has a loss")
    return total


def _diverged(stage: Stage, step: int, loss: float, norm: float, batches: Sequence[Any]) -> str:
    keys = [str(key) for batch in batches for key in getattr(batch, "keys", ())]
    samples = f"; samples of rank {rank()}: {', '.join(keys)}" if keys else ""
    return (
        f"stage {stage.name!r}, step {step}: the loss is {loss} and its gradient's norm {norm}{samples}. "
        "Nothing of this step was kept; try a lower rate, a longer warm-up or float32."
    )


class Tally:
    """Adds up the losses and metrics of a step's micro-batches, then over ranks."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.loss: float | Tensor = 0.0
        self.sums: dict[str, float | Tensor] = {}
        self.counts: dict[str, float | Tensor] = {}

    def add(self, loss: Loss, size: int) -> None:
        self.loss = self.loss + loss.value.detach() * (size / self.total)
        for name, value in loss.metrics.items():
            count = loss.counts.get(name, size)
            value = value.detach() if isinstance(value, Tensor) else value
            self.sums[name] = self.sums.get(name, 0.0) + value * count
            self.counts[name] = self.counts.get(name, 0.0) + count

    def reduce(self, device: torch.device, interrupted: bool) -> tuple[float, dict[str, float], bool]:
        """The mean loss, the metrics (those over nothing left out), and whether any rank was asked to stop."""
        names = sorted(self.sums)
        entries = [self.loss, float(interrupted), *(self.sums[n] for n in names), *(self.counts[n] for n in names)]
        local = torch.stack([torch.as_tensor(entry, dtype=torch.float32, device=device) for entry in entries])
        loss, stop, *rest = all_reduce_sum(local).tolist()
        sums, counts = rest[: len(names)], rest[len(names) :]
        means = {name: total / count for name, total, count in zip(names, sums, counts, strict=True) if count}
        return loss, means, stop > 0
