"""Samples and pictures to the tensors of one micro-batch; it does not know sources, or how samples were chosen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from illume.core.errors import DataError
from illume.data.sample import Sample
from illume.data.sources import Size

PADDING = -1  # the segment of a position that belongs to no sample

B = TypeVar("B", "ImageBatch", "SequenceBatch")


@dataclass(frozen=True)
class ImageBatch:
    """Pictures and what is said of them. `views`: further pictures, each sharing one aspect with those of `pixels`."""

    pixels: Float[Tensor, "b 3 h w"]
    captions: tuple[str, ...]
    keys: tuple[str, ...]  # of the samples: source and item
    views: tuple[Float[Tensor, "b 3 h w"], ...] = ()

    def to(self, device: torch.device | str) -> "ImageBatch":
        return _moved(self, device)


@dataclass(frozen=True)
class SequenceBatch:
    """Packed rows.

    The samples of a row are its segments 0, 1, ...; positions restart at 0 in each; what is left of a row is padding
    (segment -1, id 0, no loss). `branches` are those of joined samples (data/sample.py: join), 0 elsewhere. Images are
    all of one size, each there once however often it is read. For each level, the flat position (row * t + column)
    `slot_index[level][i]` takes feature `slot_source[level][i]`, counted over [n * features of an image at that level].
    """

    ids: Int[Tensor, "b t"]
    positions: Int[Tensor, "b t"]
    segments: Int[Tensor, "b t"]
    branches: Int[Tensor, "b t"]
    loss_mask: Bool[Tensor, "b t"]
    places: Int[Tensor, "b t 3"]
    images: Float[Tensor, "n 3 h w"]
    slot_index: tuple[Int[Tensor, " s"], ...]
    slot_source: tuple[Int[Tensor, " s"], ...]
    image_keys: tuple[str, ...]  # of `images`, for whoever keeps the features of a frozen encoder
    tasks: tuple[tuple[str, ...], ...]  # of each row's segments
    keys: tuple[str, ...]  # of the samples: source and item

    def to(self, device: torch.device | str) -> "SequenceBatch":
        return _moved(self, device)


def collate(
    rows: Sequence[Sequence[Sample]],
    image: Callable[[str], np.ndarray],
    *,
    num_levels: int,
    size: Size,
    length: int | None = None,
) -> SequenceBatch:
    """The batch of these packed rows. `image` gives uint8 [h, w, 3] pixels of `size` for a key.

    Rows are as long as the longest of them, or `length`. An empty row is all padding. DataError if an image has another
    size, or two images disagree in their number of slots.
    """
    longest = max(sum(map(len, row)) for row in rows)
    length = longest if length is None else length
    if longest > length:
        raise DataError(f"a row of {longest} ids does not fit into rows of {length}")
    keys = tuple(dict.fromkeys(run.image for row in rows for sample in row for run in sample.slots))
    slot_index, slot_source = _slots(rows, keys, length, num_levels)
    return SequenceBatch(
        **_grids(rows, length),
        images=to_pixels([image(key) for key in keys], keys, size),
        slot_index=slot_index,
        slot_source=slot_source,
        image_keys=keys,
        tasks=tuple(tuple(sample.task for sample in row) for row in rows),
        keys=tuple(sample.name for row in rows for sample in row),
    )


def to_pixels(images: Sequence[np.ndarray], names: Sequence[str], size: Size) -> Float[Tensor, "n 3 h w"]:
    """uint8 [h, w, 3] pictures as pixels in [-1, 1]; DataError naming the first that is not of `size`."""
    for picture, name in zip(images, names, strict=True):
        if picture.shape != (*size, 3):
            raise DataError(f"the image {name!r} has shape {picture.shape}; all images of a batch must be {size} by 3")
    stacked = np.stack(images) if images else np.zeros((0, *size, 3), np.uint8)
    return (
        torch.from_numpy(stacked).permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format) / 127.5
        - 1
    )


def _grids(rows: Sequence[Sequence[Sample]], length: int) -> dict[str, Tensor]:
    shape = (len(rows), length)
    ids, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    segments, branches = np.full(shape, PADDING, np.int64), np.zeros(shape, np.int64)
    loss_mask, places = np.zeros(shape, np.bool_), np.full((*shape, 3), -1, np.int64)
    for number, row in enumerate(rows):
        start = 0
        for segment, sample in enumerate(row):
            span = number, slice(start, start + len(sample))
            ids[span] = sample.ids
            positions[span] = sample.positions
            segments[span] = segment
            branches[span] = 0 if sample.branches is None else sample.branches
            loss_mask[span] = sample.loss_mask
            places[span] = sample.places
            start += len(sample)
    return {
        "ids": torch.from_numpy(ids),
        "positions": torch.from_numpy(positions),
        "segments": torch.from_numpy(segments),
        "branches": torch.from_numpy(branches),
        "loss_mask": torch.from_numpy(loss_mask),
        "places": torch.from_numpy(places),
    }


def _slots(
    rows: Sequence[Sequence[Sample]], keys: Sequence[str], length: int, num_levels: int
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    number_of = {key: number for number, key in enumerate(keys)}
    starts: list[list[int]] = [[] for _ in range(num_levels)]
    images: list[list[int]] = [[] for _ in range(num_levels)]
    counts: list[set[int]] = [set() for _ in range(num_levels)]
    for number, row in enumerate(rows):
        base = number * length
        for sample in row:
            for run in sample.slots:
                starts[run.level].append(base + run.start)
                images[run.level].append(number_of[run.image])
                counts[run.level].add(run.count)
            base += len(sample)
    runs = [_runs(starts[level], images[level], counts[level], level) for level in range(num_levels)]
    return tuple(index for index, _ in runs), tuple(source for _, source in runs)


def _runs(starts: list[int], images: list[int], counts: set[int], level: int) -> tuple[Tensor, Tensor]:
    if len(counts) > 1:
        raise DataError(
            f"images of {sorted(counts)} slots at level {level} stand in one batch; they must all have as many"
        )
    inner = np.arange(max(counts, default=0))
    index = (np.array(starts, np.int64)[:, None] + inner).reshape(-1)
    source = (np.array(images, np.int64)[:, None] * len(inner) + inner).reshape(-1)
    return torch.from_numpy(index), torch.from_numpy(source)


def _moved(batch: B, device: torch.device | str) -> B:
    return replace(batch, **{field.name: _sent(getattr(batch, field.name), device) for field in fields(batch)})


def _sent(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, tuple) and value and isinstance(value[0], Tensor):
        return tuple(_sent(item, device) for item in value)
    return value
