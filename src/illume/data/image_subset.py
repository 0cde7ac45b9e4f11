"""Some of a collection's images, for whoever would do more than is needed with all of them; it chooses none itself."""

from collections.abc import Iterable, Sequence

import numpy as np

from illume.core.streams import seed_of
from illume.data.sources import Images, Size


class ImageSubset:
    """The images of these keys, under the same name and keys as before."""

    def __init__(self, images: Images, keys: Iterable[str]) -> None:
        wanted = set(keys)
        self._images = images
        self._keys = tuple(filter(wanted.__contains__, images.keys()))

    @property
    def name(self) -> str:
        return self._images.name

    @property
    def size(self) -> Size:
        return self._images.size

    @property
    def fingerprint(self) -> str:
        """That of the images where all of them are in it, so that the codes of one are the codes of the other."""
        if len(self._keys) == len(self._images.keys()):
            return self._images.fingerprint
        return f"{self._images.fingerprint}-{seed_of('subset', *self._keys):016x}"

    def keys(self) -> Sequence[str]:
        return self._keys

    def image(self, key: str) -> np.ndarray:
        return self._images.image(key)
