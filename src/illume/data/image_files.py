"""Image files of one folder, decoded once and kept at one size; this module does not know what is said about them."""

import os
from collections.abc import Iterable, Sequence
from copy import copy
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal

import numpy as np

from illume.core.errors import DataError
from illume.core.streams import seed_of
from illume.data.sources import Size, images_name
from illume.images import ops

How = Literal["cover", "contain", "stretch"]


class ImageFiles:
    """The `Images` that a folder's files are. A key is "NAME/path of the file in the folder".

    Decoded images are kept as uint8 until `cache_bytes` of them are held; the rest are decoded whenever asked for.
    """

    def __init__(
        self,
        folder: Path,
        files: Iterable[str],
        size: int | Size,
        *,
        how: How = "cover",
        name: str | None = None,
        cache_bytes: int = 2 << 30,
    ) -> None:
        self.folder = folder
        self.name = images_name(name if name is not None else folder.resolve().name)
        self.size: Size = (size, size) if isinstance(size, int) else size
        self.how = how
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
        lengths = [f"{file}:{(self.folder / file).stat().st_size}" for file in self._files.values()]
        return f"{seed_of('files', self.name, *self.size, self.how, *lengths):016x}"

    def only(self, files: Iterable[str]) -> "ImageFiles":
        """The same images without the other files; what is decoded stays so."""
        fewer = copy(self)
        fewer._files = {self.key(file): file for file in files}
        return fewer

    def image(self, key: str) -> np.ndarray:
        if key in self._cache:
            return self._cache[key]
        if key not in self._files:
            raise DataError(f"there is no image {key!r} in {self.folder}")
        path = self.folder / self._files[key]
        pixels = ops.to_array(ops.fit(ops.decode(path, str(path)), self.size, self.how))
        pixels.flags.writeable = False
        if len(self._cache) < self._room:
            self._cache[key] = pixels
        return pixels


def inside(folder: Path, file: str) -> Path:
    """The path of `file`, which has to stand in `folder` and exist; else DataError.

    Judged by the name alone: hub downloads are links to files elsewhere, and those are fine.
    """
    if PurePosixPath(file).is_absolute() or PureWindowsPath(file).drive or "\0" in file:
        raise DataError(f"{file!r} has to be a path inside the folder, not an absolute one")
    if Path(os.path.normpath(file)).parts[:1] in ((), ("..",)):
        raise DataError(f"{file!r} leads out of the folder")
    path = folder / file
    if not path.is_file():
        raise DataError(f"there is no image {path}")
    return path
