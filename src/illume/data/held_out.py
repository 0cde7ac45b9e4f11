"""Which records of collections training never sees, with their images; it does not know what will be asked of them.

A record goes by its first image, one without images by what it says: a hash of that name or text alone decides, so
that it is the same whatever else is in a mixture and wherever it stands on disk.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from illume.core.errors import DataError
from illume.core.streams import seed_of
from illume.data.collection import OpenCollection
from illume.data.examples import texts_of
from illume.data.masked import source_name
from illume.data.records import Record


@dataclass(frozen=True)
class Parted:
    """Collections by name: what is trained on, and what is held out (only those of which something is)."""

    train: Mapping[str, OpenCollection]
    held_out: Mapping[str, OpenCollection]


def parted(collections: Mapping[str, OpenCollection], fraction: float) -> Parted:
    """Hold out a share of the images, and of the records without any.

    Training also loses every other record that shows an image of a held-out one, in whatever collection: an edit's
    target, another question about a picture. Files of the same content under two names are not known to be one picture
    (`illume data check` finds them). DataError where nothing is held out, or a collection has nothing left.
    """
    if not fraction:
        return Parted(dict(collections), {})
    chosen = {name: [r for r in one.records if is_held_out(r, one, fraction)] for name, one in collections.items()}
    seen = {place for name, records in chosen.items() for place in _places(records, collections[name])}
    train = {name: opened.only(_left(opened, fraction, seen)) for name, opened in collections.items()}
    for name, opened in train.items():
        if not opened.records:
            count = len(collections[name].records)
            raise DataError(
                f"{name!r}: with held_out={fraction} none of its {count} records is left to train on: each is held "
                "out, or shows an image that is; hold out less"
            )
    if not any(chosen.values()):
        count = sum(len(opened.records) for opened in collections.values())
        raise DataError(f"held_out={fraction} holds out none of {count} records: hold out more, or nothing (0)")
    return Parted(train, {name: collections[name].only(records) for name, records in chosen.items() if records})


def is_held_out(record: Record, opened: OpenCollection, fraction: float) -> bool:
    """Whether a record is held out, by the name of its first image, mask or no mask, or by its texts."""
    if not record.images:
        key = ("text", *(" ".join(text.casefold().split()) for text in texts_of(record)))
    else:
        key = ("image", source_name(opened.images.file(record.images[0]), record.mask))
    return seed_of("held out", *key) < fraction * 2**64


def _left(opened: OpenCollection, fraction: float, seen: set[str]) -> list[Record]:
    """The records that are not held out and show none of these images."""
    kept = (record for record in opened.records if not is_held_out(record, opened, fraction))
    return [record for record in kept if seen.isdisjoint(_places([record], opened))]


def _places(records: Iterable[Record], opened: OpenCollection) -> set[str]:
    """Where the images of records are, the same for two collections that share a file."""
    images = opened.images
    return {os.path.realpath(images.stored.place(images.file(key))) for record in records for key in record.images}
