"""Loaders: shares, galleries, images, errors (that steps are pure is law 6's)."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.imagefolder import make_image_folder
from fixtures.sequences import world_examples, world_images, world_loader, world_mixture
from illume.core.errors import ConfigError, DataError
from illume.data.augment import Augment
from illume.data.image_folder import ImageFolder, ImageFolderSource
from illume.data.loader import Gallery, ImageLoader, SequenceLoader, Share
from illume.data.mixture import Mixture
from illume.data.world_images import WorldImages
from illume.data.world_source import WorldSource
from illume.world import NANO, PICO


@given(count=st.integers(0, 40), world_size=st.integers(1, 6), most=st.integers(1, 7))
def test_shares_are_disjoint_complete_and_equally_many(count: int, world_size: int, most: int) -> None:
    shares = [Share(rank, world_size).split(range(count), most) for rank in range(world_size)]
    assert sorted(item for groups in shares for group in groups for item in group) == list(range(count))
    assert len({len(groups) for groups in shares}) == 1
    assert all(len(group) <= most for groups in shares for group in groups)


def test_a_rank_beyond_the_world_is_refused() -> None:
    with pytest.raises(ConfigError, match="rank 2 does not exist among 2"):
        Share(2, 2)


def test_a_gallery_wants_one_size_and_names_that_tell_apart() -> None:
    pico = WorldSource(WorldImages(PICO, "train", 2, name="a"), "draw", name="one")
    for images, says in [
        (WorldImages(NANO, "train", 2, name="b"), "one size"),
        (WorldImages(PICO, "test", 2, name="a"), "both called 'a'"),
    ]:
        with pytest.raises(ConfigError, match=says):
            Gallery(Mixture([(pico, 1.0), (WorldSource(images, "draw", name="two"), 1.0)]))


def test_rows_are_cut_to_the_longest_or_all_alike() -> None:
    cut = world_loader(row_length=1024, rows_per_batch=1).batches(0)
    assert all((batch.segments[0, -1] >= 0) for batch in cut), "a row alone is as long as what is in it"
    assert {batch.ids.shape[1] for batch in world_loader(row_length=1024, fixed_length=True).batches(0)} == {1024}


def test_a_sample_that_is_too_long_is_named() -> None:
    with pytest.raises(DataError, match=r"the sample \w+\[\d+\] is \d+ ids long, a row only 20"):
        world_loader(row_length=20).batches(0)


def test_images_come_with_their_captions(tmp_path: Path) -> None:
    make_image_folder(tmp_path / "set", 8)
    folder = ImageFolder(tmp_path / "set", 16, test_fraction=0)
    mixture = Mixture([(ImageFolderSource(folder, "train", "caption"), 1.0)])
    (batch,) = ImageLoader(mixture, batch_size=8).batches(3)
    captions = {entry.text for entry in folder.entries}
    assert batch.pixels.shape == (8, 3, 16, 16)
    assert set(batch.captions) == captions
    record = mixture.sources[0].record(int(batch.keys[0].removeprefix("caption[").removesuffix("]")))
    assert batch.captions[0] == record.text
    expected = folder.images.image(record.images[0]).transpose(2, 0, 1) / 127.5 - 1
    assert np.allclose(batch.pixels[0].numpy(), expected)


def test_an_image_loader_needs_images_and_batches_that_can_be_shared() -> None:
    with pytest.raises(DataError, match=r"sample text\[\d+\]: it has no image"):
        ImageLoader(world_mixture(("text",)), batch_size=2).batches(0)
    with pytest.raises(ConfigError, match="batches of 5 images cannot be dealt out to 2"):
        ImageLoader(world_mixture(), batch_size=5, share=Share(0, 2))


def test_a_broken_image_names_the_sample(tmp_path: Path) -> None:
    make_image_folder(tmp_path / "set", 2)
    (tmp_path / "set" / "pictures" / "001.png").write_bytes(b"no image")
    folder = ImageFolder(tmp_path / "set", 16, test_fraction=0)
    loader = ImageLoader(Mixture([(ImageFolderSource(folder, "train", "caption"), 1.0)]), batch_size=2)
    with pytest.raises(DataError, match=r"sample caption\[1\]: .*001\.png"):
        loader.batches(0)
    sequences = SequenceLoader(loader.mixture, world_examples(), batch_size=2, row_length=200, rows_per_batch=2)
    with pytest.raises(DataError, match=r"001\.png"):
        sequences.batches(0)


def test_augmentation_is_keyed_keeps_the_shape_and_is_off_by_default() -> None:
    picture = world_images().image(world_images().keys()[0])
    assert Augment()(picture, 5) is picture
    augment = Augment(flip=True, shift=3)
    made = [augment(picture, seed) for seed in range(30)]
    assert all(image.shape == picture.shape for image in made)
    assert all(np.array_equal(augment(picture, seed), image) for seed, image in enumerate(made))
    assert len({image.tobytes() for image in made}) > 20
    flipped = [Augment(flip=True)(picture, seed) for seed in range(40)]
    assert 8 < sum(np.array_equal(image, picture) for image in flipped) < 32


def test_a_step_is_cut_into_at_least_so_many_micro_batches() -> None:
    whole, cut = (Share().split(range(10), most=10, least_groups=groups) for groups in (1, 4))
    assert (len(whole), len(cut)) == (1, 4)
    assert sorted(item for group in cut for item in group) == list(range(10))
    assert len(Share().split(range(10), most=2, least_groups=3)) == 5
