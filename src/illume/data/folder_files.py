"""The bytes of files by their names in a folder, none of them outside of it; it does not know what they hold."""

import ntpath
import posixpath
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Protocol

from illume.core.errors import DataError
from illume.data.json_text import is_file

_PLAIN = re.compile(r"[\w-][\w./-]*")


class Files(Protocol):
    """Bytes by name: the files of a folder, or the members of tars."""

    def place(self, name: str) -> str:
        """Where it stands, for messages."""

    def size(self, name: str) -> int:
        """Its length in bytes. DataError where there is none of this name, or it stands outside."""

    def read(self, name: str) -> bytes:
        """All of it. DataError where it cannot be read."""


class FolderFiles:
    """The files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, name: str) -> str:
        return str(self.folder / name)

    def size(self, name: str) -> int:
        path = inside(self.folder, name)
        try:
            return path.stat().st_size
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}") from error

    def read(self, name: str) -> bytes:
        path = inside(self.folder, name, "file")
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}") from error


def inside(folder: Path, file: str, what: str = "image") -> Path:
    """The path of `file`, which has to stand in `folder` and exist; else DataError.

    Judged by the name alone: hub downloads are links to files elsewhere, and those are fine.
    """
    check_name(file)
    path = folder / file
    if not is_file(path):
        raise DataError(f"there is no {what} {path}")
    return path


def check_name(name: str) -> None:
    """DataError unless `name` is a path that stays inside the folder it starts from, on any system."""
    if _PLAIN.fullmatch(name) and ".." not in name:
        return  # nearly all names, of which there may be millions
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or "\0" in name:
        raise DataError(f"{name!r} has to be a path inside the folder, not an absolute one")
    for normal in (posixpath.normpath(name), ntpath.normpath(name)):
        if PureWindowsPath(normal).parts[:1] in ((), ("..",)):
            raise DataError(f"{name!r} leads out of the folder")
