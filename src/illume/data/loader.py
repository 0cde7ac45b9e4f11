"""Loaders turn a step's number into this rank's micro-batches, purely; they know neither models nor training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from illume.core.errors import ConfigError, DataError, IllumeError
from illume.core.streams import seed_of
from illume.data.augment import Augment
from illume.data.collate import ImageBatch, SequenceBatch, collate, to_pixels
from illume.data.examples import Examples
from illume.data.mixture import Draw, Mixture
from illume.data.packing import pack
from illume.data.sample import Sample
from illume.data.sources import Images, Size, Source, Viewed, name_of

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """Which part of every step is this process's."""

    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ConfigError(f"rank {self.rank} does not exist among {self.world_size} processes")

    def split(self, items: Sequence[T], most: int, least_groups: int = 1) -> list[list[T]]:
        """This rank's items in groups of at most `most`, and in at least so many groups.

        The ranks' items are disjoint and together all. Every rank has as many groups, whatever its number of items
        (sharded models run in step): where they cannot be filled, the last are empty.
        """
        fullest = -(-len(items) // self.world_size)
        groups = max(-(-fullest // most), least_groups)
        own = items[self.rank :: self.world_size]
        return [list(own[number::groups]) for number in range(groups)]


class Gallery:
    """The pictures of all sources of a mixture by key, all of one size."""

    def __init__(self, mixture: Mixture) -> None:
        """ConfigError if the sources' images differ in size, or different ones go by the same name."""
        self._by_name: dict[str, Images] = {}
        for source in mixture.sources:
            known = self._by_name.setdefault(source.images.name, source.images)
            if known is not source.images and known.fingerprint != source.images.fingerprint:
                raise ConfigError(
                    f"different images are both called {known.name!r}: give the sources' images other names"
                )
        sizes = {images.size for images in self._by_name.values()}
        if len(sizes) > 1:
            raise ConfigError(f"the images of one mixture have to be of one size, not {sorted(sizes)}")
        self.size: Size = sizes.pop()

    def image(self, key: str) -> np.ndarray:
        return self._by_name[name_of(key)].image(key)


class SequenceLoader:
    """Packed rows of rendered samples, for the language model.

    A step is `batch_size` samples, packed together into rows of `row_length`, whatever the number of processes; the
    rows are dealt out to the ranks, in micro-batches of at most `rows_per_batch`, at least `accumulate` of them. Rows
    are cut to the longest of their micro-batch unless `fixed_length` says otherwise (one shape for a compiled model).
    """

    def __init__(
        self,
        mixture: Mixture,
        examples: Examples,
        *,
        batch_size: int,
        row_length: int,
        rows_per_batch: int,
        accumulate: int = 1,
        fixed_length: bool = False,
        share: Share | None = None,
    ) -> None:
        self.mixture, self.examples = mixture, examples
        self.batch_size, self.row_length, self.rows_per_batch = batch_size, row_length, rows_per_batch
        self.accumulate, self.fixed_length = accumulate, fixed_length
        self.share = share if share is not None else Share()
        self.gallery = Gallery(mixture)

    def samples(self, step: int) -> list[Sample]:
        """All samples of a step, of every rank."""
        sources = self.mixture.sources
        return [
            self.examples.sample(sources[d.source], d.item, d.epoch) for d in self.mixture.at(step, self.batch_size)
        ]

    def rows(self, step: int) -> list[list[Sample]]:
        """All packed rows of a step, of every rank."""
        samples = self.samples(step)
        packed = pack([len(s) for s in samples], self.row_length, [f"the sample {s.name}" for s in samples])
        return [[samples[index] for index in row] for row in packed]

    def batches(self, step: int) -> list[SequenceBatch]:
        """This rank's micro-batches of a step: the same ones whenever asked."""
        return [
            collate(
                group or [[]],  # a rank without a row still takes part, with a row of padding
                self.gallery.image,
                num_levels=len(self.examples.layout.read_levels),
                size=self.gallery.size,
                length=self.row_length if self.fixed_length or not group else None,
            )
            for group in self.share.split(self.rows(step), self.rows_per_batch, self.accumulate)
        ]


class ImageLoader:
    """Single pictures with their captions, for encoder, tokenizer and pixel decoder.

    A record with several images shows one of them, chosen by (seed, source, epoch, item), as is the augmentation. Where
    a source of the mixture has views, every batch has: a picture of a source without them is its own view.
    """

    def __init__(
        self,
        mixture: Mixture,
        *,
        batch_size: int,
        images_per_batch: int | None = None,
        augment: Augment | None = None,
        share: Share | None = None,
    ) -> None:
        self.mixture, self.batch_size = mixture, batch_size
        self.images_per_batch = images_per_batch if images_per_batch is not None else batch_size
        self.augment = augment
        self.share = share if share is not None else Share()
        if batch_size % self.share.world_size:  # no rank may come out with an empty batch
            raise ConfigError(
                f"batches of {batch_size} images cannot be dealt out to {self.share.world_size} processes"
            )
        self.gallery = Gallery(mixture)
        self.num_views = _num_views(mixture.sources)

    def batches(self, step: int) -> list[ImageBatch]:
        """This rank's micro-batches of a step: the same ones whenever asked."""
        draws = self.mixture.at(step, self.batch_size)
        return [self._batch(group) for group in self.share.split(draws, self.images_per_batch)]

    def _batch(self, draws: Sequence[Draw]) -> ImageBatch:
        items = [self._item(draw) for draw in draws]
        names = tuple(item.name for item in items)
        pixels, *views = (
            to_pixels([item.pictures[i] for item in items], names, self.gallery.size) for i in range(1 + self.num_views)
        )
        return ImageBatch(pixels, tuple(item.caption for item in items), names, tuple(views))

    def _item(self, draw: Draw) -> "_Item":
        source = self.mixture.sources[draw.source]
        name = f"{source.name}[{draw.item}]"
        seed = seed_of("image", self.mixture.seed, source.name, draw.epoch, draw.item)
        try:
            record = source.record(draw.item)
            if not record.images:
                raise DataError("it has no image")
            shown = record.images[seed % len(record.images)]
            views = source.views(draw.item) if isinstance(source, Viewed) else (shown,) * self.num_views
            pictures = [self.gallery.image(key) for key in (shown, *views)]
        except IllumeError as error:
            raise DataError(f"sample {name}: {error}") from error
        if self.augment is not None:
            pictures = [self.augment(picture, seed) for picture in pictures]
        return _Item(pictures, record.text, name)


class _Item(NamedTuple):
    pictures: Sequence[np.ndarray]  # its own and its views
    caption: str
    name: str


def _num_views(sources: Sequence[Source]) -> int:
    """How many views a picture has. ConfigError where sources disagree."""
    counts = {len(source.views(0)) for source in sources if isinstance(source, Viewed)}
    if len(counts) > 1:
        raise ConfigError(f"sources of one mixture have {sorted(counts)} views of a picture: it has to be one number")
    return counts.pop() if counts else 0
