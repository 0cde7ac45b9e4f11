"""A source is numbered records and the images they name; this says what one has to offer, and knows none of them."""

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from illume.core.errors import ConfigError
from illume.data.records import Record

Size = tuple[int, int]  # (height, width) in pixels
Split = Literal["train", "test"]


class Images(Protocol):
    """Pictures by key, all of one size. Several sources may share one, and then share its cache and its codes."""

    @property
    def name(self) -> str:
        """What every key begins with, before a "/"; different `Images` of one mixture need different names."""

    @property
    def size(self) -> Size:
        """Height and width of every image."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the pixels of a key may have changed; codes computed before are then of no use."""

    def keys(self) -> Sequence[str]:
        """Every key there is, in a fixed order."""

    def image(self, key: str) -> np.ndarray:
        """The uint8 [h, w, 3] pixels of a key; not to be written to. DataError if it cannot be read."""


class Source(Protocol):
    """Records numbered from 0 whose `images` are keys of `Source.images`."""

    @property
    def name(self) -> str:
        """What a mixture and an error message call it."""

    @property
    def images(self) -> Images:
        """Where the pixels are."""

    def __len__(self) -> int: ...

    def record(self, index: int) -> Record:
        """Record `index`: the same one whenever asked."""


@runtime_checkable
class Viewed(Protocol):
    """A source that has further pictures to each record's: see VisionTokenizer.forward."""

    def views(self, index: int) -> tuple[str, ...]:
        """Keys of pictures that share one aspect each with that of record `index`; as many for every record."""


def images_name(name: str) -> str:
    """`name`, if keys can begin with it; else ConfigError."""
    if not name or "/" in name:
        raise ConfigError(f"images cannot be called {name!r}: the name stands before the '/' of every key")
    return name


def name_of(key: str) -> str:
    """The name of the `Images` a key belongs to."""
    return key.split("/", 1)[0]
