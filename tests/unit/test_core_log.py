"""Metrics survive a torn line and a resume; progress counts what an earlier run did."""

import io
import json
import math
from itertools import chain

import numpy as np
import pytest
import torch
from rich.console import Console

from illume.core.errors import CheckpointError, DataError
from illume.core.log import MetricsFile, Progress


def rows(part, steps):
    return [{"part": part, "step": step, "loss": float(step)} for step in steps]


def filled(path, *row_lists):
    metrics = MetricsFile(path)
    for row in chain(*row_lists):
        metrics.append(row)
    return metrics


def test_core_log_metrics_come_back(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    filled(path, rows("encoder", range(3)))
    assert MetricsFile(path).read() == rows("encoder", range(3))
    assert MetricsFile(tmp_path / "none.jsonl").read() == []


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_core_log_a_torn_last_line_is_passed_over_and_replaced(tmp_path, cut):
    path = tmp_path / "metrics.jsonl"
    filled(path, rows("encoder", range(3)))
    path.write_bytes(path.read_bytes()[:-cut])
    assert MetricsFile(path).read() == rows("encoder", range(2))
    MetricsFile(path).append(rows("encoder", [9])[0])
    assert MetricsFile(path).read() == rows("encoder", [0, 1, 9])


def check_each_step_once(path, truncate):
    metrics = filled(path, rows("encoder", range(4)), rows("stage1", range(6)))
    truncate(metrics)
    for row in rows("stage1", range(4, 6)):
        metrics.append(row)
    assert MetricsFile(path).read() == rows("encoder", range(4)) + rows("stage1", range(6))


def test_core_log_a_resumed_run_has_each_step_once(tmp_path):
    check_each_step_once(tmp_path / "metrics.jsonl", lambda metrics: metrics.truncate_after("stage1", 3))


def test_core_log_each_step_once_catches_a_resume_without_truncation(tmp_path):
    with pytest.raises(AssertionError):
        check_each_step_once(tmp_path / "metrics.jsonl", lambda metrics: None)


def test_core_log_truncation_survives_a_torn_line(tmp_path):
    metrics = filled(tmp_path / "metrics.jsonl", rows("stage1", range(5)))
    with metrics.path.open("ab") as file:
        file.write(b'{"part": "stage1", "st')
    metrics = MetricsFile(metrics.path)
    metrics.truncate_after("stage1", 2)
    assert metrics.read() == rows("stage1", range(3))


@pytest.mark.parametrize("line", ["not json", "[1]", "\udcff"])
def test_core_log_a_broken_line_in_the_middle_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 0}\n' + line.encode("utf-8", "surrogateescape") + b'\n{"step": 1}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl:2"):
        MetricsFile(path).read()


def test_core_log_metrics_are_strict_json(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    metrics.append({"a": torch.tensor(1.5), "b": np.float32(2), "c": math.nan, "d": torch.tensor(math.inf), "e": [1]})
    text = metrics.path.read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"a": 1.5, "b": 2.0, "c": None, "d": None, "e": [1]}


def test_core_log_an_unwritable_file_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl"):
        MetricsFile(tmp_path / "metrics.jsonl").append({"step": 1})


def test_core_log_progress_without_a_terminal_is_a_line_now_and_then():
    now = [0.0]
    out = io.StringIO()
    to = Console(file=out, force_terminal=False, width=40)
    with Progress("encoder", 10, done=4, every=5, to=to, clock=lambda: now[0]) as progress:
        for _ in range(6):
            now[0] += 2
            progress.advance(loss=0.5)
    lines = out.getvalue().splitlines()
    assert lines == [
        "encoder  7/10  0:06 passed, 0:06 left  loss 0.5",
        "encoder  10/10  0:12 passed, 0:00 left  loss 0.5",
    ]


def test_core_log_progress_on_a_terminal_is_a_bar_and_disabled_is_silent():
    out = io.StringIO()
    to = Console(file=out, force_terminal=True, width=120)
    with Progress("encoder", 2, to=to) as progress:
        progress.advance(2, loss=0.25)
    assert "2/2" in out.getvalue()
    assert "loss 0.25" in out.getvalue()
    silent = io.StringIO()
    with Progress("encoder", 1, enabled=False, to=Console(file=silent)) as progress:
        progress.advance()
    assert silent.getvalue() == ""
