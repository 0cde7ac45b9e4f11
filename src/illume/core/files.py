"""Files and folders written whole or not at all; it knows nothing of torch, nor of what the bytes mean.

Everything is written to a hidden sibling, flushed to the disk and renamed: a reader, or a run killed at any moment,
sees the old state or the new one. One process writes a path at a time; what another left behind is stale.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from illume.core.errors import CheckpointError, IllumeError

_TEMP, _ASIDE = ".tmp-", ".old-"
_live: set[str] = set()  # the temporary names this process is writing now: never stale, whichever thread cleans


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file atomically. CheckpointError if it cannot be; the old file is then as it was."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON atomically; ValueError for numbers that are not finite, which JSON does not have."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file atomically. CheckpointError if it cannot be; the old file is then as it was."""
    with atomic_file(path) as temp:
        temp.write_bytes(data)


def parse_json(text: str) -> Any:
    """A JSON value. ValueError where it is none, has an object that names a key twice, or is nested too deeply."""
    try:
        return json.loads(text, object_pairs_hook=once)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object of its pairs. ValueError where a key comes twice: nobody knows which value was meant."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = sorted({key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1})
        raise ValueError(f"an object names a key twice: {', '.join(twice)[:80]}")
    return found


def read_json(path: str | Path) -> dict[str, Any]:
    """A JSON object from a file. CheckpointError if it is missing, damaged, or another kind of value."""
    try:
        value = parse_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object")
    return value


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Write the file this yields; on leaving it takes the place of `path`. Errors are those of `atomic_folder`."""
    path = Path(path)
    with _saving(path) as temp:
        yield temp
        _flush_file(temp)
        temp.replace(path)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Fill the empty folder this yields; on leaving it takes the place of `path`, the old folder with it.

    On any error `path` is as it was, and the new folder is gone. An OSError inside, such as a full disk, becomes a
    CheckpointError.
    """
    path = Path(path)
    with _saving(path) as temp:
        temp.mkdir()
        yield temp
        _flush_tree(temp)
        _swap_in(temp, path)


def replaceable(
    path: str | Path, what: str, known: Sequence[str], mark: str, refusal: type[IllumeError] = CheckpointError
) -> Path:
    """The folder that `what` ("a session") may be written to: none yet, an empty one, or one that holds nothing else.

    `known` are patterns of the names inside that are replaced, `mark` is one that must be there. Anything else, and the
    folder one is in, is refused: a folder is swapped as a whole, and what a person keeps there would be gone.
    """
    try:
        folder = Path(path).resolve()
        if not folder.name or Path.cwd().is_relative_to(folder):
            raise refusal(f"{path}: {what} cannot take the place of the folder you are in, or of one around it")
        if not folder.exists():
            return folder
        if not folder.is_dir():
            raise refusal(f"{path}: there is a file of this name; save {what} as a folder of another name")
        names = [entry.relative_to(folder).as_posix() for entry in folder.rglob("*")]
    except (OSError, ValueError) as error:
        raise refusal(f"{path}: {what} cannot be saved there: {error}") from error
    foreign = [name for name in names if not any(fnmatchcase(name, pattern) for pattern in known)]
    if names and (foreign or mark not in names):
        found = ", ".join(sorted(foreign or names)[:3])
        raise refusal(f"{path}: holds {found}, which is no part of {what}: nothing is replaced; choose another name")
    return folder


def discard(path: str | Path) -> None:
    """Remove a folder so that, killed in the middle, no half of it is left under its name."""
    path = Path(path)
    with _saving(path) as temp:
        path.rename(temp)


def clean_stale(path: str | Path) -> None:
    """Undo what a killed run left beside `path`: bring back a folder moved aside, remove temporary siblings."""
    path = Path(path)
    for aside in _siblings(path, _ASIDE):
        if path.exists():
            _remove(aside)  # the new folder had arrived
        else:
            aside.rename(path)
    for temp in _siblings(path, _TEMP):
        if temp.name not in _live:
            _remove(temp)


@contextmanager
def _saving(path: Path) -> Iterator[Path]:
    """A fresh temporary name beside `path`, of which nothing is left afterwards; OSError becomes CheckpointError."""
    temp = path.with_name(f".{path.name}{_TEMP}{uuid.uuid4().hex[:12]}")
    _live.add(temp.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clean_stale(path)
        yield temp
    except CheckpointError as error:  # of something saved inside, where it will have stood
        raise CheckpointError(str(error).replace(str(temp), str(path))) from error
    except OSError as error:
        problem = str(error).replace(str(temp), str(path))
        advice = "What stood there before is unchanged; free space or mend the path, then save again."
        raise CheckpointError(f"{path}: could not be written: {problem}. {advice}") from error
    finally:
        _remove(temp)
        _live.discard(temp.name)
    try:
        _flush_folder(path.parent)
    except OSError as error:
        raise CheckpointError(f"{path}: was written, but the disk does not confirm its name: {error}") from error


def _swap_in(temp: Path, path: Path) -> None:
    if not path.exists():
        temp.rename(path)
        return
    aside = path.with_name(f".{path.name}{_ASIDE}{uuid.uuid4().hex[:12]}")
    path.rename(aside)
    try:
        temp.rename(path)
    except BaseException:  # Ctrl-C between the two renames too
        if not path.exists():
            aside.rename(path)
        raise
    _remove(aside)


def _siblings(path: Path, mark: str) -> list[Path]:
    prefix = f".{path.name}{mark}"
    return sorted(entry for entry in path.parent.iterdir() if entry.name.startswith(prefix))


def _remove(path: Path) -> None:
    """Remove a file or folder if it is there; what cannot be removed is left to the next save."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _flush_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            _flush_file(Path(parent, name))
        _flush_folder(Path(parent))


def _flush_file(path: Path) -> None:
    with path.open("rb+" if os.name == "nt" else "rb") as file:  # Windows flushes only what is open for writing
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make renames inside it last. Windows cannot open a folder, and has no need to."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
