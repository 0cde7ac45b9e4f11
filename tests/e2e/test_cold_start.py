"""A cold start: a drawing imports nothing heavy that it does not need, and the benchmark tells what it takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.cold_start import Seconds, figures, meets

pytestmark = pytest.mark.xdist_group("run")
ROOT = Path(__file__).parents[2]
HEAVY = ("torch._dynamo", "torch.distributed.checkpoint", "sympy", "transformers", "diffusers", "jsonschema", "rich")
DRAW = "import illume; illume.load({!r}).draw('a red circle')"


def heavy(code: str) -> list[str]:
    """What of `HEAVY` a fresh process has imported when it has run this."""
    asked = f"{code}\nimport sys, json\nprint(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_drawing_imports_nothing_heavy(run_folder: Path) -> None:
    assert heavy(DRAW.format(str(run_folder / "model"))) == []


@pytest.mark.parametrize("name", ["jsonschema", "torch.distributed.checkpoint"])
def test_the_check_catches_an_import(name: str) -> None:
    assert name in heavy(f"import {name}")


def test_the_benchmark_ends_in_its_line_of_json(run_folder: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.cold_start", str(run_folder / "model"), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["benchmark"], told["smoke"], type(told["goals_met"])) == ("cold_start", True, bool)
    assert set(told["clock"]) == set(told["processors"]) == {"total", "torch", "ours"}


def test_the_benchmark_ends_as_the_drawing_does(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.cold_start", str(tmp_path), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, "no config.json" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def test_ours_is_what_is_left_and_goals_are_of_the_clock() -> None:
    found = figures([Seconds(1, 1), Seconds(9, 2), Seconds(2, 1)], [Seconds(3, 2), Seconds(20, 9), Seconds(3.5, 2)])
    assert found["clock"] == {"total": 3.5, "torch": 2, "ours": 1.5}
    assert found["processors"] == {"total": 2, "torch": 1, "ours": 1}
    assert meets(found)
    assert not meets(found | {"clock": {"total": 3.5, "torch": 1.9, "ours": 1.6}})
    assert not meets(found | {"clock": {"total": 4.1, "torch": 3, "ours": 1.1}})
