"""Rows of a batch through the model: stretches of ids in, the hidden state behind each row's last id out.

It knows tensors and the cache, but neither requests nor grammar nor sampling.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from illume.generate import cache
from illume.generate.cache import StaticCache
from illume.generate.request import Pixels
from illume.generate.sequence import Features, Stretch
from illume.generate.steps import Steps
from illume.generate.tier import Tier
from illume.models.unified import Unified
from illume.models.vision_encoder import VisionEncoder
from illume.vocab.layout import Place
from illume.vocab.messages import Grid

STRIDE = 32  # in fast mode attention covers as many positions as the longest row needs, in steps of this
_NOWHERE: Place = (-1, -1, -1)
_NOTHING = Stretch()


@dataclass(eq=False)
class Job:
    """A stretch to be read into a row, and the features of the images that its slots show; `at` is the first of its
    positions that is not in the row yet."""

    row: int
    stretch: Stretch
    features: Mapping[str, Features]
    at: int = 0

    def __post_init__(self) -> None:
        runs = self.stretch.slots
        self.slots = [run.start + i for run in runs for i in range(run.grid[0] * run.grid[1])]
        self.embeds = torch.cat([self.features[str(run.image)][run.level] for run in runs]) if runs else None

    @property
    def left(self) -> int:
        """How many positions are still to be read."""
        return len(self.stretch) - self.at


class _Rows:
    """Some rows of a cache: what a forward over only them reads and writes."""

    def __init__(self, cache: StaticCache, rows: Sequence[int]) -> None:
        self.cache = cache
        self.rows = torch.tensor(rows, device=cache.keys[0].device)[:, None]
        dense = len(rows) == rows[-1] - rows[0] + 1  # in order and without gaps: read in place
        self.index = slice(rows[0], rows[-1] + 1) if dense else self.rows[:, 0]

    def update(
        self,
        layer: int,
        keys: Float[Tensor, "b g t e"],
        values: Float[Tensor, "b g t e"],
        positions: Int[Tensor, "b t"],
    ) -> tuple[Float[Tensor, "b g s e"], Float[Tensor, "b g s e"]]:
        where = torch.where(positions < 0, self.cache.length, positions)
        seen = self.cache.visible
        found = []
        for kept, new in ((self.cache.keys[layer], keys), (self.cache.values[layer], values)):
            kept[self.rows, :, where] = new.transpose(1, 2)
            found.append(kept[self.index, :, :seen])
        return found[0], found[1]

    def mask(self, positions: Int[Tensor, "b t"]) -> Bool[Tensor, "b 1 t s"]:
        return self.cache.mask(positions)


def row_bytes(model: Unified, length: int, tier: Tier | None) -> int:
    """Bytes of memory in which each row of a runner keeps a conversation of this length."""
    config = model.config.decoder
    return cache.row_bytes(config.layers, config.kv_heads, length, config.head_dim, _kept_dtype(model, tier))


def _kept_dtype(model: Unified, tier: Tier | None) -> torch.dtype:
    weight = model.embedding.text
    return weight.dtype if tier is None else tier.stream_dtype(weight.device)


class Runner:
    """A model with a fixed number of rows.

    With a `tier`, fast: a forward covers the rows that need it and as much of the cache as they fill. Without, strict:
    it is the model's own, and every one has one of two shapes, all rows by one position or one row by `chunk`
    positions, over the whole cache, so that a row's numbers are bit for bit the same whatever the others do. `drafts`:
    so many ids that may not stand are read behind a certain one.
    """

    def __init__(self, model: Unified, rows: int, length: int, chunk: int, tier: Tier | None, drafts: int = 0) -> None:
        config, weight = model.config.decoder, model.embedding.text
        self.model = model
        self.rows = rows
        self.chunk = chunk
        self.strict = tier is None
        self.device, self.dtype = weight.device, weight.dtype
        self.cache = StaticCache(
            rows,
            config.layers,
            config.kv_heads,
            length,
            config.head_dim,
            dtype=_kept_dtype(model, tier),
            device=self.device,
            stride=None if tier is None else STRIDE,
        )
        self.steps = None if tier is None else Steps(model, tier, self.cache, chunk, drafts)
        self._versions = _versions(model)
        dtype = self.dtype if tier is None else tier.dtype
        self.hidden = torch.zeros(rows, config.width, dtype=dtype, device=self.device)

    def grids(self, pixels: Pixels) -> tuple[Grid, ...]:
        """The grids of the features that the model reads from this image. ModelError where its size does not divide."""
        return cast(VisionEncoder, self.model.vision_encoder).grids((pixels.shape[1], pixels.shape[2]))

    def see(self, images: Sequence[Pixels]) -> list[Features]:
        """The features of images, one tensor a level; equal sizes are read together."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, pixels in enumerate(images):
            groups.setdefault((i,) if self.strict else tuple(pixels.shape), []).append(i)
        found: dict[int, Features] = {}
        for group in groups.values():
            for start in range(0, len(group), self.rows):
                some = group[start : start + self.rows]
                pixels = torch.stack([images[i] for i in some]).to(self.device, self.dtype)
                levels = [level.unbind() for level in self.model.read(pixels)]
                found |= {i: tuple(level[n] for level in levels) for n, i in enumerate(some)}
        return [found[i] for i in range(len(images))]

    def follow(self) -> bool:
        """Take over what has changed in the model's weights; whether anything has. Not while a row is in use."""
        before, self._versions = self._versions, _versions(self.model)
        changed = self._versions != before
        if changed and self.steps is not None:
            self.steps.lay_out()
        return changed

    def prepare(self, tell: Callable[[str], None]) -> None:
        """Have all steps compiled, or recorded, that may be asked for; which one is next, is told."""
        if self.steps is None:
            return
        for kind in self.steps.kinds():
            tell(f"{kind[0]} rows, {kind[1]} ids each, {kind[2]} positions")
            self.steps.prepare(kind)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that a forward of one id a row reads, head included."""
        if self.steps is not None:
            return self.steps.forward.weight_bytes
        read = (*self.model.decoder.parameters(), *self.model.head.parameters())
        return sum(one.numel() * one.element_size() for one in read)

    def clear(self, row: int) -> None:
        """Let a row start over."""
        self.cache.clear(row)

    def rewind(self, row: int, count: int) -> None:
        """Let a row forget the last positions that it took in."""
        self.cache.rewind(row, count)

    def recall(self, source: int, row: int, count: int) -> None:
        """Let a row start over with the first positions that another holds, or that it held itself."""
        self.cache.recall(source, row, count)

    def read(self, jobs: Sequence[Job]) -> None:
        """Take the next chunk of each job into its row; the hidden state of a row is ready when its job is done."""
        for batch in [[job] for job in jobs] if self._alone(jobs) else [sorted(jobs, key=lambda job: job.row)]:
            self._read_chunk(batch)

    def _alone(self, jobs: Sequence[Job]) -> bool:
        """Whether each is read by a forward of its own."""
        if self.steps is None:
            return True
        return self.steps.read_alone(len(jobs)) and not any(job.slots for job in jobs)

    def _read_chunk(self, jobs: Sequence[Job]) -> None:
        """One forward of at most a chunk of positions of each of these jobs, which are in the order of their rows."""
        width = self.chunk if self.strict else min(self.chunk, max(job.left for job in jobs))
        counts = [min(job.left, width) for job in jobs]
        ids = [_padded(job.stretch.ids[job.at : job.at + width], width, 0) for job in jobs]
        places = [_padded(job.stretch.places[job.at : job.at + width], width, None) for job in jobs]
        index, embeds = self._slots(jobs, width)
        rows = [job.row for job in jobs]
        hidden = self._forward(rows, counts, ids, places, width, index, embeds)
        for job, count in zip(jobs, counts, strict=True):
            job.at += count
        self._keep(hidden, rows, [count if job.left == 0 else 0 for job, count in zip(jobs, counts, strict=True)])

    def _keep(self, hidden: Float[Tensor, "b t d"], rows: Sequence[int], counts: Sequence[int]) -> None:
        """Remember the hidden state behind the last of each row's `counts` positions; none of a row without any."""
        which = [n for n, count in enumerate(counts) if count]
        if which:
            last = [counts[n] - 1 for n in which]
            self.hidden[[rows[n] for n in which]] = hidden[which, last]

    def _slots(self, jobs: Sequence[Job], width: int) -> tuple[Tensor | None, Tensor | None]:
        """The slots within a chunk: their flat positions, and the embeds to put there."""
        index, embeds = [], []
        for n, job in enumerate(jobs):
            low, high = bisect_left(job.slots, job.at), bisect_left(job.slots, job.at + width)
            if job.embeds is not None and low < high:
                index += [n * width + position - job.at for position in job.slots[low:high]]
                embeds.append(job.embeds[low:high])
        if not index:
            return None, None
        return torch.tensor(index, device=self.device), torch.cat(embeds)

    def advance(self, nexts: Mapping[int, Stretch], wanted: Sequence[tuple[int, int]] = ()) -> Float[Tensor, "n d"]:
        """One forward of what each row that goes on has just written: an id, or several where some were certain.

        Returns the hidden states behind the `wanted` ids of it: pairs of a row and which of its ids, from 0.
        """
        rows = range(self.rows) if self.strict else range(min(nexts), max(nexts) + 1)
        taken = [nexts.get(row, _NOTHING) for row in rows]
        counts = [len(stretch) for stretch in taken]
        width = max(counts)
        ids = [_padded(stretch.ids, width, 0) for stretch in taken]
        places = [_padded(stretch.places, width, None) for stretch in taken]
        hidden = self._forward(rows, counts, ids, places, width)
        self._keep(hidden, rows, counts)
        if not wanted:
            return hidden[:0, 0]
        return hidden[[row - rows.start for row, _ in wanted], [which for _, which in wanted]]

    def _forward(
        self,
        rows: Sequence[int],
        counts: Sequence[int],
        ids: list[list[int]],
        places: list[list[Place | None]],
        width: int,
        slot_index: Tensor | None = None,
        slot_embeds: Tensor | None = None,
    ) -> Float[Tensor, "b t d"]:
        reserved = [0] * self.rows
        for row, count in zip(rows, counts, strict=True):
            reserved[row] = count
        positions = self.cache.reserve(reserved)
        if positions.shape[1] < width:
            positions = torch.nn.functional.pad(positions, (0, width - positions.shape[1]), value=-1)
        some = _Rows(self.cache, rows)
        if self.steps is not None:
            return self.steps(rows, ids, positions[some.index], places, slot_index, slot_embeds)
        found = [[_NOWHERE if place is None else place for place in row] for row in places]
        return self.model(
            torch.tensor(ids, device=self.device),
            positions[some.index],
            places=torch.tensor(found, device=self.device),
            slot_index=slot_index,
            slot_embeds=slot_embeds,
            cache=some,
        )

    def logits(self, rows: Sequence[int], ids: range) -> Float[Tensor, "b v"]:
        """Logits of a run of ids behind the last id of each of these rows; no other row of the head is read."""
        index = torch.tensor(rows, device=self.device)
        if self.steps is None:
            return self.model.head.logits(self.hidden, ids)[index]
        return self.steps.logits(self.hidden[index], ids)

    def logits_of(self, hidden: Float[Tensor, "b d"], ids: range) -> Float[Tensor, "b v"]:
        """Logits of a run of ids in any states that a forward has shown."""
        return (self.model.head if self.steps is None else self.steps).logits(hidden, ids)


def _versions(model: Unified) -> list[tuple[int, int]]:
    """Other numbers once a weight has changed; those made in inference mode have none."""
    return [(id(one), 0 if one.is_inference() else one._version) for one in model.parameters()]


def _padded(row: list, width: int, value: object) -> list:
    return row + [value] * (width - len(row))
