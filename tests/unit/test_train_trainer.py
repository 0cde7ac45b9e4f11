"""The loop: what it reports, what it refuses, and what it leaves behind."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.tiny_training import (
    CPU,
    STAGE,
    Recorder,
    TinyBatch,
    TinyLoader,
    TinyObjective,
    same_weights,
    train,
    weights,
)
from illume.core.checkpoint import latest
from illume.core.errors import CheckpointError, ConfigError, DataError
from illume.train.callback import StepReport
from illume.train.objective import Loss
from illume.train.state import TrainState
from illume.train.trainer import DivergedError, fit


class At(Recorder):
    """Does something after one step."""

    def __init__(self, step: int, action: Callable[[], None]) -> None:
        super().__init__()
        self.step, self.action = step, action
        self.ended = False

    def on_step(self, state: TrainState, report: StepReport) -> None:
        super().on_step(state, report)
        if report.step == self.step:
            self.action()

    def on_end(self, state: TrainState) -> None:
        self.ended = True


def test_the_loss_falls_and_the_report_adds_up() -> None:
    stage = replace(STAGE, steps=60)
    _, recorder = train(stage)
    assert [report.step for report in recorder.reports] == list(range(1, 61))
    assert sum(recorder.losses[-10:]) < 0.7 * sum(recorder.losses[:10])
    assert {report.size for report in recorder.reports} == {12}
    assert recorder.reports[0].lr == pytest.approx(0.01 * stage.schedule.factor(0, 60))
    assert all(report.metrics["largest"] >= report.loss for report in recorder.reports)


def test_the_exported_weights_are_the_averaged_ones() -> None:
    plain, _ = train(replace(STAGE, ema=None))
    averaged, _ = train(STAGE)
    assert not torch.equal(weights(plain)["body.weight"], weights(averaged)["body.weight"])
    assert averaged.ema is not None
    assert torch.equal(weights(averaged)["body.weight"], averaged.ema.averages["body.weight"])
    assert not any(module.training for module in averaged.objective.modules().values())


def test_evaluating_is_undone() -> None:
    state = TrainState.begin(TinyObjective(), STAGE, CPU)
    state.train_mode()
    with state.evaluating():
        assert not torch.is_grad_enabled()
        assert not state.objective.modules()["head"].training
    assert torch.is_grad_enabled()
    assert [name for name, module in state.objective.modules().items() if module.training] == ["body", "head"]


def test_a_finished_stage_is_only_loaded(tmp_path: Path) -> None:
    first, _ = train(folder=tmp_path)
    second, recorder = train(folder=tmp_path, objective=TinyObjective())
    assert recorder.reports == []
    assert second.step == STAGE.steps
    assert same_weights(weights(first), weights(second))


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    train(replace(STAGE, save_every=2, keep=2), folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000012"]


def test_frozen_weights_are_not_in_the_checkpoint(tmp_path: Path) -> None:
    objective = TinyObjective()
    state, _ = train(folder=tmp_path, objective=objective)
    tensors = state.tensors()
    assert set(tensors["parameters"]) == {"body.weight", "body.bias", "head.weight", "head.bias"}
    assert set(tensors["buffers"]) == {"head.seen"}
    meta = json.loads((tmp_path / f"step-{STAGE.steps:08d}" / "meta.json").read_text())
    assert (meta["stage"], meta["step"], meta["steps"]) == ("tiny", 12, 12)


def test_what_an_objective_keeps_itself_is_resumed(tmp_path: Path) -> None:
    class Counting(TinyObjective):
        phase, total = 0, torch.zeros(2)

        def after_step(self, step: int) -> None:
            self.phase, self.total = step, self.total + step

        def state(self) -> dict[str, Any]:
            return {"phase": self.phase, "total": self.total}

        def load_state(self, state: dict[str, Any]) -> None:
            self.phase, self.total = state["phase"], state["total"]

    train(folder=tmp_path, objective=Counting())
    resumed = Counting()
    train(folder=tmp_path, objective=resumed)
    assert resumed.phase == STAGE.steps
    assert resumed.total.tolist() == [78.0, 78.0]


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    train(folder=tmp_path)
    with pytest.raises(CheckpointError, match="tiny"):
        fit(TinyObjective(), TinyLoader(STAGE), STAGE, folder=tmp_path, device=CPU, config_hash="other")


class Bursting(TinyObjective):
    def __init__(self, through_gradient: bool) -> None:
        super().__init__()
        self.through_gradient = through_gradient

    def loss(self, batch: TinyBatch) -> Loss:
        loss = super().loss(batch)
        if not batch.keys[0].startswith("7/"):
            return loss
        burst = (loss.value - loss.value.detach()).sqrt() if self.through_gradient else loss.value * float("nan")
        return Loss(burst)


@pytest.mark.parametrize("through_gradient", [False, True])
def test_a_loss_that_is_not_finite_names_the_step_and_keeps_the_checkpoint(
    tmp_path: Path, through_gradient: bool
) -> None:
    stage, recorder = replace(STAGE, save_every=2), At(0, lambda: None)
    objective = Bursting(through_gradient)
    with pytest.raises(DivergedError, match=r"stage 'tiny', step 7: .* samples of rank 0: 7/0, 7/1"):
        fit(objective, TinyLoader(stage), stage, [recorder], folder=tmp_path, device=CPU)
    assert recorder.ended
    newest = latest(tmp_path)
    assert newest is not None
    assert newest.name == "step-00000006"
    assert all(bool(value.isfinite().all()) for value in objective.parts["body"].state_dict().values())


def test_a_coupled_loss_is_not_accumulated() -> None:
    class Coupled(TinyObjective):
        couples_batch = True

    train(objective=Coupled())
    with pytest.raises(ConfigError, match="cannot be 2 of them"):
        train(replace(STAGE, accumulate=2), objective=Coupled())


def test_a_step_without_a_single_element_is_an_error() -> None:
    class Empty(TinyObjective):
        def size(self, batch: TinyBatch) -> int:
            return 0

    with pytest.raises(DataError, match="step 0"):
        train(objective=Empty())


def test_ctrl_c_finishes_the_step_and_saves(tmp_path: Path) -> None:
    loader, recorder = TinyLoader(STAGE), At(5, lambda: os.kill(os.getpid(), signal.SIGINT))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(TinyObjective(), loader, STAGE, [recorder], folder=tmp_path, device=CPU, config_hash="tiny")
    assert recorder.ended
    newest = latest(tmp_path)
    assert newest is not None
    assert newest.name == "step-00000006"  # asked for during step 5's callbacks, seen at the end of the next step
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_in_the_last_moment_is_not_lost(tmp_path: Path) -> None:
    recorder = At(STAGE.steps, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        fit(TinyObjective(), TinyLoader(STAGE), STAGE, [recorder], folder=tmp_path, device=CPU, config_hash="tiny")
    assert train(folder=tmp_path)[1].reports == []


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(TinyObjective(), TinyLoader(STAGE), STAGE, [At(5, twice)], folder=tmp_path, device=CPU, config_hash="tiny")
    assert latest(tmp_path) is None


def test_bfloat16_keeps_the_weights_in_float32() -> None:
    state, recorder = train(replace(STAGE, dtype="bfloat16"))
    _, reference = train()
    assert {value.dtype for value in weights(state).values()} == {torch.float32}
    assert recorder.losses != reference.losses
    assert recorder.losses == pytest.approx(reference.losses, rel=0.1)
