"""Looks at a data set before anyone trains on it and reports what it holds and what is wrong; it changes nothing."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from illume.core.errors import DataError
from illume.data.folder_files import inside
from illume.data.metadata import read_image_folder
from illume.data.problems import Problem, usable
from illume.data.records import Record, read_records
from illume.images import ops

_SHOWN = 20  # lines of a list that the text shows before it says how many more there are


@dataclass(frozen=True)
class Report:
    """What a data set holds. `problems` keep records from being used; duplicates and ignored columns don't."""

    path: str
    kind: str  # "image folder" or "records"
    num_records: int  # usable ones
    num_images: int  # different files of usable records
    tasks: dict[str, int]
    problems: tuple[Problem, ...]
    duplicates: tuple[tuple[str, ...], ...]  # files with the same content
    ignored_columns: tuple[str, ...]
    sizes: dict[str, int]  # "WIDTHxHEIGHT" -> files
    text_lengths: dict[int, int]  # words -> texts

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        plain = asdict(self)
        plain["problems"] = [{"where": problem.where, "message": problem.message} for problem in self.problems]
        plain["text_lengths"] = {str(words): count for words, count in self.text_lengths.items()}
        return plain

    def to_text(self) -> str:
        """A page for a person."""
        tasks = ", ".join(f"{count} {task}" for task, count in self.tasks.items()) or "none"
        lines = [f"{self.path}: {self.kind}, {self.num_records} usable records ({tasks}), {self.num_images} images"]
        lines += _listed("problems", [str(problem) for problem in self.problems])
        lines += _listed("groups of files with the same content", [", ".join(group) for group in self.duplicates])
        if self.ignored_columns:
            lines.append(f"columns nobody reads: {', '.join(self.ignored_columns)}")
        lines += _listed("image sizes", [f"{size}: {count}" for size, count in self.sizes.items()])
        lines += _listed("words a text", [f"{words}: {count}" for words, count in self.text_lengths.items()])
        return "\n".join(lines)


@dataclass(frozen=True)
class _File:
    """What there is to know of one image file."""

    size: str
    content: str


def check(path: Path) -> Report:
    """The report on an image folder or a JSON-lines file of records, every image decoded.

    Whatever keeps one record from being used is in its `problems`; DataError only where nothing can be read at all.
    """
    if path.is_dir():
        folder, kind = path, "image folder"
        listing = read_image_folder(path, on_invalid="skip")
        ignored, problems = listing.ignored_columns, list(listing.problems)
        records = [Record("caption", images=(e.file,), text=e.text, where=e.where) for e in listing.entries]
    else:
        folder, kind, ignored = path.parent, "records", ()
        records, problems = read_records(path, on_invalid="skip")
    files: dict[str, _File | DataError] = {}
    records, unusable = usable(records, lambda record: _look(record, folder, files), "skip")
    used = {file: files[file] for record in records for file in record.images}
    looked = {file: found for file, found in used.items() if isinstance(found, _File)}
    return Report(
        path=str(path),
        kind=kind,
        num_records=len(records),
        num_images=len(looked),
        tasks=dict(sorted(Counter(record.task for record in records).items())),
        problems=tuple(problems + unusable),
        duplicates=_duplicates(looked),
        ignored_columns=ignored,
        sizes=dict(Counter(found.size for found in looked.values()).most_common()),
        text_lengths=dict(sorted(Counter(len(text.split()) for r in records for text in _texts(r)).items())),
    )


def _look(record: Record, folder: Path, files: dict[str, _File | DataError]) -> None:
    """Open the record's images, each file once; DataError for the first that cannot be used."""
    for file in record.images:
        if file not in files:
            files[file] = _open(folder, file)
        found = files[file]
        if isinstance(found, DataError):
            raise found


def _open(folder: Path, file: str) -> _File | DataError:
    try:
        path = inside(folder, file)
        data = path.read_bytes()
        image = ops.decode(data, str(path))
    except DataError as error:
        return error
    except OSError as error:
        return DataError(f"{folder / file}: {error.strerror}")
    return _File(f"{image.width}x{image.height}", hashlib.blake2b(data, digest_size=16).hexdigest())


def _duplicates(files: dict[str, _File]) -> tuple[tuple[str, ...], ...]:
    same: dict[str, list[str]] = {}
    for name, file in files.items():
        same.setdefault(file.content, []).append(name)
    return tuple(tuple(names) for names in same.values() if len(names) > 1)


def _texts(record: Record) -> Iterable[str]:
    said = [part for turn in record.messages for part in turn.parts if isinstance(part, str)]
    return filter(None, (record.text, record.instruction, *said))


def _listed(what: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    more = [f"  ... and {len(items) - _SHOWN} more"] if len(items) > _SHOWN else []
    return [f"{what} ({len(items)}):", *(f"  {item}" for item in items[:_SHOWN]), *more]
