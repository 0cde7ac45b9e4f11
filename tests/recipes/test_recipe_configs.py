"""Law 12: every shipped recipe builds, and its configuration survives YAML to the letter."""

from collections.abc import Callable
from pathlib import Path

import pytest

from illume.core.config import config_hash, dump_yaml, load_yaml
from illume.core.errors import ConfigError
from illume.recipes.catalog import RECIPES, resolve
from illume.recipes.recipe import Recipe, RecordsData


def check_round_trip(recipe: Recipe, path: Path, dump: Callable[[Recipe], str] = dump_yaml) -> None:
    """Written and read again it is the same value, with the same hash, and is written the same."""
    path.write_text(dump(recipe), encoding="utf-8")
    again = load_yaml(path, Recipe)
    assert again == recipe
    assert config_hash(again) == config_hash(recipe)
    assert dump(again) == dump(recipe)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_yaml(name: str, tmp_path: Path) -> None:
    check_round_trip(resolve(name), tmp_path / "config.yaml")


@pytest.mark.parametrize("name", RECIPES)
def test_a_saved_recipe_is_a_recipe(name: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml(resolve(name)), encoding="utf-8")
    assert resolve(str(path), ["seed=7", "stages.2.steps=5"]) == resolve(name, ["seed=7", "stages.2.steps=5"])


def test_the_check_catches_a_lost_digit(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        check_round_trip(resolve("illume_7b"), tmp_path / "c.yaml", lambda r: dump_yaml(r).replace("0.0002", "0.0003"))


def test_the_check_catches_a_lost_kind(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        check_round_trip(resolve("illume_7b"), tmp_path / "c.yaml", lambda r: dump_yaml(r).replace("simvq", "vq"))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_goes_by_its_name(name: str) -> None:
    assert RECIPES[name]().name == name


@pytest.mark.parametrize("name", ["illume_7b", "illume_7b_qwen"])
def test_every_mixture_names_sources_there_are(name: str) -> None:
    recipe = resolve(name)
    assert isinstance(recipe.data, RecordsData)
    for stage in recipe.stages:
        assert stage.mixture.keys() <= recipe.data.sources.keys()
    for stage in (recipe.tokenizer_stage, recipe.pixel_stage):
        assert stage.mixture.keys() <= set(recipe.data.shown)
    assert set(recipe.data.shown) <= recipe.data.sources.keys()
