"""The nano recipe fits together: its stages name sources there are, and its longest sample fits into a row."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from illume.core.config import override
from illume.core.errors import ConfigError
from illume.data.codes import CodeStore
from illume.data.examples import Examples, Pictures
from illume.data.mixture import Mixture
from illume.recipes.blueprint import blueprint
from illume.recipes.catalog import resolve
from illume.recipes.data import OpenData, open_data
from illume.recipes.recipe import Recipe
from illume.recipes.score import tasks_of
from illume.vocab.messages import ImageFrame
from illume.vocab.text import PLAIN, TextFormat, train_byte_bpe

GRID = (6, 6)


@cache
def nano() -> Recipe:
    return override(resolve("nano"), ["data.num_scenes=60", "data.variants=1"])


@cache
def data() -> OpenData:
    return open_data(nano())


def longest_sample(recipe: Recipe) -> int:
    """In ids, over every source that a stage mixes, with a text tokenizer of the recipe's size."""
    text = TextFormat(train_byte_bpe(data().texts(), 1024, PLAIN.specials), PLAIN)
    layout = replace(blueprint(recipe).layout, text_size=text.size)
    keys = {key for source in data().sources.values() for key in tuple(source.images.keys())}
    codes = CodeStore(sorted(keys), [np.zeros((len(keys), *GRID), np.int64) for _ in layout.levels])
    examples = Examples(layout, text, Pictures(ImageFrame(codes.grids), codes), drop=0.0)
    mixed = {name for stage in recipe.stages for name in stage.mixture}
    sources = [data().sources[name] for name in sorted(mixed)]
    return max(len(examples.sample(source, i, 0)) for source in sources for i in range(len(source)))


def test_every_stage_mixes_sources_there_are() -> None:
    recipe = nano()
    for stage in recipe.stages:
        assert isinstance(data().mixture(stage), Mixture)
    for stage in (recipe.encoder_stage, recipe.tokenizer_stage, recipe.pixel_stage):
        assert stage is not None
        assert stage.mixture.keys() <= data().shown.keys()
    with pytest.raises(ConfigError, match="inpainting"):
        data().mixture(override(recipe, ["stages.2.mixture={inpainting: 1.0}"]).stages[2])


def test_a_row_holds_the_longest_sample() -> None:
    recipe = nano()
    assert recipe.grid_positions == GRID[0]
    assert 2 * 36 < longest_sample(recipe) <= recipe.row_length <= recipe.generation.max_length


def test_a_world_without_inpainting_says_nothing_of_it() -> None:
    """Else the vocabulary of pico's texts would be another."""
    pico = override(resolve("pico"), ["data.num_scenes=8"])
    opened = open_data(pico)
    assert "inpaint" not in opened.sources
    assert "regions" not in opened.shown
    assert not any("mask" in text for text in opened.texts())
    assert any("mask" in text for text in data().texts())


def test_a_source_that_weighs_nothing_is_not_opened() -> None:
    nothing = [f"stages.{n}.mixture.inpaint=0" for n in (1, 2)]
    recipe = override(nano(), ["data.num_scenes=8", *nothing])
    opened = open_data(recipe)
    assert "inpaint" not in opened.sources
    assert not any("mask" in text for text in opened.texts())
    assert {"draw", "edit"} < {source.name for source in opened.mixture(recipe.stages[2]).sources}
    assert "inpaint" not in {type(task).__name__.lower() for task in tasks_of(recipe, cast(Any, None), Path())}
    assert recipe.tokenizer_stage.mixture["regions"] > 0
    assert opened.seen(recipe.tokenizer_stage)["regions"] == recipe.tokenizer_stage.mixture["regions"]
    misspelt = override(recipe, ["stages.2.mixture={draw: 1.0, inpainting: 0}"])
    with pytest.raises(ConfigError, match="inpainting"):
        opened.mixture(misspelt.stages[2])
