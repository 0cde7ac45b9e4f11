"""Law 6, the data half: a step's batches are a function of the step alone: after a resume, at any world size."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch

from fixtures.sequences import TWO_LEVELS, world_images, world_loader, world_mixture
from illume.data.augment import Augment
from illume.data.collate import ImageBatch, SequenceBatch
from illume.data.loader import ImageLoader, Share
from illume.data.prefetch import Prefetch

Make = Callable[[Share], Any]  # a loader of one process
STEPS = 6


def sequences(share: Share) -> Any:
    return world_loader(TWO_LEVELS, share)


def images(share: Share) -> Any:
    augment = Augment(flip=True, shift=2)
    return ImageLoader(
        world_mixture(("caption", "edit")), batch_size=12, images_per_batch=4, augment=augment, share=share
    )


OPEN: list[Prefetch] = []


def prefetched(share: Share) -> Any:
    OPEN.append(Prefetch(world_loader(TWO_LEVELS, share)))
    return OPEN[-1]


@pytest.fixture(autouse=True)
def _end_threads() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def same(a: Sequence[Any], b: Sequence[Any]) -> bool:
    return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, SequenceBatch | ImageBatch):
        return all(_same(getattr(a, name), getattr(b, name)) for name in vars(a))
    if isinstance(a, tuple):
        return same(a, b)
    return bool(a == b)


def samples_of(batches: Sequence[Any]) -> list[tuple[str, Any]]:
    """Every sample of some batches, by name, with what it says."""
    return [item for batch in batches for item in _samples(batch)]


def _samples(batch: Any) -> list[tuple[str, Any]]:
    if isinstance(batch, ImageBatch):
        return [(key, pixels.sum().item()) for key, pixels in zip(batch.keys, batch.pixels, strict=True)]
    places = [(row, segment) for row, tasks in enumerate(batch.tasks) for segment in range(len(tasks))]
    where = [(row, batch.segments[row] == segment) for row, segment in places]
    return [(key, tuple(batch.ids[row, mask].tolist())) for key, (row, mask) in zip(batch.keys, where, strict=True)]


def check_resume(make: Make) -> None:
    """A loader that starts in the middle goes on as the one that was there from the start."""
    first = make(Share())
    uninterrupted = [first.batches(step) for step in range(STEPS)]
    for start in (0, 2, STEPS - 1):
        resumed = make(Share())
        assert all(same(resumed.batches(step), uninterrupted[step]) for step in range(start, STEPS))
    assert same(first.batches(1), uninterrupted[1]), "asking again gives the same"


def check_world_sizes(make: Make) -> None:
    """The ranks' shares are disjoint, together the samples of one process, and equally many micro-batches."""
    for step in range(STEPS):
        alone = Counter(samples_of(make(Share()).batches(step)))
        for world_size in (2, 3):
            ranks = [make(Share(rank, world_size)).batches(step) for rank in range(world_size)]
            assert len({len(batches) for batches in ranks}) == 1
            assert Counter(sample for batches in ranks for sample in samples_of(batches)) == alone


MAKES = [sequences, images, prefetched]


@pytest.mark.parametrize("make", MAKES)
def test_resumed_loader_goes_on_as_if_never_stopped(make: Make) -> None:
    check_resume(make)


@pytest.mark.parametrize("make", MAKES)
def test_every_world_size_sees_the_same_samples(make: Make) -> None:
    check_world_sizes(make)


def test_batches_differ_from_step_to_step() -> None:
    loader = sequences(Share())
    assert not same(loader.batches(0), loader.batches(1))


class Stateful:
    """A loader that counts for itself: wrong after a resume."""

    def __init__(self, share: Share) -> None:
        self.loader, self.count = sequences(share), -1

    def batches(self, step: int) -> Any:
        self.count += 1
        return self.loader.batches(self.count)


class Unshared:
    """A loader whose ranks all take everything."""

    def __init__(self, share: Share) -> None:
        self.loader = sequences(Share())

    def batches(self, step: int) -> Any:
        return self.loader.batches(step)


class SeededByRank:
    """A loader in which every rank draws for itself: another world size, other samples."""

    def __init__(self, share: Share) -> None:
        self.loader = ImageLoader(world_mixture(("caption",), seed=share.rank), batch_size=12, share=share)

    def batches(self, step: int) -> Any:
        return self.loader.batches(step)


def test_the_resume_law_catches_a_loader_with_state() -> None:
    with pytest.raises(AssertionError):
        check_resume(Stateful)


@pytest.mark.parametrize("broken", [Unshared, SeededByRank])
def test_the_world_size_law_catches(broken: Make) -> None:
    with pytest.raises(AssertionError):
        check_world_sizes(broken)


def test_a_rank_without_rows_takes_part_with_padding() -> None:
    loaders = [world_loader(share=Share(rank, 5), batch_size=2, rows_per_batch=1) for rank in range(5)]
    batches = [loader.batches(0) for loader in loaders]
    assert [len(b) for b in batches] == [1] * 5
    empty = batches[-1][0]
    assert empty.keys == ()
    assert not empty.loss_mask.any()
    assert (empty.segments < 0).all()
    assert empty.images.shape == (0, 3, *world_images().size)
