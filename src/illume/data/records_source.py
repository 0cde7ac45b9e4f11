"""Files of records, with the image files beside them, as a collection and as a source; it knows no mixture or batch."""

from collections.abc import Iterator
from pathlib import Path

from illume.data.collection import CollectionSource, OpenCollection, Row
from illume.data.folder_files import Files, FolderFiles
from illume.data.image_files import How
from illume.data.masked import MaskedFiles
from illume.data.problems import OnInvalid
from illume.data.records import Record, record_rows
from illume.data.sources import Size


class RecordsFile:
    """The records of `path`, JSON lines; their images are paths relative to `folder` (by default where `path` is)."""

    kind = "records"

    def __init__(self, path: Path, folder: Path | None = None) -> None:
        self.path = path
        self._masked = MaskedFiles(FolderFiles(folder if folder is not None else path.parent))
        self.files: Files = self._masked
        self.ignored: tuple[str, ...] = ()  # a field that nobody reads is an error here

    def rows(self) -> Iterator[Row]:
        for where, found in record_rows(self.path):
            yield Row(where, self._masked.masked(found) if isinstance(found, Record) else found)


class RecordsSource(CollectionSource):
    """A file of records as a source; its images go by the source's name, for another file of the folder has others."""

    def __init__(
        self,
        path: Path,
        size: int | Size,
        *,
        folder: Path | None = None,
        name: str | None = None,
        how: How = "cover",
        on_invalid: OnInvalid = "raise",
    ) -> None:
        name = name if name is not None else path.stem
        opened = OpenCollection(RecordsFile(path, folder), size, name=name, how=how, on_invalid=on_invalid)
        super().__init__(opened)
        self.problems = opened.problems
