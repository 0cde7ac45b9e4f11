"""The codes of the last drawings, by their pixels: a drawing that comes back in a conversation is known again.

Only who has the very picture finds its codes. It knows neither requests nor models.
"""

import hashlib
import threading
from collections import OrderedDict
from typing import TypeAlias

from PIL import Image

from illume.vocab.messages import ImageFrame

Codes: TypeAlias = tuple[tuple[int, ...], ...]
_MOST_CODES = 2_000_000  # some tens of megabytes


class Memory:
    """Codes of drawings, the oldest forgotten first. Threads may share it."""

    def __init__(self, most: int = _MOST_CODES) -> None:
        self._most = most
        self._codes: OrderedDict[bytes, tuple[ImageFrame, Codes]] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()

    def keep(self, picture: Image.Image, frame: ImageFrame, codes: Codes) -> None:
        """Remember a drawing."""
        with self._lock:
            name = _digest(picture)
            self._forget(name)
            self._codes[name] = (frame, codes)
            self._count += frame.num_codes
            while self._count > self._most:
                self._forget(next(iter(self._codes)))

    def find(self, picture: Image.Image, frame: ImageFrame) -> Codes | None:
        """The codes of a drawing of this frame, if it was drawn here."""
        with self._lock:
            found = self._codes.get(_digest(picture))
            return found[1] if found is not None and found[0] == frame else None

    def _forget(self, name: bytes) -> None:
        if name in self._codes:
            self._count -= self._codes.pop(name)[0].num_codes


def _digest(picture: Image.Image) -> bytes:
    return hashlib.blake2b(repr(picture.size).encode() + picture.tobytes(), digest_size=16).digest()
