"""The world as sources: valid records, enumerable images, true verdicts, splits kept apart."""

from collections import Counter

import numpy as np
import pytest

from fixtures.sequences import TASKS
from illume.core.errors import ConfigError, DataError
from illume.data.records import to_dict, validate
from illume.data.world_images import WorldImages
from illume.data.world_source import WorldSource
from illume.images.masks import MARKER
from illume.world import PICO, understand, verdict
from illume.world.oracle import read
from illume.world.render import render

IMAGES = WorldImages(PICO, "train", 20, 10, num_inpaintings=8)


@pytest.mark.parametrize("task", TASKS)
def test_records_are_valid_pure_and_about_images_that_are_there(task: str) -> None:
    source, again = WorldSource(IMAGES, task), WorldSource(WorldImages(PICO, "train", 20, 10, num_inpaintings=8), task)  # type: ignore[arg-type]
    keys = set(IMAGES.keys())
    for index in reversed(range(len(source))):
        record = source.record(index)
        assert record == again.record(index)
        assert validate(to_dict(record), "here") == record
        assert record.task == task
        assert set(record.images) <= keys
    with pytest.raises(IndexError, match="none of number"):
        source.record(len(source))


def test_images_are_rendered_once_from_their_key() -> None:
    assert len(set(IMAGES.keys())) == 2 * 20 + 2 * 10 + 2 * 8
    picture = IMAGES.image("world-train/scene/3")
    assert picture is IMAGES.image("world-train/scene/3")
    assert np.array_equal(picture, render(IMAGES.scene(3), PICO))
    middle = {o.pair: (o.cell, (0, 0)) for o in IMAGES.scene(3)}
    assert {o.pair: (o.cell, o.offset) for o in read(IMAGES.image("world-train/centred/3"), PICO).scene} == middle
    before, edit = IMAGES.edit(2)
    assert np.array_equal(IMAGES.image("world-train/source/2"), render(before, PICO))
    assert np.array_equal(IMAGES.image("world-train/target/2"), render(edit.target, PICO))


@pytest.mark.parametrize(
    "key",
    ["world-train/scene/20", "world-train/source/10", "world-train/masked/8", "world-train/x/0", "scene/0", "", "a/-1"],
)
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(DataError, match="there is no image"):
        IMAGES.image(key)


def test_assessments_are_balanced_and_true() -> None:
    source = WorldSource(IMAGES, "assess")
    good: Counter[bool] = Counter()
    for index in range(len(source)):
        record = source.record(index)
        assert record.verdict is not None
        scene = IMAGES.scene(int(record.images[0].rpartition("/")[2]))
        truth = verdict(understand(record.text), scene)
        said = {name: (c.applicable, c.passed, c.reason) for name, c in record.verdict.criteria.items()}
        assert said == {name: tuple(finding) for name, finding in truth.items()}
        good[record.verdict.overall] += 1
    assert good[True] == good[False]


def test_no_test_caption_occurs_in_training() -> None:
    said = {}
    for split in ("train", "test", "novel"):
        source = WorldSource(WorldImages(PICO, split, 60), "caption")  # type: ignore[arg-type]
        said[split] = {source.record(index).text for index in range(len(source))}
    assert not said["train"] & said["test"]
    assert not said["train"] & said["novel"]


def test_variants_say_other_things_of_the_same_scenes() -> None:
    source = WorldSource(IMAGES, "caption", variants=3)
    assert len(source) == 60
    assert source.record(1).images == source.record(21).images
    assert sum(source.record(i).text != source.record(i + 20).text for i in range(20)) > 10


def test_worlds_too_small_are_refused() -> None:
    with pytest.raises(ConfigError, match="no edits"):
        WorldSource(WorldImages(PICO, "train", 2), "edit")
    with pytest.raises(ConfigError, match="no inpaintings"):
        WorldSource(WorldImages(PICO, "train", 2, 2), "inpaint")
    with pytest.raises(ConfigError, match="at least one scene"):
        WorldImages(PICO, "train", 0)


def test_a_masked_region_is_all_of_the_markers_colour_and_nothing_else_is() -> None:
    source = WorldSource(IMAGES, "inpaint")
    said = set()
    for index in range(len(source)):
        record = source.record(index)
        scene, found = IMAGES.inpainting(index)
        masked, painted = (IMAGES.image(key) for key in record.images)
        left, top, right, bottom = found.box
        marked = (masked == MARKER).all(axis=-1)
        assert record.mask == found.box
        assert marked[top:bottom, left:right].all()
        assert marked.sum() == (right - left) * (bottom - top)
        assert np.array_equal(masked[~marked], render(scene, PICO)[~marked])
        assert np.array_equal(painted, render(found.target, PICO))
        assert np.array_equal(masked[~marked], painted[~marked])
        said.add(bool(record.instruction))
    assert said == {True, False}


def test_without_inpaintings_images_have_the_fingerprint_they_had() -> None:
    """Codes computed before there were any are still good."""
    assert WorldImages(PICO, "train", 20, 10).fingerprint == "e2e50c7cd3f7-train-20-10-False"
    assert IMAGES.fingerprint == "e2e50c7cd3f7-train-20-10-False-8"
