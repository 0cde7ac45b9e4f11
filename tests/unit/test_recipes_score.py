"""A model is scored by the recipe beside it, and refused without one."""

from dataclasses import replace
from pathlib import Path

import pytest

from fixtures.imagefolder import make_image_folder
from fixtures.own_data import write_lines
from fixtures.tiny_model_folder import tiny_illume
from illume.api import Illume
from illume.core.config import dump_yaml
from illume.core.errors import ConfigError, ModelError
from illume.eval.runner import Outcome
from illume.eval.scorecard import load
from illume.recipes import score
from illume.recipes.pico import pico
from illume.recipes.recipe import FolderData, RecordsData, ScoreConfig


@pytest.fixture
def run(tmp_path: Path) -> Path:
    tiny_illume().save(tmp_path / "run" / "model")
    (tmp_path / "run" / "model" / "recipe.yaml").write_text(dump_yaml(pico()))
    return tmp_path / "run"


def test_a_run_and_its_model_are_scored_alike(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run_tasks(subject: object, tasks: object, report: object) -> Outcome:
        asked.append(tasks)
        return Outcome({}, {}, {})

    monkeypatch.setattr(score, "run_tasks", run_tasks)
    out = tmp_path / "card.json"
    cards = [score.score_folder(str(f), ["score.num_items=6"], out, device="cpu") for f in (run, run / "model")]
    assert load(out)["config_hash"] == cards[0]["config_hash"] == cards[1]["config_hash"] == score.recipe_hash(pico())
    *tasks, text = asked[0]
    assert [task.num_items for task in tasks] == [len(text.items())] * 6 == [6] * 6
    with pytest.raises(ConfigError, match="num_items"):
        score.score_folder(str(run), ["score.num_item=6"], device="cpu")


def test_a_model_without_its_recipe_is_refused(run: Path, tmp_path: Path) -> None:
    (run / "model" / "recipe.yaml").unlink()
    for folder in (run, run / "model"):
        with pytest.raises(ModelError, match="without its recipe"):
            score.score_folder(str(folder), [], device="cpu")
    with pytest.raises(ModelError, match="neither a folder nor"):
        score.score_folder(str(tmp_path / "nothing"), [], device="cpu")


def test_the_hash_is_of_what_the_model_depends_on() -> None:
    recipe = pico()
    elsewhere = replace(recipe, out="elsewhere", device="cpu", score=ScoreConfig(3, 4))
    assert score.recipe_hash(elsewhere) == score.recipe_hash(recipe)
    forgetful = replace(recipe, generation=replace(recipe.generation, memory=7))  # sessions alone ask for it
    assert score.recipe_hash(forgetful) == score.recipe_hash(recipe)
    assert score.recipe_hash(replace(recipe, seed=1)) != score.recipe_hash(recipe)


def test_data_say_which_abilities_are_measured(tmp_path: Path) -> None:
    make_image_folder(tmp_path / "images", 16)
    own = replace(pico(), data=FolderData(str(tmp_path / "images"), held_out=0.3))
    records = replace(pico(), data=RecordsData({"a": "a.jsonl"}, ("a",)))
    last = replace(pico().stages[-1], mixture={"inpaint": 1.0})
    mixing_inpainting = replace(pico(), stages=(*pico().stages[:-1], last))
    data = RecordsData({"a": str(tmp_path / "images" / "a.jsonl")}, ("a",), held_out=0.3)
    kept = replace(pico(), data=data, encoder_stage=None)
    lines = [{"task": "caption", "images": [f"pictures/{i:03d}.png"], "text": str(i)} for i in range(16)]
    write_lines(tmp_path / "images" / "a.jsonl", lines)
    recipes = (pico(), mixing_inpainting, own, records, kept)
    found = [[t.ability for t in score.tasks_of(recipe, tiny_illume(), tmp_path)] for recipe in recipes]
    world = ["see", "draw", "reconstruct", "edit", "edit_turns", "assess", "text"]
    images = ["see", "reconstruct"]
    assert found == [world, [*world[:5], "inpaint", *world[5:]], [*images, "text"], [], images]


def test_the_batch_is_as_large_as_the_recipe_says() -> None:
    assert score.with_rows(tiny_illume(), 5).parts.generation.rows == 5
    assert score.with_rows(tiny_illume(), 5).parts.model is tiny_illume().parts.model
    assert score.with_rows(Illume(tiny_illume().parts, tier="int8"), 5).tier == "int8"
