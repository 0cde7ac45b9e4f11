"""What the metadata file of a Hugging Face imagefolder lists (metadata.csv or .jsonl); it opens no image."""

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from illume.core.errors import DataError
from illume.data.folder_files import inside
from illume.data.json_text import lines_of, parse_line, string
from illume.data.problems import OnInvalid, Problem

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


Row = tuple[str, dict[str, object] | DataError]  # where; the columns, or why there are none


def read_image_folder(folder: Path, on_invalid: OnInvalid = "raise") -> Listing:
    """The captioned images that `folder`'s metadata file lists, each file checked to be there but not opened.

    DataError, with file:line, for the first thing that cannot be used; with `on_invalid="skip"` such lines are listed
    in `problems` instead. Without a readable metadata file there is nothing to skip: that is an error either way.
    """
    path = find_metadata(folder)
    rows = list(_csv_rows(path) if path.suffix == ".csv" else _json_rows(path))
    if not rows:
        raise DataError(f"{path}: it lists no images")
    entries: list[Entry] = []
    problems: list[Problem] = []
    seen: dict[str, str] = {}
    for where, row in rows:
        try:
            entries.append(_entry(row, where, folder, seen))
        except DataError as error:
            if on_invalid == "raise":
                raise DataError(f"{where}: {error}") from None
            problems.append(Problem(where, str(error)))
    columns = dict.fromkeys(name for _, row in rows if isinstance(row, dict) for name in row)
    return Listing(tuple(entries), tuple(problems), tuple(name for name in columns if name not in COLUMNS))


def find_metadata(folder: Path) -> Path:
    """The one metadata file of an imagefolder."""
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder")
    found = [folder / name for name in METADATA if (folder / name).is_file()]
    if len(found) != 1:
        said = "has both metadata.csv and metadata.jsonl" if found else "has neither metadata.csv nor metadata.jsonl"
        raise DataError(f"{folder} {said}; it needs one of them, with {' and '.join(COLUMNS)}")
    return found[0]


def _entry(row: dict[str, object] | DataError, where: str, folder: Path, seen: dict[str, str]) -> Entry:
    if isinstance(row, DataError):
        raise row
    for name in COLUMNS:
        if name not in row:
            raise DataError(f"the column {name!r} is missing; there are {', '.join(row) or 'none'}")
    file = string(row["file_name"], "file_name")
    text = string(row["text"], "text").strip()
    inside(folder, file)
    name = os.path.normpath(file)
    if name in seen:
        raise DataError(f"the file {file!r} was listed before, at {seen[name]}")
    seen[name] = where
    return Entry(name, text, where)


def _json_rows(path: Path) -> Iterator[Row]:
    for where, line in lines_of(path):
        try:
            row = parse_line(line)
        except DataError as error:
            yield where, error
        else:
            yield where, row if isinstance(row, dict) else DataError("a line has to be a JSON object")


def _csv_rows(path: Path) -> Iterator[Row]:
    """Rows by their header's names. A wrong header, or quotes that don't close, spoil the file: DataError at once."""
    reader = csv.reader(io.StringIO(_text_of(path), newline=""), strict=True)
    try:
        header = next(reader, [])
        for name in COLUMNS:
            if name not in header:
                raise DataError(f"{path}:1: the column {name!r} is missing; there are {', '.join(header) or 'none'}")
        if len(set(header)) < len(header):
            raise DataError(f"{path}:1: a column stands twice: {', '.join(header)}")
        start = reader.line_num + 1
        for row in reader:
            where, start = f"{path}:{start}", reader.line_num + 1
            if len(row) == len(header):
                yield where, dict(zip(header, row, strict=True))
            else:
                yield (
                    where,
                    DataError(f"{len(row)} columns, but the header has {len(header)} (a comma without quotes?)"),
                )
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not CSV: {error}") from None


def _text_of(path: Path) -> str:
    lines: list[str] = []
    for where, line in lines_of(path):
        try:
            lines.append(line.decode("utf-8-sig" if not lines else "utf-8"))
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    return "\n".join(lines)
