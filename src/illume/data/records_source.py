"""A source made of a file of records and the image files beside it; it knows nothing of mixtures or batches."""

from dataclasses import replace
from pathlib import Path

from illume.core.errors import DataError
from illume.data.image_files import How, ImageFiles, inside
from illume.data.problems import OnInvalid, Problem, usable
from illume.data.records import Record, read_records
from illume.data.sources import Size


class RecordsSource:
    """The records of `path`; their images are paths relative to `folder` (by default where `path` is).

    The images go by the name of the source, for another file of the same folder has other images.

    Missing images are found at once, unreadable ones when first asked for; with `on_invalid="skip"` every image is
    decoded at once, and the records that cannot be used are left out and listed in `problems`.
    """

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
        self.name = name if name is not None else path.stem
        folder = folder if folder is not None else path.parent
        records, self.problems = read_records(path, on_invalid)
        records, missing = usable(records, lambda record: [inside(folder, file) for file in record.images], on_invalid)
        self.images = ImageFiles(
            folder, dict.fromkeys(file for r in records for file in r.images), size, how=how, name=self.name
        )
        records = [replace(r, images=tuple(self.images.key(file) for file in r.images)) for r in records]
        unreadable: list[Problem] = []
        if on_invalid == "skip":
            records, unreadable = usable(records, lambda r: [self.images.image(key) for key in r.images], on_invalid)
            self.images = self.images.only(dict.fromkeys(self.images.file(key) for r in records for key in r.images))
        self.problems += missing + unreadable
        if not records:
            raise DataError(f"{path}: no record can be used ({len(self.problems)} problems)")
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    def record(self, index: int) -> Record:
        return self._records[index]
