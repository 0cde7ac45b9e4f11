"""The judge of what a model draws, by name: "self" is that model, "oracle" its own world's; others are as anywhere."""

from collections.abc import Callable, Sequence

from illume.api import Illume
from illume.core.config import load_yaml
from illume.core.errors import UsageError
from illume.judge.catalog import Setting, make_judge
from illume.judge.oracle import OracleJudge
from illume.judge.own import SelfJudge
from illume.judge.protocol import Judge
from illume.recipes.recipe import Recipe, WorldData
from illume.recipes.score import RECIPE_FILE
from illume.world import WorldConfig


def judge_of(
    name: str,
    settings: Sequence[str],
    setting: Setting,
    drawer: Callable[[], Illume],
    world: Callable[[], WorldConfig],
) -> Judge:
    """The judge of a name, with settings as KEY=VALUE; drawer and world are asked for where it is made of them.

    UsageError where there is no such judge, or it has no such setting.
    """
    if name == "self":
        if settings:
            raise UsageError(f"the model's own judgement has no settings, such as {settings[0]}")
        return SelfJudge(drawer())
    if name == "oracle" and not settings:
        return OracleJudge(world())
    return make_judge(name, settings, setting)


def world_of(illume: Illume) -> WorldConfig:
    """The generated world that a model learnt. UsageError where it learnt other data, or nobody knows which."""
    recipe = illume.folder / RECIPE_FILE if illume.folder is not None else None
    if recipe is None or not recipe.is_file():
        raise UsageError("there is no recipe beside this model, so its world is not known; say which: oracle:pico")
    data = load_yaml(recipe, Recipe).data
    if not isinstance(data, WorldData):
        raise UsageError(f"{illume.folder}: this model has no world: it was trained on other data, no oracle reads it")
    return data.world
