"""The table, progress, metrics and samples say what the loop did, and each from where it went on."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from fixtures.tiny_training import CPU, STAGE, StopAt, TinyLoader, TinyObjective, weights
from illume.core.log import MetricsFile
from illume.train import callbacks as callbacks_module
from illume.train.callback import Callback
from illume.train.callbacks import MemoryCallback, MetricsCallback, ProgressCallback, SampleCallback, TableCallback
from illume.train.state import TrainState
from illume.train.trainer import fit


def run(*callbacks: Callback, folder: Path | None = None) -> TrainState:
    stage = replace(STAGE, save_every=5)
    return fit(TinyObjective(), TinyLoader(stage), stage, callbacks, folder=folder, device=CPU)


def test_the_stock_callbacks_follow_the_protocol(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    stock = (TableCallback(), ProgressCallback(), MetricsCallback(file, "a"), SampleCallback(2, lambda state: None))
    stock = (*stock, MemoryCallback())
    assert all(isinstance(callback, Callback) for callback in stock)


def test_the_table_shows_every_rule_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    page = io.StringIO()
    monkeypatch.setattr(callbacks_module, "console", Console(file=page, width=120))
    run(TableCallback())
    shown = page.getvalue()
    for rule, count in zip(STAGE.rules, ("16", "9", "16"), strict=True):
        assert any(rule.pattern in line and f" {count} " in line for line in shown.splitlines())
    assert "frozen" in shown


def test_metrics_are_one_row_a_step(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    run(MetricsCallback(file, "first"))
    run(MetricsCallback(file, "second"))
    rows = file.read()
    assert [(row["part"], row["step"]) for row in rows] == [
        (part, step) for part in ("first", "second") for step in range(1, STAGE.steps + 1)
    ]
    assert rows[0].keys() == {"part", "step", "loss", "lr", "seconds", "size", "gradient_norm", "largest"}


def test_progress_counts_a_resumed_run_from_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[int, int]] = []

    class Spy(callbacks_module.Progress):
        def advance(self, units: int = 1, **figures: float) -> None:
            super().advance(units, **figures)
            said.append((self.done, self.total))

    monkeypatch.setattr(callbacks_module, "Progress", Spy)
    with pytest.raises(MemoryError):
        run(StopAt(8, politely=False), folder=tmp_path)
    run(ProgressCallback(), folder=tmp_path)
    assert said == [(step, STAGE.steps) for step in range(6, STAGE.steps + 1)]


def test_samples_are_drawn_with_the_exported_weights() -> None:
    seen = []

    def sample(state: TrainState) -> None:
        assert state.ema is not None
        assert not torch.is_grad_enabled()
        assert not any(module.training for module in state.objective.modules().values())
        seen.append((state.step, weights(state)["body.weight"].clone()))

    state = run(SampleCallback(4, sample))
    assert [step for step, _ in seen] == [4, 8, 12]
    assert torch.equal(seen[-1][1], weights(state)["body.weight"])  # at the end these are the ones that stay
    run(SampleCallback(0, sample))
    assert len(seen) == 3


def test_memory_is_given_back_every_few_steps_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(callbacks_module, "give_back_freed_memory", lambda: given.append(1))
    run(MemoryCallback(every=5))
    assert len(given) == STAGE.steps // 5 + 1
