"""Files and folders are whole or untouched: killed at any point, on a full disk, on any error."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from fixtures.full_disk import file_size_limit, no_space_in
from illume.core import files
from illume.core.errors import CheckpointError
from illume.core.files import atomic_folder, clean_stale, discard, write_bytes, write_json, write_text


def write_folder(path, text):
    with atomic_folder(path) as temp:
        (temp / "inner").mkdir()
        write_text(temp / "inner" / "a.txt", text)
        (temp / "b.txt").write_text(text)


def read_folder(path):
    return {str(f.relative_to(path)): f.read_text() for f in sorted(path.rglob("*")) if f.is_file()}


def whole(text):
    return {"b.txt": text, "inner/a.txt": text}


def test_core_files_write_and_replace(tmp_path):
    write_text(tmp_path / "new" / "a.txt", "ä1")
    write_text(tmp_path / "new" / "a.txt", "ä2")
    write_json(tmp_path / "new" / "a.json", {"ä": [1, None]})
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "ä2"
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["a.json", "a.txt"]
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "nan.json", float("nan"))
    write_folder(tmp_path / "model", "1")
    write_folder(tmp_path / "model", "2")
    assert read_folder(tmp_path / "model") == whole("2")
    discard(tmp_path / "model")
    assert [p.name for p in tmp_path.iterdir()] == ["new"]


CHILD = """
import sys, time
from pathlib import Path
import illume.core.files as files

def stop_at(owner, name, count):
    real, calls = getattr(owner, name), []
    def stopping(*args):
        calls.append(args)
        if len(calls) == count:
            print("half", flush=True)
            time.sleep(60)
        return real(*args)
    setattr(owner, name, stopping)

path = Path(sys.argv[1])
{act}
print("through", flush=True)
"""
FOLDER = """
with files.atomic_folder(path) as temp:
    (temp / "inner").mkdir()
    files.write_text(temp / "inner" / "a.txt", "new")
    (temp / "b.txt").write_text("new")
"""


def kill_while(act, path):
    """Run `act` in a process of its own and kill it where it stops."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(act=textwrap.dedent(act)), str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "half\n"
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()


@pytest.mark.parametrize("stop", ["stop_at(files, '_flush_file', 1)", "stop_at(Path, 'replace', 1)"])
def test_core_files_killed_while_writing_a_file(tmp_path, stop):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    kill_while(f"{stop}\nfiles.write_text(path, 'new')", path)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2  # the stale one
    write_text(path, "newer")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "newer"


def check_killed_folder(path, stop, clean):
    write_folder(path, "old")
    kill_while(stop + FOLDER, path)
    clean(path)
    assert read_folder(path) in (whole("old"), whole("new"))
    assert [p.name for p in path.parent.iterdir()] == [path.name]


# The second renaming stops between the old folder's leaving and the new one's arrival.
STOPS = [
    "stop_at(files, '_flush_file', 2)",
    "stop_at(files, '_flush_tree', 1)",
    "stop_at(Path, 'rename', 1)",
    "stop_at(Path, 'rename', 2)",
]


@pytest.mark.parametrize("stop", STOPS)
def test_core_files_killed_while_writing_a_folder(tmp_path, stop):
    check_killed_folder(tmp_path / "model", stop, clean_stale)


def test_core_files_killed_folder_catches_a_cleaner_that_forgets_the_old_one(tmp_path):
    def forgetful(path):
        for temp in files._siblings(path, files._TEMP):
            files._remove(temp)

    with pytest.raises(AssertionError):
        check_killed_folder(tmp_path / "model", STOPS[3], forgetful)


def test_core_files_next_save_cleans_up_by_itself(tmp_path):
    check_killed_folder(tmp_path / "model", STOPS[3], lambda path: write_folder(path, "new"))


@pytest.mark.parametrize("broken", ["_flush_file", "_flush_tree"])
def test_core_files_full_disk_leaves_the_old_folder(tmp_path, broken):
    write_folder(tmp_path / "model", "old")
    with no_space_in(broken), pytest.raises(CheckpointError, match=r"could not be written: .*No space") as caught:
        write_folder(tmp_path / "model", "new")
    assert str(caught.value).startswith(str(tmp_path / "model"))  # never a temporary name
    assert read_folder(tmp_path / "model") == whole("old")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_core_files_full_disk_leaves_the_old_file(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with no_space_in("_flush_file"), pytest.raises(CheckpointError, match=r"/a\.txt: could not be written: .*No space"):
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_core_files_a_file_for_a_parent_is_named(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(CheckpointError, match="could not be written"):
        write_text(tmp_path / "a" / "b.txt", "new")


def test_core_files_an_unconfirmed_name_is_not_called_unwritten(tmp_path):
    with no_space_in("_flush_folder"), pytest.raises(CheckpointError, match="was written, but"):
        write_text(tmp_path / "a.txt", "new")


def test_core_files_disk_filling_up_inside_a_file(tmp_path):
    write_bytes(tmp_path / "a.bin", b"old")
    with file_size_limit(4096), pytest.raises(CheckpointError, match=r"a\.bin: could not be written"):
        write_bytes(tmp_path / "a.bin", bytes(100_000))
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("no")])
def test_core_files_any_error_inside_leaves_the_old_folder(tmp_path, error):
    def broken_off():
        with atomic_folder(tmp_path / "model") as temp:
            (temp / "b.txt").write_text("half")
            raise error

    write_folder(tmp_path / "model", "old")
    with pytest.raises(type(error)):
        broken_off()
    assert read_folder(tmp_path / "model") == whole("old")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_core_files_ctrl_c_between_the_renames_brings_the_old_folder_back(tmp_path, monkeypatch):
    write_folder(tmp_path / "model", "old")
    real, calls = type(tmp_path).rename, []

    def interrupted(self, target):
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(type(tmp_path), "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "model", "new")
    assert read_folder(tmp_path / "model") == whole("old")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
