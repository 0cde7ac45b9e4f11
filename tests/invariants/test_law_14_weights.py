"""Law 14: the weights that come with ILLUME and its code belong together: what they said when packed they say now."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import illume
from fixtures.packed import make_run
from illume.core.streams import stream
from illume.generate.named import BUILT_IN
from illume.recipes.catalog import resolve
from illume.recipes.pack import PROMPTS, QUESTION, pack, read_packed, read_provenance, says
from illume.recipes.recipe import WorldData
from illume.recipes.score import recipe_hash
from illume.world import NANO, WorldConfig, caption, oracle, sample_scene
from illume.world.language import understand
from illume.world.render import render
from illume.world.verdicts import holds

LARGEST = 15_000_000  # bytes of one model's folder in the repository
ALIKE = 0.8  # of the answers: another machine's rounding may tip a draw over, and all codes after it
RECIPES_SINCE: dict[str, str] = {}  # hashes of shipped recipes that are not those of their weights -> why that is well


def agreement(before: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]]) -> float:
    """The share of drawings, and of answers, that are the same to the last code; the smaller of the two."""
    pairs = list(zip(before, now, strict=True))
    return min(np.mean([a[part] == b[part] for a, b in pairs]) for part in ("codes", "answer"))


@pytest.mark.parametrize("name", BUILT_IN)
def test_shipped_weights_say_what_they_said(name: str) -> None:
    assert agreement(read_provenance(BUILT_IN[name])["says"], says(read_packed(BUILT_IN[name]))) >= ALIKE


@pytest.mark.parametrize("name", BUILT_IN)
def test_shipped_weights_are_of_the_shipped_recipe(name: str) -> None:
    made = read_provenance(BUILT_IN[name])
    assert made["config_hash"] == made["scorecard"]["config_hash"]
    assert made["config_hash"] == recipe_hash(resolve(str(BUILT_IN[name] / "recipe.yaml")))
    now = recipe_hash(resolve(name))
    assert now == made["config_hash"] or now in RECIPES_SINCE, "train and pack it again, or say why not"


@pytest.mark.parametrize("name", BUILT_IN)
def test_shipped_weights_are_small(name: str) -> None:
    assert sum(file.stat().st_size for file in BUILT_IN[name].rglob("*") if file.is_file()) <= LARGEST


def test_what_nano_draws_is_what_was_asked_for() -> None:
    """Codes that come out the same are nothing without the painter: an oracle reads the pictures."""
    data = resolve("nano").data
    assert isinstance(data, WorldData)
    pictures = illume.load("nano", device="cpu", dtype="float32").draw(PROMPTS)
    assert shown([np.asarray(picture) for picture in pictures], PROMPTS, data.world) >= 0.5


def shown(pictures: Sequence[np.ndarray], texts: Sequence[str], world: WorldConfig) -> float:
    """The share of pictures that show their text."""
    pairs = zip(pictures, texts, strict=True)
    return float(np.mean([holds(oracle.check(picture, understand(text), world)) for picture, text in pairs]))


SESSIONS = (
    ("a red circle", "1", "make the circle blue", "what color is the circle?", "blue"),
    ("a large blue star", "1", "color the star green", "what color is the star?", "green"),
)


def answered(model: illume.Illume, **settings: Any) -> float:
    """The share of right answers in short sessions: draw, count, recolour, tell the colour."""
    right = []
    for seed, (prompt, count, edit, question, colour) in enumerate(SESSIONS):
        session = model.session(seed=seed, **settings)
        session.draw(prompt)
        right.append(session.ask(QUESTION) == count)
        session.edit(edit)
        right.append(session.ask(question) == colour)
    return float(np.mean(right))


def test_nano_holds_a_session_with_the_memory_that_its_folder_names() -> None:
    model = illume.load("nano", device="cpu", dtype="float32")
    assert answered(model) >= 0.75
    assert answered(model, memory=None) < 0.5  # it learnt single turns: the check sees when it is shown others


def test_the_check_catches_pictures_that_show_something_else() -> None:
    scenes = [sample_scene(NANO, "test", number) for number in range(4)]
    texts = [caption(scene, NANO, stream(number), "test").text for number, scene in enumerate(scenes)]
    pictures = [render(scene, NANO) for scene in scenes]
    assert shown(pictures, texts, NANO) == 1
    assert shown([np.full_like(picture, 240) for picture in pictures], texts, NANO) == 0
    assert shown([np.roll(picture, 32, axis=1) for picture in pictures], texts, NANO) < 0.5


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    pack(make_run(folder / "run"), folder / "tiny")
    return folder / "tiny"


def test_it_is_seen_when_weights_are_read_as_they_were_written(packed: Path) -> None:
    assert agreement(read_provenance(packed)["says"], says(read_packed(packed))) == 1


@pytest.mark.parametrize("part", ["decoder.layers.0.input_layernorm", "places", "adapter"])
def test_the_check_catches_code_that_reads_weights_otherwise(packed: Path, part: str) -> None:
    model = read_packed(packed)
    with torch.no_grad():
        for parameter in model.parts.model.get_submodule(part).parameters():
            parameter.mul_(-1)
    assert agreement(read_provenance(packed)["says"], says(model)) < ALIKE
