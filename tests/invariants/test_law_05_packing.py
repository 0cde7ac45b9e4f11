"""Law 5, the data half: packed rows hold exactly the samples, each with positions and a segment of its own."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fixtures.sequences import ONE_LEVEL, TWO_LEVELS, world_loader
from illume.data.collate import SequenceBatch, collate
from illume.data.loader import SequenceLoader
from illume.data.sample import Sample
from illume.vocab.messages import Grid


def unpacked(batch: SequenceBatch) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    """(task, row, positions in it) of every segment of a batch."""
    found = []
    for row, tasks in enumerate(batch.tasks):
        there = batch.segments[row].unique().tolist()
        assert [segment for segment in there if segment >= 0] == list(range(len(tasks)))
        found += [(task, row, (batch.segments[row] == segment).nonzero()[:, 0]) for segment, task in enumerate(tasks)]
    return found


Slot = tuple[int, str, int]  # position in its sample, image, feature of that image


def slots_of(sample: Sample, level: int) -> list[Slot]:
    runs = [run for run in sample.slots if run.level == level]
    return [(run.start + i, run.image, i) for run in runs for i in range(run.count)]


def slots_in(batch: SequenceBatch, row: int, where: torch.Tensor, level: int, per_image: int) -> list[Slot]:
    """The slots of one segment of a batch, whose images have `per_image` features at this level."""
    start, stop = row * batch.ids.shape[1] + int(where[0]), row * batch.ids.shape[1] + int(where[-1])
    pairs = zip(batch.slot_index[level].tolist(), batch.slot_source[level].tolist(), strict=True)
    return [
        (index - start, batch.image_keys[source // per_image], source % per_image)
        for index, source in pairs
        if start <= index <= stop
    ]


def check_rows(rows: list[list[Sample]], batch: SequenceBatch, grids: tuple[Grid, ...]) -> None:
    """The batch is those rows and nothing else."""
    samples = [sample for row in rows for sample in row]
    segments = unpacked(batch)
    assert batch.keys == tuple(sample.name for sample in samples)
    assert len(segments) == len(samples)
    for (task, row, where), sample in zip(segments, samples, strict=True):
        assert task == sample.task
        assert torch.equal(where, torch.arange(len(sample)) + where[0]), "a segment is one stretch"
        assert batch.ids[row, where].tolist() == sample.ids.tolist()
        assert batch.loss_mask[row, where].tolist() == sample.loss_mask.tolist()
        assert batch.places[row, where].tolist() == sample.places.tolist()
        assert batch.positions[row, where].tolist() == sample.positions.tolist(), "positions restart"
        branches = [0] * len(sample) if sample.branches is None else sample.branches.tolist()
        assert batch.branches[row, where].tolist() == branches
        for level, (height, width) in enumerate(grids):
            assert slots_in(batch, row, where, level, height * width) == slots_of(sample, level)
    padding = batch.segments < 0
    assert int((~padding).sum()) == sum(map(len, samples))
    assert not batch.loss_mask[padding].any()
    assert (batch.places[padding] == -1).all()


def check_loader(loader: SequenceLoader, step: int) -> None:
    rows, samples = loader.rows(step), loader.samples(step)
    assert sorted(s.name for row in rows for s in row) == sorted(s.name for s in samples), "every sample, once"
    assert all(sum(map(len, row)) <= loader.row_length for row in rows)
    groups = loader.share.split(rows, loader.rows_per_batch)
    for group, batch in zip(groups, loader.batches(step), strict=True):
        check_rows(group, batch, loader.examples.pictures.frame.grids)
        pixels = np.stack([loader.gallery.image(key) for key in batch.image_keys])
        assert torch.allclose(batch.images.permute(0, 2, 3, 1) * 127.5 + 127.5, torch.from_numpy(pixels).float())


@pytest.mark.parametrize("grids", [ONE_LEVEL, TWO_LEVELS])
@pytest.mark.parametrize("fixed_length", [False, True])
def test_packed_rows_hold_exactly_the_samples(grids: tuple[Grid, ...], fixed_length: bool) -> None:
    loader = world_loader(grids, fixed_length=fixed_length)
    for step in range(3):
        check_loader(loader, step)
    assert max(len(row) for row in loader.rows(0)) > 1, "nothing was packed, so nothing was tested"


BROKEN = {
    "positions run on": lambda b: replace(b, positions=torch.arange(b.ids.shape[1]).expand_as(b.ids)),
    "one segment a row": lambda b: replace(b, segments=b.segments.clamp(max=0)),
    "one branch": lambda b: replace(b, branches=b.branches * 0),
    "ids shifted": lambda b: replace(b, ids=b.ids.roll(1, dims=1)),
    "loss on padding": lambda b: replace(b, loss_mask=b.loss_mask | (b.segments < 0)),
    "places of the next": lambda b: replace(b, places=b.places.roll(-1, dims=1)),
    "slots shifted": lambda b: replace(b, slot_index=tuple(index + 1 for index in b.slot_index)),
    "another image's slots": lambda b: replace(b, slot_source=tuple(source.flip(0) for source in b.slot_source)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_packing_law_catches(name: str) -> None:
    loader = world_loader(TWO_LEVELS, fixed_length=True)
    rows = loader.rows(0)
    good = collate(rows, loader.gallery.image, num_levels=2, size=loader.gallery.size, length=loader.row_length)
    check_rows(rows, good, TWO_LEVELS)
    with pytest.raises(AssertionError):
        check_rows(rows, BROKEN[name](good), TWO_LEVELS)
