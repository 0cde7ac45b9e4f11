"""A whole run: what it leaves behind, and that a killed one goes on to the same end (law 6, for the whole recipe)."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fixtures.imagefolder import make_image_folder
from fixtures.tiny_recipe import tiny_own, tiny_pico
from illume.api import load
from illume.core.config import dump_yaml, load_yaml
from illume.core.errors import CheckpointError
from illume.core.tensors import load_tensors
from illume.eval.scorecard import load as load_card
from illume.recipes.recipe import Recipe
from illume.recipes.run import run

pytestmark = pytest.mark.xdist_group("run")  # one run for all of them


def test_a_run_leaves_model_scorecard_and_report(run_folder: Path) -> None:
    card = load_card(run_folder / "scorecard.json")
    assert {"see", "draw", "reconstruct", "edit", "assess"} < set(card)
    assert {"encoder", "tokenizer", "pixel decoder", "stage1", "stage2", "stage3", "score"} <= set(card["seconds"])
    report = (run_folder / "report.html").read_text(encoding="utf-8")
    assert report.count("data:image/png;base64,") > 20
    assert "<svg" in report
    assert load_yaml(run_folder / "config.yaml", Recipe) == load_yaml(run_folder / "model" / "recipe.yaml", Recipe)
    assert (run_folder / "samples" / "stage3-000004.png").is_file()
    assert len((run_folder / "samples" / "prompts.txt").read_text(encoding="utf-8").splitlines()) == 16


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_metrics_have_every_step_once(run_folder: Path) -> None:
    steps = [(row["part"], row["step"]) for row in read_metrics(run_folder)]
    assert len(steps) == len(set(steps))
    assert steps.count(("stage3", 4)) == 1


def test_a_finished_run_is_only_scored_again(run_folder: Path) -> None:
    before = (run_folder / "model" / "model.safetensors").read_bytes()
    lines = (run_folder / "metrics.jsonl").read_text(encoding="utf-8")
    run(load_yaml(run_folder / "config.yaml", Recipe))
    assert (run_folder / "model" / "model.safetensors").read_bytes() == before
    assert (run_folder / "metrics.jsonl").read_text(encoding="utf-8") == lines


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on_to_the_same_model(run_folder: Path, tmp_path: Path, how: signal.Signals) -> None:
    """Stopped in the middle of stage 3 and run again, its weights are bit for bit those of the uninterrupted run."""
    out = tmp_path / "stopped"
    config = tmp_path / "stopped.yaml"
    config.write_text(dump_yaml(tiny_pico(out)), encoding="utf-8")
    code, said = stop_in_stage3(config, out, how)
    assert not (out / "model").exists(), "the run ended before it could be stopped"
    if how == signal.SIGINT:
        assert code == 130
        assert "run the same command again" in said
        assert "Traceback" not in said
    run(load_yaml(config, Recipe))
    ours, theirs = (load_tensors(folder / "model" / "model.safetensors") for folder in (out, run_folder))
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not ours[name].equal(theirs[name])] == []
    steps = [(row["part"], row["step"]) for row in read_metrics(out)]
    assert steps == [(row["part"], row["step"]) for row in read_metrics(run_folder)]


def stop_in_stage3(config: Path, out: Path, how: signal.Signals) -> tuple[int, str]:
    """Train in a process of its own; stop it at the first checkpoint of stage 3; its exit code and what it said."""
    command = [sys.executable, "-m", "illume", "train", str(config)]
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not list((out / "checkpoints" / "stage3").glob("step-*")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(how)
    _, said = process.communicate()
    return process.returncode, said


def test_another_configuration_does_not_go_on(run_folder: Path) -> None:
    """A part trained otherwise is refused, naming what to do; nothing of it is touched."""
    before = (run_folder / "config.yaml").read_text(encoding="utf-8")
    with pytest.raises(CheckpointError, match="encoder"):
        run(tiny_pico(run_folder, "encoder.width=48"))
    (run_folder / "config.yaml").write_text(before, encoding="utf-8")


def test_own_images_go_through_the_whole_recipe(tmp_path: Path) -> None:
    make_image_folder(tmp_path / "images")
    card = run(tiny_own(tmp_path / "own", tmp_path / "images"))
    assert card["reconstruct"]["baseline"]["mean image"] > 0
    assert "chance" in card["draw"]["baseline"]
    picture = load(tmp_path / "own" / "model").draw("a red circle")[0]
    assert picture.size == (32, 32)
