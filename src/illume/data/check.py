"""Looks at a data set before anyone trains on it and reports what it holds and what is wrong; it changes nothing."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from illume.core.errors import DataError
from illume.data.collection import Collection
from illume.data.examples import texts_of
from illume.data.folder_files import Files
from illume.data.kinds import Kind, open_kind
from illume.data.problems import Problem
from illume.data.records import Record
from illume.images import ops

LIMIT = 20  # problems, groups and repeated texts that a report holds one by one
_SHOWN = 20  # lines of a histogram before it is drawn by ranges, or cut
_BAR = 40  # signs of the longest bar of a histogram
_PAIRS = ("edit", "inpaint")  # an image before and one after, which has to fit it
_NAMES = {"folder": "image folder"}
_PARTICULAR = re.compile(r"'[^']*'|\"[^\"]*\"|\S*/\S+|\d+")


@dataclass(frozen=True)
class Report:
    """What a data set holds. `problems` keep records from being used; all else that is listed doesn't."""

    path: str
    kind: str
    num_records: int  # usable ones
    num_images: int  # different files of usable records
    tasks: dict[str, int]
    problems: tuple[Problem, ...]  # the first of them, as of every list below
    num_problems: int
    problem_counts: dict[str, int]  # what is wrong, without what is particular -> rows
    duplicates: tuple[tuple[str, ...], ...]  # groups of files with the same content
    num_duplicates: int
    repeated_texts: dict[str, int]  # texts that stand beside different images -> how many images
    num_repeated_texts: int
    repeated_ids: dict[str, int]  # ids that several records have -> how many
    repeated_records: dict[str, int]  # where a record stands that comes again, but for its id -> how often in all
    num_repeated_records: int
    unequal_pairs: dict[str, int]  # sizes of an image before and after, where they differ -> records
    ignored_columns: tuple[str, ...]
    sizes: dict[str, int]  # "WIDTHxHEIGHT" -> files
    text_lengths: dict[int, int]  # words -> texts
    samples: tuple[Record, ...] = field(default=(), repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        plain = asdict(self)
        del plain["samples"]
        plain["problems"] = [{"where": problem.where, "message": problem.message} for problem in self.problems]
        plain["text_lengths"] = {str(words): count for words, count in self.text_lengths.items()}
        return plain

    def to_text(self) -> str:
        """A page for a person."""
        tasks = ", ".join(f"{count} {task}" for task, count in self.tasks.items()) or "none"
        kind = _NAMES.get(self.kind, self.kind)
        lines = [f"{self.path}: {kind}, {self.num_records} usable records ({tasks}), {self.num_images} images"]
        lines += _listed("problems", [str(problem) for problem in self.problems], self.num_problems)
        if len(self.problem_counts) < self.num_problems:
            lines += _listed("problems by kind", [f"{n} x {what}" for what, n in self.problem_counts.items()])
        same = [", ".join(group) for group in self.duplicates]
        lines += _listed("groups of files with the same content", same, self.num_duplicates)
        beside = [f"{n} images: {text}" for text, n in self.repeated_texts.items()]
        lines += _listed("texts beside several images", beside, self.num_repeated_texts)
        lines += _listed("ids of several records", [f"{n} x {name}" for name, n in self.repeated_ids.items()])
        again = [f"{n} x {where}" for where, n in self.repeated_records.items()]
        lines += _listed("records that come again", again, self.num_repeated_records)
        lines += _listed("edits that change the size", [f"{n} x {sizes}" for sizes, n in self.unequal_pairs.items()])
        if self.ignored_columns:
            lines.append(f"fields or files nobody reads: {', '.join(self.ignored_columns[:_SHOWN])}")
        lines += _histogram("image sizes", self.sizes)
        lines += _histogram("words a text", _ranges(self.text_lengths))
        return "\n".join(lines)


@dataclass(frozen=True)
class _File:
    """What there is to know of one image file."""

    size: str
    content: bytes


@dataclass
class _Found:
    """What is gathered while the rows of a collection go by."""

    tasks: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    problem_counts: Counter[str] = field(default_factory=Counter)
    words: Counter[int] = field(default_factory=Counter)
    ids: Counter[str] = field(default_factory=Counter)
    used: dict[str, _File] = field(default_factory=dict)
    texts: dict[str, set[bytes]] = field(default_factory=dict)
    first: dict[bytes, str] = field(default_factory=dict)  # what a record says -> where it stood first
    again: Counter[str] = field(default_factory=Counter)
    unequal: Counter[str] = field(default_factory=Counter)
    samples: list[Record] = field(default_factory=list)

    def add(self, record: Record, files: Sequence[_File]) -> None:
        self.tasks[record.task] += 1
        self.words.update(len(text.split()) for text in texts_of(record))
        self.used.update(zip(record.images, files, strict=True))
        if record.id is not None:
            self.ids[record.id] += 1
        if record.text and files:
            self.texts.setdefault(record.text, set()).add(files[0].content)
        where = self.first.setdefault(_said(record), record.where)
        if where != record.where:
            self.again[where] += 1
        if record.task in _PAIRS and files[0].size != files[1].size:
            self.unequal[f"{files[0].size} -> {files[1].size}"] += 1

    def add_problem(self, where: str, message: str, limit: int) -> None:
        self.problem_counts[_PARTICULAR.sub("...", message)] += 1
        if len(self.problems) < limit:
            self.problems.append(Problem(where, message))


def check(path: Path, kind: Kind = "auto", folder: Path | None = None, limit: int = LIMIT) -> Report:
    """The report on a data set of any kind (docs/data.md), every image decoded; its lists hold `limit` each.

    Whatever keeps one record from being used is in its `problems`; DataError only where nothing can be read at all.
    """
    return check_collection(open_kind(path, kind, folder), limit)


def check_collection(collection: Collection, limit: int = LIMIT, num_samples: int = 0) -> Report:
    """`check` of what is opened; `num_samples` records, spread over the whole, are kept for `sample_sheet`."""
    found, opened = _Found(), dict[str, _File | DataError]()
    for number, (where, row) in enumerate(collection.rows()):
        try:
            if isinstance(row, DataError):
                raise row
            found.add(row, [_opened(collection.files, file, opened) for file in row.images])
            _spread(found.samples, row, number, num_samples)
        except DataError as error:
            found.add_problem(where, str(error), limit)
    if not found.tasks and not found.problem_counts:
        raise DataError(f"{collection.path}: it holds nothing")
    return _report(collection, found, limit)


def _report(collection: Collection, found: _Found, limit: int) -> Report:
    beside = {text: len(images) for text, images in found.texts.items() if len(images) > 1}
    duplicates = _duplicates(found.used)
    files = {collection.files.place(name): file for name, file in found.used.items()}  # behind several masks: one file
    return Report(
        path=str(collection.path),
        kind=collection.kind,
        num_records=found.tasks.total(),
        num_images=len(files),
        tasks=dict(sorted(found.tasks.items())),
        problems=tuple(found.problems),
        num_problems=found.problem_counts.total(),
        problem_counts=dict(found.problem_counts.most_common(limit)),
        duplicates=duplicates[:limit],
        num_duplicates=len(duplicates),
        repeated_texts=dict(Counter(beside).most_common(limit)),
        num_repeated_texts=len(beside),
        repeated_ids=dict(Counter({name: n for name, n in found.ids.items() if n > 1}).most_common(limit)),
        repeated_records={where: n + 1 for where, n in found.again.most_common(limit)},
        num_repeated_records=len(found.again),
        unequal_pairs=dict(found.unequal.most_common(limit)),
        ignored_columns=tuple(collection.ignored),
        sizes=dict(Counter(file.size for file in files.values()).most_common()),
        text_lengths=dict(sorted(found.words.items())),
        samples=tuple(found.samples),
    )


def _opened(files: Files, file: str, opened: dict[str, _File | DataError]) -> _File:
    """What is in an image file, each opened once; DataError if it cannot be used."""
    if file not in opened:
        try:
            data = files.read(file)
            image = ops.decode(data, files.place(file))
            content = hashlib.blake2b(data, digest_size=16).digest()
            opened[file] = _File(f"{image.width}x{image.height}", content)
        except DataError as error:
            opened[file] = error
    found = opened[file]
    if isinstance(found, DataError):
        raise found
    return found


def _said(record: Record) -> bytes:
    """Names what a record says, whatever its id and its place."""
    said = repr(replace(record, id=None, where="")).encode("utf-8", "backslashreplace")
    return hashlib.blake2b(said, digest_size=16).digest()


def _spread(samples: list[Record], record: Record, number: int, most: int) -> None:
    """Keep the first records, then ever rarer ones: what is kept is spread over all rows, whatever their number."""
    if len(samples) < most:
        samples.append(record)
    elif most and number % (step := 1 << (number // most).bit_length() - 1) == 0:
        samples[(number // step) % most] = record


def _duplicates(files: Mapping[str, _File]) -> tuple[tuple[str, ...], ...]:
    same: dict[bytes, list[str]] = {}
    for name, file in files.items():
        same.setdefault(file.content, []).append(name)
    return tuple(tuple(names) for names in same.values() if len(names) > 1)


def _ranges(lengths: Mapping[int, int]) -> dict[str, int]:
    """Counts by number as counts by range, each twice as wide as the one before, where there are many numbers."""
    if len(lengths) <= _SHOWN:
        return {str(words): count for words, count in lengths.items()}
    found: Counter[int] = Counter()
    for words, count in lengths.items():
        found[words.bit_length()] += count
    return {f"{1 << bits >> 1}-{(1 << bits) - 1}": count for bits, count in sorted(found.items())}


def _histogram(what: str, counts: Mapping[str, int]) -> list[str]:
    if not counts:
        return []
    longest, wide = max(counts.values()), max(map(len, counts))
    bars = [f"{name:>{wide}} {'#' * -(-_BAR * count // longest)} {count}" for name, count in counts.items()]
    return _listed(what, bars[:_SHOWN], len(bars))


def _listed(what: str, items: Iterable[str], total: int | None = None) -> list[str]:
    items = list(items)
    total = len(items) if total is None else total
    if not items and not total:
        return []
    more = [f"  ... and {total - len(items)} more"] if total > len(items) else []
    return [f"{what} ({total}):", *(f"  {item}" for item in items), *more]
