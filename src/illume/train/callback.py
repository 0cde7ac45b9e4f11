"""What may be hung on the training loop. It does not know what anyone hangs there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from illume.train.state import TrainState


@dataclass(frozen=True)
class StepReport:
    """One finished step, summed over micro-batches and ranks. `lr` is the first group's rate, `seconds` the time it
    took with the wait for its data, `size` the number of elements the loss is a mean over."""

    step: int
    loss: float
    lr: float
    seconds: float
    size: int
    gradient_norm: float
    metrics: Mapping[str, float]


@runtime_checkable
class Callback(Protocol):
    """Called on every rank. What it writes it writes on the main one only."""

    def on_start(self, state: TrainState) -> None:
        """Before the first step of this run, which may be a resumed one (`state.step`)."""
        ...

    def on_step(self, state: TrainState, report: StepReport) -> None:
        """After each step, before its checkpoint."""
        ...

    def on_end(self, state: TrainState) -> None:
        """When the loop is left, also by an error or Ctrl-C (`state.step` says how far it came)."""
        ...
