"""The benchmark of drafted codes runs and counts, and the page about them says what runs."""

import json
from pathlib import Path

import pytest
from benchmarks import parallel

from fixtures.documents import ROOT, blocks
from fixtures.tiny_model_folder import tiny_illume


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tiny model as the demo."""
    tiny_illume().save(tmp_path / "runs" / "demo" / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_runs_and_ends_in_a_line_of_json(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["parallel", "--smoke"])
    assert parallel.main() == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["benchmark"] == "parallel"
    assert told["smoke"]
    ((rates),) = told["temperatures"].values()
    assert rates["0"]["times"] == 1.0
    assert 1 <= rates["0"]["ids_per_forward"] < 1.1 < rates["4"]["ids_per_forward"] < 5
    assert told["goals_met"] == (told["best"] >= 2.0)


def test_a_whole_run_is_kept_with_its_tier(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parallel, "WINDOWS", (0, 2))
    monkeypatch.setattr("sys.argv", ["parallel", "--images", "1", "--tier", "int8"])
    assert parallel.main() == 0
    kept = json.loads((here / "results" / "speed" / "parallel.json").read_text())
    assert kept == json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (kept["tier"], kept["images"]) == ("int8", 1)


def test_all_codes_and_no_others_are_counted() -> None:
    ordinary, drafting = parallel.measured(tiny_illume(), 1.0, (0, 4), images=4, together=2)
    assert ordinary.ids == drafting.ids == 4 * 16
    assert ordinary.forwards == 4 * 15 > drafting.forwards
    assert ordinary.told(ordinary)["times"] == 1.0


def test_a_model_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["parallel", "nowhere/at/all", "--smoke"])
    assert parallel.main() == 1
    assert "nowhere" in capsys.readouterr().err


def test_the_python_of_the_page_runs(here: Path) -> None:
    codes = blocks((ROOT / "docs" / "parallel.md").read_text(encoding="utf-8"), "python")
    found: dict[str, object] = {}
    for code in codes:
        exec(compile(code, "parallel.md", "exec"), found)
    assert found["model"].parallel == 8  # type: ignore[attr-defined]
    assert len(found["pictures"]) == 2  # type: ignore[arg-type]
