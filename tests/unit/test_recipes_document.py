"""docs/recipes.md and docs/method.md: their tables tell every recipe, field and source, and the paper's rates."""

import re
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from illume.core.config import override
from illume.data.collection import CAPTION_TASKS
from illume.recipes.blueprint import blueprint
from illume.recipes.catalog import RECIPES, resolve
from illume.recipes.data import open_data
from illume.recipes.illume_7b import illume_7b
from illume.recipes.recipe import Recipe
from illume.train.stage import Rule, Schedule, Stage

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "recipes.md").read_text(encoding="utf-8")
METHOD = (DOCS / "method.md").read_text(encoding="utf-8")


def section(title: str, text: str = TEXT) -> str:
    return text.split(f"## {title}", 1)[1].split("\n## ", 1)[0]


def cells(text: str, column: int = 0) -> list[set[str]]:
    """The names in one column of the tables of a text, a row each, but for their heads."""
    lines = [*text.splitlines(), ""]
    body = [row for row, under in pairwise(lines) if row.startswith("| `") and not under.startswith("|---")]
    rows = [row.split(" | ") for row in body]
    return [set(re.findall(r"`([\w.]+)`", row[column])) for row in rows]


def names(text: str) -> set[str]:
    return set().union(*cells(text))


def check_fields(text: str, cls: type[Any]) -> None:
    """A table that tells every field of a dataclass, and no other."""
    assert names(text) == {field.name for field in fields(cls)}


def test_every_recipe_is_there() -> None:
    assert names(section("Those that come with it")) == set(RECIPES)


def test_every_field_of_a_recipe_is_there() -> None:
    check_fields(section("Fields"), Recipe)


def test_every_field_of_a_stage_is_there() -> None:
    stage, rule = section("Stages and rules").split("A [`Rule`]", 1)
    check_fields(stage, Stage)
    for cls in (Rule, Schedule):
        told = set(re.findall(r"`(\w+)`", rule + stage))
        assert {field.name for field in fields(cls)} - {"kind"} <= told


def test_the_check_catches_a_field_left_out() -> None:
    with pytest.raises(AssertionError):
        check_fields(section("Fields").replace("`drop`", "`drip`"), Recipe)


def test_the_modules_that_rules_name_are_there() -> None:
    told: dict[str, set[str]] = {}
    for row in section("Stages and rules").split("| stage | modules |", 1)[1].splitlines():
        if row.startswith("| `"):
            first, second = row.strip("| ").split(" | ")
            told[first.strip("`")] = set(re.findall(r"`(\w+)`", second)) - {"grid_positions"}
    plan = [objective for _, objective in blueprint(resolve("pico")).stages]
    assert [set(objective.modules()) for objective in plan[:1]] == [told["encoder_stage"]]
    assert set(plan[1].modules()) == {"tokenizer"}
    other = [objective for _, objective in blueprint(resolve("pico_reconstruction")).stages]
    assert set(other[1].modules()) == told["tokenizer_stage"]
    assert set(plan[2].modules()) == told["pixel_stage"]
    assert set(plan[3].modules()) == told["stages"]


def test_the_sources_of_the_world_and_of_a_folder_are_there() -> None:
    world, folder = cells(section("Mixtures"), 1)[:2]
    recipe = override(resolve("nano"), ["data.num_scenes=8", "stages.2.mixture.edit_turns=0.1"])
    data = open_data(recipe)
    assert world == set(data.sources)
    shown = cells(section("Mixtures"), 2)
    assert shown[0] - {"inpaint", "edit_turns"} == set(data.shown)
    assert folder == set(CAPTION_TASKS)
    assert shown[1] == {"images"}


def test_the_papers_stages_are_those_of_the_recipe() -> None:
    rows = [row.strip("| ").split(" | ") for row in section("Training", METHOD).splitlines() if row.startswith("| ")]
    said = {row[0]: row[1:] for row in rows}
    stages = illume_7b().stages
    assert said["batch x steps"] == [f"{stage.batch_size} x {stage.steps:,}" for stage in stages]
    for stage, cell in zip(stages, said["rates"], strict=True):
        told = {float(rate) for rate in re.findall(r"\de-\d", cell)}
        assert told == {rule.lr for rule in stage.rules if rule.trained}


def test_our_stages_of_tokenizer_and_painter_are_as_told() -> None:
    recipe = illume_7b()
    assert recipe.pixel_stage is not None
    for stage in (recipe.tokenizer_stage, recipe.pixel_stage):
        rate = max(rule.lr for rule in stage.rules)
        assert f"{stage.steps:,} x {stage.batch_size} at {f'{rate:.0e}'.replace('e-0', 'e-')}" in METHOD
