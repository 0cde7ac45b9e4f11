"""A Hugging Face imagefolder, pictures and a metadata file of `file_name,text`, as a collection; it splits nothing."""

from collections.abc import Iterator
from pathlib import Path

from illume.data.collection import Row
from illume.data.folder_files import Files, FolderFiles
from illume.data.metadata import Entry, entries_of, ignored_of
from illume.data.records import Record


class CaptionedFolder:
    """Every row of the metadata file as a captioned image."""

    kind = "folder"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: Files = FolderFiles(path)
        self._columns: dict[str, None] = {}

    @property
    def ignored(self) -> tuple[str, ...]:
        return ignored_of(self._columns)

    def rows(self) -> Iterator[Row]:
        for where, found in entries_of(self.path, self._columns):
            if isinstance(found, Entry):
                yield Row(where, Record("caption", images=(found.file,), text=found.text, where=where))
            else:
                yield Row(where, found)
