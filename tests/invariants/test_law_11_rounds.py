"""Law 11: a self-enhancement round killed anywhere and run again ends with the same files, byte for byte."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures import rounds
from fixtures.rounds import (
    PAINTING,
    ByContent,
    paired_round,
    prompts_file,
    shared_round,
    small_illume,
    tree,
    whole_round,
)
from fixtures.tiny_training import in_processes
from illume.core.errors import DataError
from illume.data.json_log import JsonLog
from illume.data.loader import Share
from illume.enhance import paint as paint_module
from illume.enhance.assess import SHARDS, assess, judge_share
from illume.enhance.compose import compose
from illume.enhance.paint import draw_missing, drawer_of, paint, plan
from illume.enhance.propose import from_file, propose, read_prompts
from illume.enhance.round import FILES, RoundFolder


class KilledError(BaseException):
    """As if the process had ended there."""


class Fuse:
    """Burns at the n-th thing that reaches the disk: before a file is renamed into place, or within a line."""

    def __init__(self, left: int, patch: pytest.MonkeyPatch) -> None:
        self.left = left
        replace, append = Path.replace, JsonLog.append

        def renamed(path: Path, target: Path) -> Path:
            self.burn()
            return replace(path, target)

        def appended(log: JsonLog, value: dict[str, object]) -> None:
            if self.left == 0:
                log._file.write(b'{"key": "half of a li')
            self.burn()
            append(log, value)

        patch.setattr(Path, "replace", renamed)
        patch.setattr(JsonLog, "append", appended)

    def burn(self) -> None:
        if self.left == 0:
            raise KilledError
        self.left -= 1


def check_killed_anywhere(folder: Path, run: Callable[[Path], object]) -> int:
    """Killed at every write in turn and run again, the files are those of a run left alone; how many writes."""
    run(folder / "whole")
    expected = tree(folder / "whole")
    writes = 0
    while True:
        path = folder / f"killed at {writes}"
        with pytest.MonkeyPatch.context() as patch:
            Fuse(writes, patch)
            try:
                run(path)
            except KilledError:
                pass
            else:
                break
        run(path)
        assert tree(path) == expected, f"killed at write {writes}"
        writes += 1
    assert tree(path) == expected
    return writes


def test_a_round_killed_at_any_write_ends_with_the_same_files(tmp_path: Path) -> None:
    asked = prompts_file(tmp_path)
    writes = check_killed_anywhere(tmp_path, lambda path: whole_round(path, asked))
    assert writes == 1 + 3 + 2 * len(rounds.PROMPTS) * 2 + 4  # truth, files, pictures and verdicts, notes


def test_pairs_and_redrawings_killed_at_any_write_end_with_the_same_files(tmp_path: Path) -> None:
    judged = whole_round(tmp_path / "judged", prompts_file(tmp_path, truths=range(4)))
    writes = check_killed_anywhere(tmp_path, lambda path: paired_round(path, judged.path))
    assert writes == 2 + 2  # files and notes


def test_law_11_catches_drawings_that_depend_on_what_was_drawn_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_after_the_other(path: Path, illume: object, painting: object, planned: list, *_: object) -> None:
        for number, one in enumerate(p for p in planned if not (path / p.image).is_file()):
            paint_module.save_picture(rounds.picture(number), path / one.image)

    monkeypatch.setattr(paint_module, "draw_missing", one_after_the_other)
    asked = prompts_file(tmp_path)
    with pytest.raises(AssertionError, match="killed at write"):
        check_killed_anywhere(tmp_path, lambda path: whole_round(path, asked))


def test_law_11_catches_files_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_place(picture: object, path: Path, *_: object) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
        path.with_suffix(".tmp").write_bytes(b"")
        path.with_suffix(".tmp").replace(path)
        picture.save(path, "PNG")  # type: ignore[attr-defined]

    monkeypatch.setattr(paint_module, "save_picture", in_place)
    asked = prompts_file(tmp_path)
    with pytest.raises(DataError, match="an empty file"):
        check_killed_anywhere(tmp_path, lambda path: whole_round(path, asked))


PROGRAM = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from fixtures import rounds
from illume.core import files
slow = files._flush_file
def flush(path):
    time.sleep(0.02)
    slow(path)
files._flush_file = flush
rounds.whole_round(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("until", ["prompts.jsonl", "images", "drawings.jsonl", "verdicts.jsonl"])
def test_a_round_killed_by_force_ends_with_the_same_files(tmp_path: Path, until: str) -> None:
    asked, tests = prompts_file(tmp_path), Path(rounds.__file__).parents[1]
    expected = tree(whole_round(tmp_path / "whole", asked).path)
    path = tmp_path / "killed"
    command = [sys.executable, "-c", PROGRAM, str(path), str(asked), str(tests)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        while not (path / until).exists() and process.poll() is None:
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
    whole_round(path, asked)
    assert tree(path) == expected


def test_shares_of_several_processes_make_the_files_of_one(tmp_path: Path) -> None:
    asked = prompts_file(tmp_path)
    expected = tree(whole_round(tmp_path / "whole", asked).path)
    folder = RoundFolder(tmp_path / "shared")
    propose(folder, from_file(asked))
    illume = small_illume()
    by = {"drawer": drawer_of(illume), "settings": paint_module.settings_of(illume, PAINTING)}
    planned = plan(read_prompts(folder.prompts), PAINTING, paint_module.plain_hash(by))
    for rank in (2, 0, 1):
        draw_missing(folder.path, illume, PAINTING, planned, Share(rank, 3))
    pictures = {name for name in expected if name.startswith("images/")}
    assert {name for name in tree(folder.path) if name.startswith("images/")} == pictures
    paint(folder, illume, PAINTING)
    judge = ByContent()
    for rank in (1, 0):
        judge_share(folder, judge, Share(rank, 2))
    judge_share(folder, judge, Share(2, 3))  # another number of processes, after a kill
    assert (folder.path / SHARDS).is_dir()
    assert max(judge.asked.values()) == 1
    assess(folder, judge)
    compose(folder)
    assert tree(folder.path) == expected


def test_two_processes_make_the_files_of_one(tmp_path: Path) -> None:
    asked = prompts_file(tmp_path)
    expected = tree(whole_round(tmp_path / "whole", asked).path)
    in_processes(2, shared_round, tmp_path, tmp_path / "shared", asked)
    assert tree(tmp_path / "shared") == expected
    asked_by_the_first = json.loads((tmp_path / "asked.json").read_text())["asked"]
    assert 0 < asked_by_the_first < len(rounds.PROMPTS) * PAINTING.per_prompt


def test_what_is_finished_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, judge = prompts_file(tmp_path), ByContent()
    whole_round(tmp_path / "round", asked, judge)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "round").rglob("*")}
    monkeypatch.setattr(paint_module, "draw_missing", None)
    whole_round(tmp_path / "round", asked, judge)
    assert max(judge.asked.values()) == 1
    assert {p for p in before if p.stat().st_mtime_ns != before[p]} <= {tmp_path / "round" / FILES["assess"]}
