"""Scenes: configuration errors, splits, held-out pairs, and that sampling is a pure function of its index."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from illume.core.streams import stream
from illume.world import (
    NANO,
    PICO,
    Object,
    Scene,
    WorldConfig,
    arrange,
    caption,
    held_out,
    sample_edit_pair,
    sample_scene,
    scene_key,
    scene_split,
)

SPLITS = ("train", "test", "novel")
WORLDS = [PICO, NANO, replace(PICO, seed=7)]


@pytest.mark.parametrize("config", WORLDS)
def test_a_fifth_of_the_pairs_is_held_out_and_every_shape_and_colour_seen_in_several_others(
    config: WorldConfig,
) -> None:
    pairs = held_out(config)
    assert len(pairs) == round(len(config.shapes) * len(config.colours) / 5)
    shapes, colours = Counter(shape for shape, _ in pairs), Counter(colour for _, colour in pairs)
    assert all(len(config.colours) - shapes[shape] >= 2 for shape in config.shapes)
    assert all(len(config.shapes) - colours[colour] >= 2 for colour in config.colours)
    assert max(shapes.values()) - min(shapes[shape] for shape in config.shapes) <= 1


def check_nothing_of_a_held_out_pair_meets(scene: Scene, config: WorldConfig) -> None:
    """Its shape and its colour are not in one picture, not even on two objects."""
    for shape, colour in held_out(config):
        assert not (any(o.shape == shape for o in scene) and any(o.colour == colour for o in scene)), (shape, colour)


@pytest.mark.parametrize("config", WORLDS)
@pytest.mark.parametrize("split", SPLITS)
def test_scenes_and_edit_targets_stay_in_their_split(config: WorldConfig, split: str) -> None:
    for i in range(60):
        source, edit = sample_edit_pair(config, split, i)
        for scene in (sample_scene(config, split, i), source, edit.target):
            assert scene_split(scene, config) == split
            assert any(thing.pair in held_out(config) for thing in scene) == (split == "novel")
            if split != "novel":
                check_nothing_of_a_held_out_pair_meets(scene, config)
            assert 1 <= len(scene) <= config.max_objects


def test_a_scene_of_the_parts_of_a_held_out_pair_is_in_no_split() -> None:
    """ "A red circle and a blue square" would teach, of "a red square", that two things are meant."""
    (shape, colour), *_ = sorted(held_out(PICO))
    other = next(o for o in PICO.shapes if (o, colour) not in held_out(PICO))
    second = next(c for c in PICO.colours if (shape, c) not in held_out(PICO))
    apart = arrange([Object(other, colour, "medium", (0, 0)), Object(shape, second, "medium", (0, 1))])
    assert scene_split(apart, PICO) is None
    with pytest.raises(AssertionError):
        check_nothing_of_a_held_out_pair_meets(apart, PICO)
    together = arrange([Object(shape, colour, "medium", (0, 0)), Object(shape, second, "medium", (0, 1))])
    assert scene_split(together, PICO) == "novel"


def test_a_scene_keeps_its_split_whatever_its_jitter() -> None:
    for i in range(50):
        scene = sample_scene(PICO, "test", i)
        moved = arrange(replace(thing, offset=(1, -1)) for thing in scene)
        assert scene_split(moved, PICO) == "test"


def test_sampling_is_a_function_of_config_split_and_index() -> None:
    for split in SPLITS:
        once = [sample_scene(PICO, split, i) for i in range(30)]
        assert once == [sample_scene(PICO, split, i) for i in reversed(range(30))][::-1]
        assert len({scene_key(scene) for scene in once}) > 25
        assert once != [sample_scene(replace(PICO, seed=1), split, i) for i in range(30)]


def test_training_gives_every_category_enough_weight() -> None:
    scenes = [sample_scene(PICO, "train", i) for i in range(1200)]
    found = Counter(caption(scene, PICO, stream(i), "train").category for i, scene in enumerate(scenes))
    assert len(found) == 6
    assert min(found.values()) >= 0.06 * len(scenes)
    sizes = Counter(len(scene) for scene in scenes)
    assert min(sizes[n] for n in (1, 2, 3)) >= 0.12 * len(scenes)


@pytest.mark.parametrize(
    "change",
    [
        {"shapes": ("circle", "square")},
        {"shapes": ("circle", "square", "blob")},
        {"colours": ("red", "red", "blue")},
        {"max_objects": 5},
        {"layout": (4, 4)},
        {"jitter": 3},
        {"jitter": -1},
        {"test_fraction": 0.0},
        {"edits": ("resize",)},
    ],
)
def test_a_world_that_cannot_be_drawn_is_refused(change: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(PICO, **change)


def test_two_objects_in_one_cell_are_refused() -> None:
    thing = Object("circle", "red", "medium", (0, 0))
    with pytest.raises(ValueError, match="different cells"):
        Scene((thing, thing))


def test_scenes_and_words_need_neither_torch_nor_numpy() -> None:
    code = "import sys, illume.world; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
