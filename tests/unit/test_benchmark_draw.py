"""The benchmark of drawing: its figures by hand, what it keeps, and all who draw once in small."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.draw import __main__ as command
from benchmarks.draw.cells import CELLS, SMOKE, Book, Cell, Found, drafted, goals
from benchmarks.draw.drawers import prompts
from benchmarks.shapes import SHAPES

from illume.generate.tier import TIERS

FOUND = Found(
    memory=40.0,
    peers={"fp32": 10.0, "bf16": 20.0},
    tiers={"fp32": 30.0, "bf16": 50.0, "int4-compiled": 90.0},
    drafting={"bf16": 180.0},
    weights={"fp32": 1.2, "bf16": 0.6, "int4-compiled": 0.2},
)


def test_goals_are_of_the_same_dtype_and_of_the_best() -> None:
    assert goals({"small-1": FOUND}) == {
        "small-1: fp32 / peer fp32": (3.0, 3.0),
        "small-1: bf16 / peer bf16": (2.5, 3.0),
        "small-1: best (int4-compiled) / best": (4.5, 4.0),
    }
    large = goals({"large-1": FOUND})
    assert large["large-1: best (int4-compiled) / best"] == (4.5, 3.0)
    assert large["large-1: bf16, share of the limit"] == (pytest.approx(50 * 0.6 / 40), 0.6)
    assert goals({"small-8": FOUND}) == {}


def test_drafts_count_apart_from_the_tiers() -> None:
    assert drafted({"large-1": FOUND, "large-8": FOUND}) == {"large-1: best with drafts / best": (2.0, 2.0)}
    assert FOUND.best() == 90
    assert FOUND.share("bf16", 2) == pytest.approx(50 * 0.6 / 80)


def test_every_cell_names_tiers_that_there_are() -> None:
    for cell in (*CELLS, *SMOKE):
        assert {*cell.tiers, *cell.drafting} <= TIERS.keys()
        assert cell.size in SHAPES


def test_a_run_that_was_stopped_goes_on_and_one_that_ended_does_not(tmp_path: Path) -> None:
    path, (one, other) = tmp_path / "deep" / "draw.json", CELLS[:2]
    book = Book(path)
    book.note(one, FOUND)
    again = Book(path)
    again.resume()
    assert again.found == {one.name: FOUND}
    assert (again.has(one), again.has(other), again.has(replace(one, rounds=1))) == (True, False, False)
    book.write(complete=True)
    fresh = Book(path)
    fresh.resume()
    assert fresh.found == {}


def test_prompts_are_new_each_turn_and_of_one_length() -> None:
    every = [text for turn in (0, 1, 999) for text in prompts(8, turn)]
    assert len(set(every)) == 24
    assert len({len(text) for text in every}) == 1


def test_it_runs_and_ends_in_a_line_of_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "SMOKE", (Cell("tiny", 1, ("fp32", "int8"), ("fp32",), rounds=1),))
    (tmp_path / "parallel.json").write_text('{"best": 2.0}', encoding="utf-8")
    assert command.main(["--smoke", "--out", str(tmp_path / "draw.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = json.loads(lines[-1])
    assert (told["benchmark"], told["smoke"], told["goals_met"]) == ("draw", True, False)
    assert told["drafting"] == {}  # goals are for other sizes
    assert any("fp32, drafting" in line for line in lines)
    assert told["drafting_trained"] == {"best": 2.0}
    assert any("Janus bf16" in line for line in lines)
    assert not (tmp_path / "draw.json").exists()
