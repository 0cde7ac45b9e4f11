"""The world of the pico recipe stays what it is, to the last bit: models trained on it were scored on the same items.

The golden file holds one hash for each kind of output and split. If a change is meant, it is a new world: the version
in its configuration goes up, and the file is written anew.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from illume.core.config import config_hash
from illume.core.streams import stream
from illume.data.records import TaskName, to_dict
from illume.data.world_images import WorldImages
from illume.data.world_source import WorldSource
from illume.world import (
    PICO,
    WorldConfig,
    caption,
    perturb,
    questions,
    sample_edit_pair,
    sample_prompt,
    sample_scene,
    scene_key,
)
from illume.world.render import render

GOLDEN = Path(__file__).parent / "golden" / "pico_world.json"
SPLITS = ("train", "test", "novel")
TASKS: tuple[TaskName, ...] = ("caption", "draw", "reconstruct", "edit", "chat", "text", "assess")
N = 200


def scenes(config: WorldConfig, split: Any) -> Iterator[Any]:
    yield from (scene_key(sample_scene(config, split, i)) for i in range(N))


def pictures(config: WorldConfig, split: Any) -> Iterator[Any]:
    yield from (render(sample_scene(config, split, i), config).tobytes().hex() for i in range(N))


def captions(config: WorldConfig, split: Any) -> Iterator[Any]:
    for i in range(N):
        scene, rng = sample_scene(config, split, i), stream("golden caption", split, i)
        said = caption(scene, config, rng, split)
        wrong = perturb(said, scene, config, rng, split)
        yield said.text, wrong and (wrong[0].text, wrong[1])


def prompts(config: WorldConfig, split: Any) -> Iterator[Any]:
    yield from (sample_prompt(config, split, i).text for i in range(N))


def asked(config: WorldConfig, split: Any) -> Iterator[Any]:
    for i in range(N):
        found = questions(sample_scene(config, split, i), config, stream("golden questions", split, i))
        yield [(question.kind, question.text, question.answer) for question in found]


def edits(config: WorldConfig, split: Any) -> Iterator[Any]:
    for i in range(N):
        scene, edit = sample_edit_pair(config, split, i)
        yield scene_key(scene), edit.kind, edit.instruction, scene_key(edit.target)


def records(config: WorldConfig, split: Any) -> Iterator[Any]:
    images = WorldImages(config, split, N // 2, N // 2)
    yield images.fingerprint, images.keys()
    for task in TASKS:
        source = WorldSource(images, task)
        yield [to_dict(source.record(i)) for i in range(0, len(source), 3)]


KINDS: dict[str, Callable[[WorldConfig, Any], Iterator[Any]]] = {
    "scenes": scenes,
    "pictures": pictures,
    "captions": captions,
    "prompts": prompts,
    "questions": asked,
    "edits": edits,
    "records": records,
}


def digest(values: Iterator[Any]) -> str:
    text = json.dumps(list(values), separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def check_unchanged(config: WorldConfig, kind: str, split: str) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert digest(KINDS[kind](config, split)) == golden[split][kind], f"the {kind} of split {split} changed"


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_pico_world_is_what_it_was(kind: str, split: str) -> None:
    check_unchanged(PICO, kind, split)


def test_its_configuration_has_the_hash_it_had() -> None:
    assert config_hash(PICO) == json.loads(GOLDEN.read_text(encoding="utf-8"))["config"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_check_catches_another_world(kind: str) -> None:
    with pytest.raises(AssertionError, match=kind):
        check_unchanged(replace(PICO, seed=1), kind, "train")
