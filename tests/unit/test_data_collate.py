"""Collation: what a batch refuses, shares and moves (what it holds is law 5's)."""

import numpy as np
import pytest
import torch

from fixtures.sequences import world_loader
from illume.core.errors import DataError, FormatError
from illume.data.collate import collate, to_pixels
from illume.data.sample import Sample, SlotRun, sample_of
from illume.images.ops import from_pixels
from illume.vocab.format import Rendered, Slots

SIZE = (4, 4)


def sample(length: int = 5, *slots: SlotRun) -> Sample:
    """Ids 1, 2, ... and nothing else, unless slots are given."""
    places = np.full((length, 3), -1, np.int16)
    return Sample("s[0]", "text", np.arange(1, length + 1, dtype=np.int32), np.zeros(length, np.bool_), places, slots)


def picture(key: str) -> np.ndarray:
    return np.full((*SIZE, 3), ord(key[0]), np.uint8)


def test_an_image_read_twice_is_there_once() -> None:
    rows = [[sample(5, SlotRun(0, 0, 2, "a"), SlotRun(2, 0, 2, "b"))], [sample(5, SlotRun(1, 0, 2, "a"))]]
    batch = collate(rows, picture, num_levels=1, size=SIZE)
    assert batch.image_keys == ("a", "b")
    assert batch.images.shape == (2, 3, *SIZE)
    assert batch.slot_index[0].tolist() == [0, 1, 2, 3, 6, 7]
    assert batch.slot_source[0].tolist() == [0, 1, 2, 3, 0, 1]


def test_without_images_shapes_stay_whole() -> None:
    batch = collate([[sample()], []], picture, num_levels=2, size=SIZE, length=8)
    assert batch.ids.shape == (2, 8)
    assert batch.images.shape == (0, 3, *SIZE)
    assert [len(index) for index in batch.slot_index] == [0, 0]
    assert batch.tasks == (("text",), ())


def test_pixels_are_those_of_the_picture() -> None:
    random = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    pixels = to_pixels([random], ["a"], SIZE)
    assert pixels.is_contiguous()
    assert np.array_equal(np.asarray(from_pixels(pixels[0].numpy())), random)
    assert (pixels.min() >= -1, pixels.max() <= 1) == (True, True)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="'b' has shape"):
        to_pixels([picture("a"), np.zeros((5, 4, 3), np.uint8)], ["a", "b"], SIZE)
    with pytest.raises(DataError, match=r"images of \[2, 3\] slots at level 0"):
        collate([[sample(9, SlotRun(0, 0, 2, "a"), SlotRun(2, 0, 3, "b"))]], picture, num_levels=1, size=SIZE)
    with pytest.raises(DataError, match="row of 10 ids does not fit into rows of 8"):
        collate([[sample(), sample()]], picture, num_levels=1, size=SIZE, length=8)


def test_a_batch_moves_whole() -> None:
    batch = world_loader().batches(0)[0]
    moved = batch.to("meta")
    for name, value in vars(batch).items():
        other = getattr(moved, name)
        if isinstance(value, torch.Tensor):
            assert (other.device.type, other.shape) == ("meta", value.shape)
        elif isinstance(value[0], torch.Tensor):
            assert all(tensor.device.type == "meta" for tensor in other)
        else:
            assert other == value


def test_a_sample_needs_ids_and_images_with_names_and_no_loss_on_the_first() -> None:
    good = Rendered((1, 2), (False, True), (Slots(0, 0, (1, 1), "a"),), (None, (0, 0, 0)))
    made = sample_of(good, "s[0]", "text")
    assert made.places.tolist() == [[-1, -1, -1], [0, 0, 0]]
    assert made.slots == (SlotRun(0, 0, 1, "a"),)
    for broken, says in [
        (Rendered((), (), (), ()), "no ids"),
        (Rendered((1,), (True,), (), (None,)), "first id has loss"),
        (Rendered((1,), (False,), (Slots(0, 0, (1, 1), None),), (None,)), "which one"),
    ]:
        with pytest.raises(FormatError, match=says):
            sample_of(broken, "s[0]", "text")
