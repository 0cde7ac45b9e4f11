"""Edits: an image before, what is asked, the image after; as a table (JSON or CSV) beside the images.

Columns go by the names that published sets use, the first of them that is there: timbrooks/instructpix2pix, MagicBrush,
UltraEdit, HQ-Edit. The folders that InstructPix2Pix itself writes are read by pix2pix_folder.py.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from illume.core.errors import DataError
from illume.data.collection import Row
from illume.data.folder_files import Files, FolderFiles
from illume.data.json_text import string
from illume.data.metadata import find_metadata
from illume.data.records import Record
from illume.data.tables import rows_of

# What each of the three may be called; `_file_name` may follow an image's name, as in a Hugging Face imagefolder.
SOURCE = ("input_image", "original_image", "source_image", "source_img", "source", "input")
TARGET = ("edited_image", "target_image", "output_image", "target_img", "edited", "target", "output")
INSTRUCTION = ("edit_prompt", "edit", "instruction")


class Edits:
    """The edits of a table `path`, or of the metadata file in a folder `path`; images are relative to `folder`."""

    kind = "edits"

    def __init__(self, path: Path, folder: Path | None = None) -> None:
        self.path = path
        self._table = find_metadata(path) if path.is_dir() else path
        self.files: Files = FolderFiles(folder if folder is not None else self._table.parent)
        self._columns: dict[str, None] = {}
        self._read: set[str] = {"id"}

    @property
    def ignored(self) -> tuple[str, ...]:
        return tuple(name for name in self._columns if name not in self._read)

    def rows(self) -> Iterator[Row]:
        for where, row in rows_of(self._table, check_columns):
            try:
                if isinstance(row, DataError):
                    raise row
                self._columns.update(dict.fromkeys(row))
                yield Row(where, self._record(row, where))
            except DataError as error:
                yield Row(where, error)

    def _record(self, row: Mapping[str, object], where: str) -> Record:
        source, target, instruction = check_columns(row)
        self._read.update((source, target, instruction))
        identity = row.get("id")
        return Record(
            "edit",
            images=(string(row[source], source), string(row[target], target)),
            instruction=string(row[instruction], instruction).strip(),
            id=None if identity in (None, "") else str(identity),
            where=where,
        )


def check_columns(names: Iterable[str]) -> tuple[str, str, str]:
    """What source, target and instruction are called among these names. DataError where one of them is missing."""
    names = list(names)
    found = [_first(known, names) for known in (_image_names(SOURCE), _image_names(TARGET), INSTRUCTION)]
    for what, known, name in zip(("image before", "image after", "instruction"), _KNOWN, found, strict=True):
        if name is None:
            raise DataError(
                f"the {what} is missing: one of {', '.join(known)}; there are {', '.join(map(str, names)) or 'none'}"
            )
    source, target, instruction = (name for name in found if name is not None)
    return source, target, instruction


_KNOWN = (SOURCE, TARGET, INSTRUCTION)


def _image_names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(full for name in names for full in (name, f"{name}_file_name"))


def _first(known: Iterable[str], names: list[str]) -> str | None:
    return next((name for name in known if name in names), None)
