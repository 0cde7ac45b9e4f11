"""Everything a stopped run needs to go on, and the same as files. It does not know how a step is taken."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from illume.core.checkpoint import latest, load_state, prune, save_state
from illume.core.device import pick_dtype
from illume.train.ema import EMA
from illume.train.objective import HasState, Objective, named_parameters
from illume.train.optim import build_optimizers, optimizer_tensors
from illume.train.stage import Stage


@dataclass
class TrainState:
    """A stage under way: `step` steps of it are done. `parameters` are those it moves, by name."""

    objective: Objective
    stage: Stage
    device: torch.device
    dtype: torch.dtype
    parameters: dict[str, nn.Parameter]
    optimizers: list[Optimizer]
    ema: EMA | None
    step: int = 0

    @classmethod
    def begin(cls, objective: Objective, stage: Stage, device: torch.device) -> "TrainState":
        """Step 0: the modules moved to the device, with the stage's optimisers."""
        for module in objective.modules().values():
            module.to(device)
        optimizers = build_optimizers(objective, stage)
        trained = {name: value for name, value in named_parameters(objective).items() if value.requires_grad}
        ema = EMA(trained, stage.ema) if stage.ema is not None else None
        return cls(objective, stage, device, pick_dtype(stage.dtype, device), trained, optimizers, ema)

    def train_mode(self) -> None:
        """Modules with a trained parameter train; wholly frozen ones stay as in evaluation."""
        for module in self.objective.modules().values():
            module.train(any(parameter.requires_grad for parameter in module.parameters()))

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Inside, the modules are as they would be exported: averaged weights where the stage has them, no gradient."""
        for module in self.objective.modules().values():
            module.eval()
        try:
            with torch.no_grad(), self.ema.swap() if self.ema else nullcontext():
                yield
        finally:
            self.train_mode()

    def finish(self) -> None:
        """Leave in the modules what is to be exported."""
        if self.ema is not None:
            self.ema.store()
        for module in self.objective.modules().values():
            module.eval()

    def tensors(self) -> dict[str, Any]:
        """What a checkpoint holds, as references to load into: frozen parameters are the model folder's affair."""
        tensors: dict[str, Any] = {
            "parameters": {name: parameter.detach() for name, parameter in self.parameters.items()},
            "buffers": persistent_buffers(self.objective),
            "optimizers": optimizer_tensors(self.optimizers),
        }
        if self.ema is not None:
            tensors["ema"] = self.ema.tensors()
        if isinstance(self.objective, HasState):
            tensors["objective"] = self.objective.state()
        return tensors


def persistent_buffers(objective: Objective) -> dict[str, Tensor]:
    """The buffers that `state_dict` would save, by "module.buffer"."""
    buffers: dict[str, Tensor] = {}
    for module_name, module in objective.modules().items():
        saved = module.state_dict()
        for name, buffer in module.named_buffers():
            if name in saved:
                buffers[f"{module_name}.{name}"] = buffer
    return buffers


@dataclass(frozen=True)
class Checkpoints:
    """A stage's checkpoints in a folder; with none, nothing is saved."""

    folder: Path | None
    config_hash: str

    def resume(self, state: TrainState) -> None:
        """Go on where the newest checkpoint is, if there is one. CheckpointError if it is another configuration's."""
        newest = latest(self.folder) if self.folder else None
        if newest is None:
            return
        tensors = state.tensors()
        meta = load_state(newest, tensors, config_hash=self.config_hash)
        if isinstance(state.objective, HasState):
            state.objective.load_state(tensors["objective"])
        state.step = meta["step"]

    def save(self, state: TrainState) -> None:
        if self.folder is None:
            return
        meta = {"config_hash": self.config_hash, "stage": state.stage.name, "steps": state.stage.steps}
        save_state(self.folder, state.step, state.tensors(), meta)
        prune(self.folder, state.stage.keep)
