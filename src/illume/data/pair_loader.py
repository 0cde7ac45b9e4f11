"""Preference pairs to batches, purely by the step's number; it knows neither models nor what a preference is worth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from illume.core.errors import DataError
from illume.data.collate import SequenceBatch, collate
from illume.data.loader import Share
from illume.data.packing import pack
from illume.data.permutation import permuted
from illume.data.sample import Sample
from illume.data.sources import Size

SamplePair = tuple[Sample, Sample]  # the preferred one first


@dataclass(frozen=True)
class PairBatch:
    """Packed rows in which the two samples of each pair stand side by side, the preferred one first.

    `reference` [pairs, 2]: what the log-probabilities of the two are measured against, in nats; zero where unknown.
    """

    rows: SequenceBatch
    reference: Float[Tensor, "p 2"]
    keys: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.reference)

    def to(self, device: torch.device | str) -> "PairBatch":
        return replace(self, rows=self.rows.to(device), reference=self.reference.to(device))


class PairLoader:
    """`batch_size` pairs a step, over all processes, every pair once an epoch, in an order of the epoch's own.

    Both of a pair are packed into one row: they are learnt from together.
    """

    def __init__(
        self,
        pairs: Sequence[SamplePair],
        *,
        batch_size: int,
        row_length: int,
        rows_per_batch: int,
        num_levels: int,
        size: Size,
        seed: int = 0,
        share: Share | None = None,
    ) -> None:
        """DataError without pairs. `num_levels` and `size` are those of images that are read; here none is."""
        if not pairs:
            raise DataError("there is no pair to learn from")
        self.pairs = tuple(pairs)
        self.reference = torch.zeros(len(pairs), 2)
        self.batch_size, self.row_length, self.rows_per_batch = batch_size, row_length, rows_per_batch
        self.num_levels, self.size, self.seed = num_levels, size, seed
        self.share = share if share is not None else Share()

    def at(self, step: int) -> list[int]:
        """The pairs of a step."""
        places = (
            divmod(number, len(self.pairs)) for number in range(step * self.batch_size, (step + 1) * self.batch_size)
        )
        return [permuted(place, len(self.pairs), self.seed, "pairs", epoch) for epoch, place in places]

    def batches(self, step: int) -> list[PairBatch]:
        """This rank's micro-batches of a step: the same ones whenever asked."""
        return self._batched(self.at(step), self.share)

    def all(self) -> list[tuple[list[int], PairBatch]]:
        """Every pair once, in micro-batches, with their numbers, on whichever rank it is asked."""
        some = [
            list(range(start, min(start + self.batch_size, len(self.pairs))))
            for start in range(0, len(self.pairs), self.batch_size)
        ]
        return [(group, self._collated([group])) for numbers in some for group in self._rows(numbers)]

    def _batched(self, numbers: Sequence[int], share: Share) -> list[PairBatch]:
        return [self._collated(group) for group in share.split(self._rows(numbers), self.rows_per_batch)]

    def _rows(self, numbers: Sequence[int]) -> list[list[int]]:
        lengths = [sum(map(len, self.pairs[number])) for number in numbers]
        names = [f"the pair {self.pairs[number][0].name}" for number in numbers]
        return [[numbers[place] for place in row] for row in pack(lengths, self.row_length, names)]

    def _collated(self, rows: Sequence[Sequence[int]]) -> PairBatch:
        """A batch of rows of pairs; of none, a row of padding: every rank takes part."""
        numbers = [number for row in rows for number in row]
        samples = [[sample for number in row for sample in self.pairs[number]] for row in rows] or [[]]
        length = None if numbers else self.row_length
        batch = collate(samples, no_image, num_levels=self.num_levels, size=self.size, length=length)
        return PairBatch(batch, self.reference[numbers], tuple(self.pairs[number][0].name for number in numbers))


def no_image(key: str) -> np.ndarray:
    """The pictures that a drawing's prompt shows: none. DataError."""
    raise DataError(f"the image {key!r} is to be read, but drawings are learnt from their prompts' words alone")
