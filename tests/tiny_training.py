"""A regression so small that hundreds of steps take a second: what the tests of the training loop train."""

import json
import multiprocessing
import multiprocessing.context
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor, nn

from illume.core.dist import close, is_main, rank, world_size
from illume.core.streams import seed_of
from illume.train import trainer
from illume.train.callback import StepReport
from illume.train.objective import Loss
from illume.train.stage import Rule, Schedule, Stage
from illume.train.state import TrainState
from illume.train.trainer import fit

CPU = torch.device("cpu")
RULES = (
    Rule(r"body\.weight", lr=0.02, optimizer="muon"),
    Rule(r"body\.bias|head\..*", lr=0.01, weight_decay=0.1),
    Rule(r"frozen\..*", lr=0.0),
)
STAGE = Stage(name="tiny", steps=12, batch_size=6, rules=RULES, schedule=Schedule(warmup=0.2), ema=0.9, dtype="float32")


@dataclass(frozen=True)
class TinyBatch:
    inputs: Tensor
    targets: Tensor
    keys: tuple[str, ...]

    def to(self, device: torch.device) -> "TinyBatch":
        return replace(self, inputs=self.inputs.to(device), targets=self.targets.to(device))


class TinyObjective:
    """Two trained modules around a frozen one; its loss draws from torch's global stream when `noise` is on."""

    def __init__(self, noise: float = 0.0) -> None:
        torch.manual_seed(1)
        self.noise = noise
        self.parts = {"frozen": nn.Linear(3, 4), "body": nn.Linear(4, 4), "head": nn.Linear(4, 1)}
        self.parts["head"].register_buffer("seen", torch.zeros(()))

    def modules(self) -> Mapping[str, nn.Module]:
        return self.parts

    def size(self, batch: TinyBatch) -> int:
        return len(batch.inputs)

    def loss(self, batch: TinyBatch) -> Loss:
        hidden = self.parts["body"](self.parts["frozen"](batch.inputs)).tanh()
        hidden = hidden + self.noise * torch.randn_like(hidden)
        error = (self.parts["head"](hidden) - batch.targets).square()
        return Loss(error.sum() / max(1, len(error)), {"largest": error.detach().amax()}, {"largest": 1})

    def after_step(self, step: int) -> None:
        self.parts["head"].get_buffer("seen").add_(step)


@dataclass
class TinyLoader:
    """Sample i of a step has 1 + i % 3 rows, so that micro-batches and ranks have unequal sizes."""

    stage: Stage
    asked: list[int] = field(default_factory=list)

    def batches(self, step: int) -> list[TinyBatch]:
        self.asked.append(step)
        mine = range(rank(), self.stage.batch_size, world_size())
        cuts = [mine[start :: self.stage.accumulate] for start in range(self.stage.accumulate)]
        return [self._batch(step, cut) for cut in cuts]

    def _batch(self, step: int, samples: range) -> TinyBatch:
        rows = []
        for sample in samples:
            stream = torch.Generator().manual_seed(seed_of("tiny", step, sample))
            rows.append(torch.randn(1 + sample % 3, 3, generator=stream))
        inputs = torch.cat(rows)
        return TinyBatch(inputs, inputs.sum(1, keepdim=True).sin(), tuple(f"{step}/{sample}" for sample in samples))


@dataclass
class Recorder:
    """Keeps the reports; appends them to a file too, and dawdles from step 5 on, so that a test can end the process."""

    path: Path | None = None
    pause: float = 0.0
    reports: list[StepReport] = field(default_factory=list)

    @property
    def losses(self) -> list[float]:
        return [report.loss for report in self.reports]

    def on_start(self, state: TrainState) -> None:
        pass

    def on_step(self, state: TrainState, report: StepReport) -> None:
        self.reports.append(report)
        if self.path is not None and is_main():
            with self.path.open("a") as file:
                file.write(json.dumps({"step": report.step, "loss": report.loss}) + "\n")
        time.sleep(self.pause if report.step >= 5 else 0)

    def on_end(self, state: TrainState) -> None:
        pass


class StopAt(Recorder):
    """Ends the run from inside the loop: by Ctrl-C, or as abruptly as a test can."""

    def __init__(self, step: int, politely: bool) -> None:
        super().__init__()
        self.step, self.politely = step, politely

    def on_step(self, state: TrainState, report: StepReport) -> None:
        super().on_step(state, report)
        if report.step == self.step and self.politely:
            os.kill(os.getpid(), signal.SIGINT)
        elif report.step == self.step:
            raise MemoryError


def train(
    stage: Stage = STAGE, folder: Path | None = None, objective: TinyObjective | None = None
) -> tuple[TrainState, Recorder]:
    """Fit the tiny objective and return what came of it."""
    recorder = Recorder()
    objective = objective or TinyObjective()
    state = fit(objective, TinyLoader(stage), stage, [recorder], folder=folder, device=CPU, config_hash="tiny")
    return state, recorder


def weights(state: TrainState) -> dict[str, Tensor]:
    """Every parameter and buffer of the objective's modules."""
    modules = state.objective.modules().items()
    return {f"{name}.{key}": value for name, module in modules for key, value in module.state_dict().items()}


def same_weights(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def new_processes() -> multiprocessing.context.BaseContext:
    """How tests start processes: from a server that has imported torch once, where there are such servers."""
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload(["illume.train.trainer"])
    return context


def in_processes(count: int, job: Callable[..., None], folder: Path, *args: Any) -> None:
    """Run `job(folder, *args)` in `count` new processes that form a group."""
    meeting_point = folder / "meeting-point"
    meeting_point.unlink(missing_ok=True)
    arguments = (count, str(meeting_point), job, folder, args)
    torch.multiprocessing.start_processes(
        _in_process, arguments, count, start_method=new_processes().get_start_method()
    )


def _in_process(number: int, count: int, meeting_point: str, job: Callable[..., None], folder: Path, args: Any) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{meeting_point}", rank=number, world_size=count)
    try:
        job(folder, *args)
    finally:
        close()


def train_and_write(folder: Path) -> None:
    """A job: train as it is, in micro-batches, and with gradients that stay where they are; write what came of it."""
    _write(folder, "whole", STAGE)
    _write(folder, "accumulated", replace(STAGE, accumulate=3))
    trainer.sum_gradients = lambda parameters: None
    _write(folder, "broken", STAGE)


def _write(folder: Path, name: str, stage: Stage) -> None:
    state, recorder = train(stage)
    if is_main():
        (folder / f"{name}.json").write_text(json.dumps(recorder.losses))
        torch.save(weights(state), folder / f"{name}.pt")


def stop_at_seven(folder: Path) -> None:
    """A job: train as far as step 7, with a checkpoint at 5."""
    with suppress(MemoryError):
        stop = [StopAt(7, politely=False)]
        stage = replace(STAGE, save_every=5)
        fit(TinyObjective(), TinyLoader(stage), stage, stop, folder=folder, device=CPU)


def train_slowly(folder: Path, pause: float) -> None:
    """Train into `folder`, one line of losses.jsonl a step, a checkpoint every third."""
    torch.set_num_threads(1)
    stage = replace(STAGE, save_every=3)
    recorder = Recorder(folder / "losses.jsonl", pause)
    objective = TinyObjective(noise=0.1)
    fit(objective, TinyLoader(stage), stage, [recorder], folder=folder / "checkpoints", device=CPU, config_hash="tiny")
