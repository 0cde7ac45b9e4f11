"""Law 7 over every shipped recipe: on the meta device, each parameter of each stage matches exactly one rule."""

from dataclasses import replace

import pytest

from illume.core.config import override
from illume.core.errors import ConfigError
from illume.models.vision_encoder import VisionEncoder
from illume.recipes.blueprint import Blueprint, blueprint
from illume.recipes.catalog import RECIPES
from illume.recipes.illume_7b import illume_7b
from illume.recipes.recipe import Recipe
from illume.train.objective import named_parameters
from illume.train.optim import assign_rules
from illume.train.stage import Rule

LARGE = ("illume_7b", "illume_7b_qwen")
# The paper's Table 5: rates by stage, of what it trains.
TABLE_5 = {
    "stage1": {"adapter": 1e-3, "vision rows": 2e-4},
    "stage2": {"adapter": 5e-5, "vision rows": 5e-5, "text rows": 5e-5, "decoder": 5e-5},
    "stage3": {"adapter": 2e-5, "vision rows": 2e-5, "text rows": 2e-5, "decoder": 2e-5, "vision_encoder": 2e-6},
}
BATCH_AND_STEPS = {"stage1": (256, 5_000), "stage2": (1024, 15_000), "stage3": (1024, 8_000)}


def check_rules(recipe: Recipe) -> Blueprint:
    """Every parameter of every stage has one rule, every rule has parameters, and nothing has weights."""
    plan = blueprint(recipe)
    for stage, objective in plan.stages:
        assigned = assign_rules(objective, stage)
        parameters = named_parameters(objective)
        assert assigned.keys() == parameters.keys()
        assert {parameter.device.type for parameter in parameters.values()} == {"meta"}
    return plan


@pytest.mark.parametrize("name", RECIPES)
def test_every_parameter_of_every_stage_has_one_rule(name: str) -> None:
    recipe = RECIPES[name]()
    plan = check_rules(recipe)
    assert [stage.name for stage, _ in plan.stages][-3:] == ["stage1", "stage2", "stage3"]


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        (lambda rules: rules[1:], "matches no rule"),
        (lambda rules: (*rules, Rule(r"adapter\..*", 1.0)), "matches 2 rules"),
        (lambda rules: (*rules, Rule(r"adaptor\..*", 1.0)), "matches no parameter"),
    ],
)
@pytest.mark.parametrize("name", ["pico", "illume_7b"])
def test_the_check_catches_broken_rules(name: str, rules: object, complaint: str) -> None:
    recipe = RECIPES[name]()
    broken = replace(recipe.stages[0], rules=rules(recipe.stages[0].rules))  # type: ignore[operator]
    with pytest.raises(ConfigError, match=complaint):
        check_rules(replace(recipe, stages=(broken, *recipe.stages[1:])))


@pytest.mark.parametrize("name", LARGE)
def test_the_large_recipes_are_table_5(name: str) -> None:
    recipe = RECIPES[name]()
    for stage, objective in blueprint(recipe).stages[-3:]:
        trained: dict[str, set[float]] = {}
        for parameter, rule in assign_rules(objective, stage).items():
            module, rest = parameter.split(".", 1)
            group = f"{rest} rows" if module in ("embedding", "head") else module
            if rule.trained:
                trained.setdefault(group, set()).add(rule.lr)
            assert (rule.optimizer, rule.weight_decay) == ("adamw", 0.0)
        assert trained == {group: {rate} for group, rate in TABLE_5[stage.name].items()}
        assert (stage.batch_size, stage.steps) == BATCH_AND_STEPS[stage.name]
        assert (stage.betas, stage.schedule.kind, stage.schedule.warmup) == ((0.9, 0.95), "cosine", 0.03)


@pytest.mark.parametrize(("name", "decoder"), [("illume_7b", 6_476_271_616), ("illume_7b_qwen", 6_525_621_760)])
def test_the_large_recipes_have_the_published_sizes(name: str, decoder: int) -> None:
    """The language models' published counts without embedding and head: 6,738,415,616 - 2 * 32,000 * 4,096, and
    7,615,616,512 - 2 * 152,064 * 3,584."""
    plan = blueprint(RECIPES[name]())
    counts = {module: sum(p.numel() for p in plan.modules[module].parameters()) for module in plan.modules}
    assert counts["decoder"] == decoder
    assert counts["vision_encoder"] == 412_649_712
    assert plan.layout.levels == (16384,)


def test_the_large_recipe_takes_places_and_code_vectors_too() -> None:
    check_rules(override(illume_7b(), ["grid_positions=16", "code_vectors=true"]))


def test_the_large_recipe_for_512_pixels_still_has_256_codes() -> None:
    wanted = ["image_size=512", "encoder.shape.image_size=512", "encoder.taps.0.merge=2"]
    recipe = override(illume_7b(), [*wanted, "encoder.name=google/siglip2-so400m-patch16-512"])
    encoder = check_rules(recipe).modules["vision_encoder"]
    assert isinstance(encoder, VisionEncoder)
    assert encoder.grids((512, 512)) == ((16, 16),)
