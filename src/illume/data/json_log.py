"""JSON lines added one by one, each of them lasting once it is written; what they mean is not known.

A process killed while it writes leaves half a line at the end at most. A reader passes over that; who opens the file
to go on cuts it off. Anything else that cannot be read is an error: it was edited, and is not to be lost in silence.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeVar

from illume.core.errors import CheckpointError, DataError
from illume.data.json_text import fields, parse_line

T = TypeVar("T")
Row = tuple[str, dict[str, Any]]  # "file:line" and the object that stands there


class JsonLog:
    """A file of JSON objects, one a line, open to be added to by this process alone; `rows` is what it held.

    `lasting`: every line is on the disk before `append` returns (for what was paid for); else when the file is closed.
    DataError for a line that is no JSON object, CheckpointError where the file cannot be written or another process
    writes it.
    """

    def __init__(self, path: Path, *, lasting: bool = True) -> None:
        self.path = path
        self._lasting = lasting
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("a+b", buffering=0)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be written: {error.strerror or error}") from error
        try:
            _claim(self._file, path)
            self.rows = self._read()
        except BaseException:
            self._file.close()
            raise

    def append(self, value: Mapping[str, Any]) -> None:
        """Write one object as one line. CheckpointError where it cannot be; the file is then as it was."""
        line = _encoded(value)
        before = self._file.seek(0, os.SEEK_END)
        try:
            written = self._file.write(line)
            if written < len(line):  # a disk that fills up takes the beginning of a line; the next call says why
                self._file.write(line[written:])
            if self._lasting:
                os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(before)
            raise CheckpointError(f"{self.path}: could not be written: {error}. Free space, then go on.") from error

    def close(self) -> None:
        """Let go of the file, all of it on the disk."""
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()

    def __enter__(self) -> "JsonLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> list[Row]:
        self._file.seek(0)
        data = self._file.read()
        whole = len(data) - len(_half(data))
        rows = list(_rows(data[:whole], self.path))
        if whole < len(data):
            self._file.truncate(whole)
        elif data and not data.endswith(b"\n"):  # an editor's last line: whole, but not ended
            self._file.write(b"\n")
        return rows


def read_log(path: Path) -> list[Row]:
    """The objects of such a file, also while another process writes it. DataError where it is missing or damaged."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    return list(_rows(data[: len(data) - len(_half(data))], path))


def parsed(rows: Iterable[Row], parse: Callable[[dict[str, Any]], T], key: Callable[[T], str] | None = None) -> list[T]:
    """What the objects stand for, in their order. DataError, with file and line, for one that `parse` refuses with a
    DataError, or whose `key` an earlier one has."""
    found: list[T] = []
    taken: dict[str, str] = {}
    for where, row in rows:
        try:
            one = parse(row)
            if key is not None and taken.setdefault(key(one), where) != where:
                raise DataError(f"the key {key(one)!r} is taken by {taken[key(one)]}")
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        found.append(one)
    return found


def _rows(data: bytes, path: Path) -> Iterator[Row]:
    lines = data.removesuffix(b"\n").split(b"\n") if data else []
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        try:
            yield where, fields(parse_line(line.rstrip(b"\r")), "a line here")
        except DataError as error:
            raise DataError(f"{where}: {error}") from None


def _half(data: bytes) -> bytes:
    """What a killed process left of a last line: no end of line, and no JSON."""
    line = data[data.rfind(b"\n") + 1 :]
    try:
        if line:
            parse_line(line)
    except DataError:
        return line
    return b""


def _encoded(value: Mapping[str, Any]) -> bytes:
    """One line. Half a surrogate pair, which UTF-8 cannot write but a model may say, is spelt as an escape."""
    spelling: dict[str, Any] = {"allow_nan": False, "separators": (",", ":")}
    try:
        return json.dumps(value, ensure_ascii=False, **spelling).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value, **spelling).encode() + b"\n"


def _claim(file: BinaryIO, path: Path) -> None:
    """Hold the file until it is closed: two processes would ask, and pay, twice."""
    if sys.platform == "win32":
        return
    import fcntl  # not on Windows

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise CheckpointError(f"{path}: another process is writing it; wait for it, or give another file") from error
