"""What the metadata file of a Hugging Face imagefolder lists (metadata.csv or .jsonl); it opens no image."""

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from illume.core.errors import DataError
from illume.data.folder_files import inside
from illume.data.json_text import is_file, string
from illume.data.problems import OnInvalid, Problem
from illume.data.tables import rows_of

COLUMNS = ("file_name", "text")
METADATA = ("metadata.csv", "metadata.jsonl")


@dataclass(frozen=True)
class Entry:
    """One captioned image: its path in the folder, its caption, and the line that says so."""

    file: str
    text: str
    where: str


@dataclass(frozen=True)
class Listing:
    """What a metadata file holds: usable entries, the lines skipped, the columns nobody reads."""

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]
    ignored_columns: tuple[str, ...]


def read_image_folder(folder: Path, on_invalid: OnInvalid = "raise") -> Listing:
    """The captioned images that `folder`'s metadata file lists, each file checked to be there but not opened.

    DataError, with file:line, for the first thing that cannot be used; with `on_invalid="skip"` such lines are listed
    in `problems` instead. Without a readable metadata file there is nothing to skip: that is an error either way.
    """
    entries: list[Entry] = []
    problems: list[Problem] = []
    columns: dict[str, None] = {}
    for where, found in entries_of(folder, columns):
        if isinstance(found, Entry):
            entries.append(found)
        elif on_invalid == "raise":
            raise DataError(f"{where}: {found}")
        else:
            problems.append(Problem(where, str(found)))
    return Listing(tuple(entries), tuple(problems), ignored_of(columns))


def entries_of(folder: Path, columns: dict[str, None]) -> Iterator[tuple[str, Entry | DataError]]:
    """Each row of the metadata file: where it stands, and its entry or what is wrong; every column's name is noted."""
    path = find_metadata(folder)
    seen: dict[str, str] = {}
    where = ""
    for where, row in rows_of(path, _check_columns):
        try:
            if isinstance(row, DataError):
                raise row
            columns.update(dict.fromkeys(row))
            yield where, _entry(row, where, folder, seen)
        except DataError as error:
            yield where, error
    if not where:
        raise DataError(f"{path}: it lists no images")


def ignored_of(columns: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in columns if name not in COLUMNS)


def find_metadata(folder: Path) -> Path:
    """The one metadata file of an imagefolder."""
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder")
    found = [folder / name for name in METADATA if is_file(folder / name)]
    if len(found) != 1:
        said = "has both metadata.csv and metadata.jsonl" if found else "has neither metadata.csv nor metadata.jsonl"
        raise DataError(f"{folder} {said}; it needs one of them, with {' and '.join(COLUMNS)}")
    return found[0]


def _entry(row: Mapping[str, object], where: str, folder: Path, seen: dict[str, str]) -> Entry:
    _check_columns(row)
    file = string(row["file_name"], "file_name")
    text = string(row["text"], "text").strip()
    inside(folder, file)
    name = posixpath.normpath(file)
    if name in seen:
        raise DataError(f"the file {file!r} was listed before, at {seen[name]}")
    seen[name] = where
    return Entry(name, text, where)


def _check_columns(names: Iterable[str]) -> None:
    names = list(names)
    for name in COLUMNS:
        if name not in names:
            raise DataError(f"the column {name!r} is missing; there are {', '.join(names) or 'none'}")
