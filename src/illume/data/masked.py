"""Pictures with a region painted over, as files among files; it does not know what is to be painted there instead."""

import io
from dataclasses import replace

from illume.data.folder_files import Files
from illume.data.records import Mask, Record
from illume.images import masks, ops


class MaskedFiles:
    """Files, and those of them that stand behind a mask: each a picture of its own, under a name that `name` gives.

    The mask, a box or another of the files, is laid over the picture at its own size. DataError on reading where mask
    and picture differ in size.
    """

    def __init__(self, files: Files) -> None:
        self.files = files
        self._masked: dict[str, tuple[str, str | masks.Box]] = {}

    def masked(self, record: Record) -> Record:
        """The record with its source behind its mask, as it is given to a model; others as they are."""
        if record.mask is None:
            return record
        source, *rest = record.images
        name = masked_name(source, record.mask)
        self._masked[name] = (source, record.mask)
        return replace(record, images=(name, *rest))

    def place(self, name: str) -> str:
        return self.files.place(self._masked[name][0] if name in self._masked else name)

    def size(self, name: str) -> int:
        if name not in self._masked:
            return self.files.size(name)
        source, mask = self._masked[name]
        return self.files.size(source) + (self.files.size(mask) if isinstance(mask, str) else 0)

    def read(self, name: str) -> bytes:
        if name not in self._masked:
            return self.files.read(name)
        source, mask = self._masked[name]
        picture = ops.decode(self.files.read(source), self.files.place(source))
        size = (picture.height, picture.width)
        if isinstance(mask, str):
            where = self.files.place(mask)
            region = masks.region_of(ops.decode(self.files.read(mask), where), size, where)
        else:
            region = masks.region_of(mask, size, self.files.place(source))
        data = io.BytesIO()
        masks.marked(picture, region).save(data, "PNG")
        return data.getvalue()


def masked_name(source: str, mask: Mask) -> str:
    """What a picture behind a mask is called."""
    return f"{source} behind {mask if isinstance(mask, str) else ','.join(map(str, mask))}"


def source_name(name: str, mask: Mask | None) -> str:
    """What a picture is called without its mask: the inverse of `masked_name`; a name without a mask as it is."""
    return name if mask is None else name.removesuffix(masked_name("", mask))
