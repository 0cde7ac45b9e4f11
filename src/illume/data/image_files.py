"""Image files of one folder or of tars, decoded once and kept at one size; it does not know what is said of them."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from copy import copy
from pathlib import Path
from typing import Literal

import numpy as np
from PIL.Image import Image

from illume.core.errors import DataError
from illume.core.streams import seed_of
from illume.data.folder_files import Files, FolderFiles
from illume.data.sources import Size, images_name
from illume.images import ops
from illume.images.slices import Sliced, cut
from illume.tasks.detail import parse_name
from illume.vocab.messages import Grid

How = Literal["cover", "contain", "stretch"]
_CUT_KEPT = 8  # pictures whose slices are asked for one after the other


class ImageFiles:
    """The `Images` that files of a folder are (or other `Files`). A key is "NAME/path of the file in the folder".

    Decoded images are kept as uint8 until `cache_bytes` of them are held; the rest are decoded whenever asked for.
    Where `slices` is not 0, an image can also be read in detail: by the names of tasks/detail.py, behind its key.
    """

    def __init__(
        self,
        folder: Path | Files,
        files: Iterable[str],
        size: int | Size,
        *,
        how: How = "cover",
        name: str | None = None,
        cache_bytes: int = 2 << 30,
        slices: int = 0,
    ) -> None:
        self.stored: Files = FolderFiles(folder) if isinstance(folder, Path) else folder
        if name is None and isinstance(folder, Path):
            name = folder.resolve().name
        self.name = images_name(name or "")
        self.size: Size = (size, size) if isinstance(size, int) else size
        self.how = how
        self.slices = slices
        self._cut: OrderedDict[str, Sliced] = OrderedDict()
        self._files = {self.key(file): file for file in files}
        self._cache: dict[str, np.ndarray] = {}
        self._room = cache_bytes // (3 * self.size[0] * self.size[1])

    def key(self, file: str) -> str:
        """The key of a file in the folder."""
        return f"{self.name}/{file}"

    def file(self, key: str) -> str:
        """The file of a key: the inverse of `key`."""
        return key.removeprefix(f"{self.name}/")

    def keys(self) -> Sequence[str]:
        return tuple(self._files)

    @property
    def fingerprint(self) -> str:
        """Of the names and lengths of the files (reading them all would cost an epoch) and of how they are fitted."""
        lengths = [f"{file}:{self.stored.size(file)}" for file in self._files.values()]
        return f"{seed_of('files', self.name, *self.size, self.how, *lengths):016x}"

    def only(self, files: Iterable[str]) -> "ImageFiles":
        """The same images without the other files; what is decoded stays so."""
        fewer = copy(self)
        fewer._files = {self.key(file): file for file in files}
        return fewer

    def image(self, key: str) -> np.ndarray:
        if key in self._cache:
            return self._cache[key]
        named = parse_name(key) if self.slices and key not in self._files else None
        picture = self._sliced(named[0]).piece(named[1]) if named else ops.fit(self._decoded(key), self.size, self.how)
        pixels = ops.to_array(picture)
        pixels.flags.writeable = False
        if len(self._cache) < self._room:
            self._cache[key] = pixels
        return pixels

    def whole(self, key: str) -> np.ndarray:
        """The uint8 [h, w, 3] pixels of an image in its own size."""
        return ops.to_array(self._decoded(key))

    def grid(self, key: str) -> Grid:
        """Rows and columns of the slices that an image is read in; (0, 0): its overview alone."""
        return self._sliced(key).grid

    def _sliced(self, key: str) -> Sliced:
        if key not in self._cut:
            self._cut[key] = cut(self._decoded(key), self.size, self.slices)
            if len(self._cut) > _CUT_KEPT:
                self._cut.popitem(last=False)
        return self._cut[key]

    def _decoded(self, key: str) -> Image:
        if key not in self._files:
            raise DataError(f"there is no image {key!r} in {self.name}")
        file = self._files[key]
        return ops.decode(self.stored.read(file), self.stored.place(file))
