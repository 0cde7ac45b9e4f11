"""What is trained on the files of rounds: whose scorecard stands, and which run may go on in a folder."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from illume.core.config import dump_yaml
from illume.core.errors import CheckpointError
from illume.recipes.folder import RunFolder
from illume.recipes.pico import pico
from illume.recipes.recipe import Recipe
from illume.recipes.retrain import finished, refuse_another
from illume.recipes.score import recipe_hash


@pytest.fixture
def made(tmp_path: Path) -> Recipe:
    """A run that is finished, as far as its files say."""
    recipe = replace(pico(), out=str(tmp_path / "run"))
    RunFolder(recipe)
    (tmp_path / "run/scorecard.json").write_text(json.dumps({"config_hash": recipe_hash(recipe)}))
    return recipe


def test_a_scorecard_stands_for_the_run_that_it_names(made: Recipe) -> None:
    other = replace(made, stages=(replace(made.stages[-1], name="enhance"),))
    assert finished(made) == {"config_hash": recipe_hash(made)}
    assert finished(other) is None
    Path(made.out, "config.yaml").write_text(dump_yaml(other))  # begun, and killed before it had a card of its own
    assert finished(other) is None


def test_another_run_does_not_go_on_in_a_folder(made: Recipe) -> None:
    refuse_another(made)
    refuse_another(replace(made, device="cpu", score=replace(made.score, num_items=6)))
    refuse_another(replace(made, out=str(Path(made.out, "elsewhere"))))
    for other in (
        replace(made, stages=(replace(made.stages[-1], name="enhance"),)),
        replace(made, stages=(*made.stages[:-1], replace(made.stages[-1], steps=1))),
    ):
        with pytest.raises(CheckpointError, match="from another start: give another folder"):
            refuse_another(other)
