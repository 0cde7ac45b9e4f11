"""A collection is a data set of some kind, read as rows of records; here its rows become sources.

What a kind looks like on disk is known to the file of that kind alone.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

from illume.core.errors import ConfigError, DataError
from illume.data.folder_files import Files
from illume.data.image_files import How, ImageFiles
from illume.data.image_folder import FolderTask
from illume.data.problems import OnInvalid, Problem, usable
from illume.data.records import Record
from illume.data.sources import Size

CAPTION_TASKS: tuple[FolderTask, ...] = ("caption", "draw", "reconstruct", "text")


class Row(NamedTuple):
    """One thing that a collection lists: where it stands, and its record or why there is none."""

    where: str
    found: Record | DataError


class Collection(Protocol):
    """A data set as rows, read anew each time. The images of its records are names of `files`."""

    @property
    def kind(self) -> str:
        """What a person calls its format."""

    @property
    def path(self) -> Path:
        """Where it was said to be."""

    @property
    def files(self) -> Files:
        """Where the bytes of its images are."""

    @property
    def ignored(self) -> Sequence[str]:
        """Names of fields or files that nobody reads, found while rows were read."""

    def rows(self) -> Iterator[Row]:
        """Every row in its order. DataError where nothing can be read at all; no image is opened."""


class OpenCollection:
    """The usable records of a collection and its images, shared by all sources made of it.

    Missing images are found at once, unreadable ones when first asked for; with `on_invalid="skip"` every image is
    decoded at once, and the records that cannot be used are left out and listed in `problems`.
    """

    def __init__(
        self,
        collection: Collection,
        size: int | Size,
        *,
        name: str,
        how: How = "cover",
        on_invalid: OnInvalid = "raise",
        slices: int = 0,
    ) -> None:
        records, self.problems = gather(collection, on_invalid)
        files = dict.fromkeys(file for record in records for file in record.images)
        self.images = ImageFiles(collection.files, files, size, how=how, name=name, slices=slices)
        records = [replace(r, images=tuple(self.images.key(file) for file in r.images)) for r in records]
        if on_invalid == "skip":
            records, unreadable = usable(records, lambda r: [self.images.image(key) for key in r.images], on_invalid)
            self.problems += unreadable
            self.images = self._images_of(records)
        if not records:
            first = f", the first: {self.problems[0]}" if self.problems else ""
            raise DataError(f"{collection.path}: no record can be used ({len(self.problems)} problems{first})")
        self.name, self.kind, self.records = name, collection.kind, records
        self.captioned = all(record.task == "caption" for record in records)
        """Whether every record is an image with its caption, of which other tasks can be made."""

    def only(self, records: Sequence[Record]) -> "OpenCollection":
        """The same collection with these of its records and their images alone; what is decoded stays so."""
        fewer = copy(self)
        fewer.records, fewer.images = list(records), self._images_of(records)
        return fewer

    def _images_of(self, records: Sequence[Record]) -> ImageFiles:
        return self.images.only(dict.fromkeys(self.images.file(key) for r in records for key in r.images))


class CollectionSource:
    """The records of an open collection as they are, or, where it is captioned, as those of one task."""

    def __init__(self, opened: OpenCollection, task: FolderTask | None = None, *, name: str | None = None) -> None:
        if task is not None and (task not in CAPTION_TASKS or not opened.captioned):
            raise ConfigError(f"{opened.name!r} ({opened.kind}) has no records of task {task!r}")
        self.name = name if name is not None else opened.name
        self.images = opened.images
        self._task, self._records = task, opened.records

    def __len__(self) -> int:
        return len(self._records)

    def record(self, index: int) -> Record:
        record = self._records[index]
        if self._task in (None, "caption"):
            return record
        return replace(record, task=self._task, images=() if self._task == "text" else record.images)


def gather(collection: Collection, on_invalid: OnInvalid) -> tuple[list[Record], list[Problem]]:
    """The records whose images are all there, and what is wrong with the others (or the first DataError)."""
    records: list[Record] = []
    problems: list[Problem] = []
    for where, found in collection.rows():
        try:
            if isinstance(found, DataError):
                raise found
            for file in found.images:
                collection.files.size(file)
            records.append(found)
        except DataError as error:
            if on_invalid == "raise":
                raise DataError(f"{where}: {error}") from None
            problems.append(Problem(where, str(error)))
    return records, problems
