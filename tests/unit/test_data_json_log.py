"""JSON logs: what was appended is there, a torn end is passed over and cut off, nothing else is lost in silence."""

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.full_disk import file_size_limit
from illume.core.errors import CheckpointError, DataError
from illume.data import json_log
from illume.data.json_log import JsonLog, read_log

VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v, max_size=3))
OBJECTS = st.dictionaries(st.text(max_size=4), VALUES, max_size=4)


def values(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_log(path)]


@given(st.lists(OBJECTS, max_size=5))
def test_what_is_appended_is_there(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    path = tmp_path_factory.mktemp("log") / "deep" / "log.jsonl"
    for row in rows:  # opened anew each time, as by one process after the other
        with JsonLog(path) as log:
            log.append(row)
    assert (values(path) if rows else []) == rows


def check_torn_end_is_cut(path: Path) -> None:
    """Whatever a killed process left of a line, the lines before it are there and the next one is too."""
    rows = [{"a": 'é"\\ \u2028', "b": [1.5, True, None, {"c": -2e-9}]}, {"z": "😀"}]
    with JsonLog(path) as log:
        for row in rows:
            log.append(row)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(first, len(whole)):
        path.write_bytes(whole[:end])
        kept = 2 if end == len(whole) - 1 else 1  # only the end of the line is missing: it is whole
        assert values(path) == rows[:kept]
        with JsonLog(path) as log:
            assert [row for _, row in log.rows] == rows[:kept]
            log.append({"next": end})
        assert values(path) == [*rows[:kept], {"next": end}]


def test_a_torn_end_is_cut_off(tmp_path: Path) -> None:
    check_torn_end_is_cut(tmp_path / "log.jsonl")


def test_the_check_catches_a_log_that_writes_behind_a_torn_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_log, "_half", lambda data: b"")
    with pytest.raises(DataError):
        check_torn_end_is_cut(tmp_path / "log.jsonl")


@pytest.mark.parametrize("line", [b"{'a': 1}", b"[1]", b"{}}", b'{"a": 1, "a": 2}', b"", b"\xff"])
def test_a_line_edited_into_nonsense_is_an_error(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "log.jsonl"
    before = b'{"a": 1}\n' + line + b"\n" + b'{"b": 1}\n'
    path.write_bytes(before)
    for use in (read_log, JsonLog):
        with pytest.raises(DataError, match=r"log\.jsonl:2"):
            use(path)
    assert path.read_bytes() == before


def test_half_a_surrogate_pair_comes_back(tmp_path: Path) -> None:
    with JsonLog(tmp_path / "log.jsonl") as log:
        log.append({"said": "\ud800"})
    assert values(tmp_path / "log.jsonl") == [{"said": "\ud800"}]


def test_a_full_disk_leaves_the_lines_before(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with JsonLog(path) as log:
        log.append({"a": 1})
        with file_size_limit(20), pytest.raises(CheckpointError, match="could not be written"):
            log.append({"long": "x" * 50})
        log.append({"b": 2})
    assert values(path) == [{"a": 1}, {"b": 2}]


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with JsonLog(path), pytest.raises(CheckpointError, match="another process"):
        JsonLog(path)
    JsonLog(path).close()


def _append_for_ever(path: Path, started: Any) -> None:
    with JsonLog(path) as log:
        for number in range(10**9):
            log.append({"number": number, "filling": "x" * 3000})
            started.set()


def test_a_killed_writer_leaves_whole_lines(tmp_path: Path) -> None:
    path, context = tmp_path / "log.jsonl", multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(target=_append_for_ever, args=(path, started))
    process.start()
    started.wait()
    process.kill()
    process.join()
    with JsonLog(path) as log:
        assert [row["number"] for _, row in log.rows] == list(range(len(log.rows)))
        log.append({"number": len(log.rows)})


def test_a_file_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot be written"):
        JsonLog(tmp_path / "file" / "log.jsonl")
    with pytest.raises(DataError, match="cannot be read"):
        read_log(tmp_path / "none.jsonl")


def test_numbers_that_json_does_not_have_are_refused(tmp_path: Path) -> None:
    with JsonLog(tmp_path / "log.jsonl") as log, pytest.raises(ValueError, match="JSON"):
        log.append({"a": float("nan")})
    assert json.loads((tmp_path / "log.jsonl").read_text() or "0") == 0
