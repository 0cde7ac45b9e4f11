"""Law 6: resumed equals uninterrupted, loss by loss, data order included, also at another world size."""

import json
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

from fixtures.tiny_training import (
    CPU,
    STAGE,
    Recorder,
    StopAt,
    TinyLoader,
    TinyObjective,
    in_processes,
    new_processes,
    same_weights,
    stop_at_seven,
    train_slowly,
    weights,
)
from illume.core.checkpoint import latest
from illume.core.log import MetricsFile
from illume.train import state as state_module
from illume.train import trainer
from illume.train.callback import Callback
from illume.train.callbacks import MetricsCallback
from illume.train.trainer import fit

Result = tuple[dict[int, float], dict[str, Tensor]]  # the loss of each step, and the last weights


def run(folder: Path | None, stop: int | None = None, politely: bool = True, save_every: int = 5) -> Result:
    """Train, optionally stopped after a step and gone on with in a new state; the steps done twice must agree."""
    stage = replace(STAGE, save_every=save_every)
    losses: dict[int, float] = {}
    recorders = [Recorder()] if stop is None else [StopAt(stop, politely), Recorder()]
    for recorder in recorders:
        objective = TinyObjective(noise=0.1)
        with suppress(KeyboardInterrupt, MemoryError):
            state = fit(objective, TinyLoader(stage), stage, [recorder], folder=folder, device=CPU, config_hash="tiny")
        for report in recorder.reports:
            assert losses.setdefault(report.step, report.loss) == report.loss, f"step {report.step} came out different"
    return losses, weights(state)


def check_same(resumed: Result, uninterrupted: Result) -> None:
    assert resumed[0] == uninterrupted[0]
    assert list(uninterrupted[0]) == list(range(1, STAGE.steps + 1))
    assert same_weights(resumed[1], uninterrupted[1])


@pytest.mark.parametrize("politely", [True, False])
@pytest.mark.parametrize("stop", [1, 4, 5, 7, 11])
def test_stopped_anywhere_and_gone_on_with(tmp_path: Path, stop: int, politely: bool) -> None:
    check_same(run(tmp_path, stop, politely), run(None))


# -- what the check catches -----------------------------------------------------------------------------------------


def forget_optimizers(patch: pytest.MonkeyPatch) -> None:
    original = state_module.optimizer_tensors
    copies = lambda optimizers: {n: {k: t.clone() for k, t in s.items()} for n, s in original(optimizers).items()}  # noqa: E731
    patch.setattr(state_module, "optimizer_tensors", copies)  # saved, but loaded into thin air


def forget_average(patch: pytest.MonkeyPatch) -> None:
    original = state_module.EMA.tensors
    patch.setattr(state_module.EMA, "tensors", lambda self: {n: t.clone() for n, t in original(self).items()})


def forget_buffers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(state_module, "persistent_buffers", lambda objective: {})


def keep_own_order(patch: pytest.MonkeyPatch) -> None:
    """A loader that counts for itself instead of being asked for a step."""
    original = TinyLoader.batches
    patch.setattr(TinyLoader, "batches", lambda self, step: original(self, len(self.asked)))


def draw_freely(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(trainer, "seed_of", lambda *keys: time.perf_counter_ns())


@pytest.mark.parametrize(
    "fault", [forget_optimizers, forget_average, forget_buffers, keep_own_order, draw_freely], ids=lambda f: f.__name__
)
def test_the_check_catches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[pytest.MonkeyPatch], None]
) -> None:
    reference = run(None)
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        check_same(run(tmp_path, stop=7), reference)


# -- killed from outside --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGINT], ids=lambda s: s.name)
def test_a_killed_process_goes_on_where_it_was(tmp_path: Path, with_signal: signal.Signals) -> None:
    file = tmp_path / "losses.jsonl"
    process = new_processes().Process(target=train_slowly, args=(tmp_path, 1.0))  # type: ignore[attr-defined]
    process.start()
    try:
        while process.is_alive() and len(_lines(file)) < 5:
            time.sleep(0.01)
        os.kill(process.pid, with_signal)
        process.join(timeout=60)
    finally:
        process.kill()
    assert process.exitcode != 0
    assert latest(tmp_path / "checkpoints") is not None
    assert len(_lines(file)) < STAGE.steps
    train_slowly(tmp_path, pause=0.0)
    assert _agreeing(_lines(file)) == run(None)[0]


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines(keepends=True) if file.exists() else []


def _agreeing(lines: list[str]) -> dict[int, float]:
    """The loss of each step; a step done twice must have had it twice."""
    losses = defaultdict(set)
    for line in lines:
        row = json.loads(line)
        losses[row["step"]].add(row["loss"])
    return {step: found.pop() for step, found in losses.items() if len(found) == 1}


def test_metrics_have_each_step_once(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    stage = replace(STAGE, save_every=5)
    for stopper in (StopAt(8, politely=False), Recorder()):
        callbacks: list[Callback] = [MetricsCallback(file, "tiny"), stopper]
        with suppress(MemoryError):
            fit(TinyObjective(), TinyLoader(stage), stage, callbacks, folder=tmp_path / "checkpoints", device=CPU)
    assert [row["step"] for row in file.read()] == list(range(1, STAGE.steps + 1))


# -- another world size ---------------------------------------------------------------------------------------------


def test_begun_on_two_processes_and_finished_on_one(tmp_path: Path) -> None:
    in_processes(2, stop_at_seven, tmp_path)
    stage, loader, resumed, alone = replace(STAGE, save_every=5), TinyLoader(STAGE), Recorder(), Recorder()
    fit(TinyObjective(), loader, stage, [resumed], folder=tmp_path, device=CPU)
    fit(TinyObjective(), TinyLoader(STAGE), stage, [alone], folder=None, device=CPU)
    assert loader.asked == list(range(5, STAGE.steps))
    assert resumed.losses == pytest.approx(alone.losses[5:], rel=1e-4)
