"""Under LoRA every parameter has one rule still, the base stays bit for bit, and a stopped stage goes on the same."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fixtures.tiny_training import CPU, Recorder, StopAt
from fixtures.tiny_unified import RULES, SequenceBatch, drawing, pack, reading, tiny_unified
from illume.core.config import override, to_dict
from illume.models.lora import LoRAConfig, add_lora, lora_layers
from illume.models.unified import Unified
from illume.recipes import adapt
from illume.recipes.adapt import encoder_moves, lora_stage
from illume.recipes.blueprint import blueprint
from illume.recipes.catalog import RECIPES
from illume.recipes.folder import part_hashes
from illume.recipes.show import describe_recipe
from illume.train.lm_objective import LMObjective
from illume.train.objective import named_parameters
from illume.train.optim import assign_rules
from illume.train.stage import Rule, Schedule, Stage
from illume.train.trainer import fit

LORA = LoRAConfig(rank=2, alpha=4.0, dropout=0.1, lr=1e-2)
STAGE = Stage(name="tiny", steps=8, batch_size=4, rules=RULES, schedule=Schedule(warmup=0.1), dtype="float32")
BATCH = pack((drawing("0"), reading("1")), (drawing("2"), reading("4")))


class Always:
    def batches(self, step: int) -> list[SequenceBatch]:
        return [BATCH]


def adapted(lora: LoRAConfig = LORA) -> LMObjective:
    model = tiny_unified()
    torch.manual_seed(5)
    add_lora(model.decoder, lora)
    return LMObjective(model)


def train(folder: Path | None = None, stop: int | None = None, stage: Stage = STAGE) -> tuple[Unified, list[float]]:
    recorders = [Recorder()] if stop is None else [StopAt(stop, politely=True), Recorder()]
    for recorder in recorders:
        objective = adapted()
        adapted_stage = lora_stage(stage, objective, LORA)
        with suppress(KeyboardInterrupt):
            fit(objective, Always(), adapted_stage, [recorder], folder=folder, device=CPU, config_hash="lora")
    return objective.model, recorders[-1].losses


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def check_base_stays(stage: Stage = STAGE) -> None:
    """The decoder's weights and the text rows are what they were; A, B and all that is trained beside them are not."""
    before = {name: value.clone() for name, value in adapted().model.state_dict().items()}
    model, losses = train(stage=stage)
    found = moved(before, model.state_dict())
    factors = {name for name in before if "lora_" in name}
    assert factors <= found
    assert {"embedding.vision", "head.vision", "adapter.levels.0.up_proj.weight"} <= found
    assert not {name for name in found - factors if name.startswith(("decoder.", "vision_encoder."))}
    assert not found & {"embedding.text", "head.text"}
    assert losses[-1] < losses[0]


def test_the_base_stays_bit_for_bit() -> None:
    check_base_stays()


def test_the_check_catches_a_base_that_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapt, "BASE", r"(embedding|head)\.text")
    monkeypatch.setattr(adapt, "REST", rf"(?!{adapt.FACTORS}$|(embedding|head)\.text$)")
    with pytest.raises(AssertionError):
        check_base_stays()


def test_a_stopped_stage_goes_on_to_the_same_end(tmp_path: Path) -> None:
    whole, losses = train()
    stopped, rest = train(tmp_path, stop=5)
    assert 0 < len(rest) < 4
    assert rest == losses[-len(rest) :]
    assert not moved(whole.state_dict(), stopped.state_dict())


def test_a_stage_that_leaves_the_decoder_alone_leaves_lora_alone() -> None:
    objective = adapted()
    quiet = replace(STAGE, rules=(Rule(r"adapter\..*", 1e-3), Rule(r"(?!adapter\.).*", 0.0)))
    assigned = assign_rules(objective, lora_stage(quiet, objective, LORA))
    assert {name.split(".")[0] for name, rule in assigned.items() if rule.trained} == {"adapter"}
    assert lora_stage(quiet, objective, None) is quiet


@pytest.mark.parametrize("name", RECIPES)
def test_every_parameter_of_every_recipe_has_one_rule(name: str) -> None:
    recipe = override(RECIPES[name](), ["lora.rank=4", "lora.targets=[q_proj, v_proj]"])
    plan = blueprint(recipe)
    for stage, objective in plan.stages:
        assigned = assign_rules(objective, stage)
        assert assigned.keys() == named_parameters(objective).keys()
        for parameter, rule in assigned.items():
            if parameter.startswith("decoder."):
                assert rule.lr == (2e-4 if "lora_" in parameter and stage.name != "stage1" else 0.0)
            if parameter in ("embedding.vision", "head.vision"):
                assert rule.trained
    assert len(lora_layers(plan.modules["decoder"])) == 2 * recipe.decoder.shape.layers


def test_show_counts_what_is_trained() -> None:
    recipe = override(RECIPES["illume_7b"](), ["lora.rank=8"])
    told = describe_recipe(recipe).data
    layers, width, hidden = 32, 4096, 11008
    factors = layers * 8 * (4 * 2 * width + 3 * (width + hidden))
    stage2 = {row["rule"]: row["parameters"] for row in told["stages"]["stage2"]}
    assert stage2[adapt.FACTORS] == factors
    rows = [row for row in told["stages"]["stage2"] if row["trained"]]
    assert told["trained"]["stage2"] == sum(row["parameters"] for row in rows) < 0.04 * told["parameters"]["decoder"]


def test_a_recipe_without_lora_keeps_its_names() -> None:
    """Runs that were begun before there was LoRA go on; with it, only the language model's stages are others."""
    recipe = RECIPES["pico"]()
    plain, changed = part_hashes(recipe), part_hashes(override(recipe, ["lora.rank=4"]))
    assert to_dict(recipe)["lora"] is None
    assert {part for part in plain if plain[part] != changed[part]} == {"stage1", "stage2", "stage3"}


def test_whether_the_encoder_moves() -> None:
    model = tiny_unified()
    assert not encoder_moves((STAGE,), model)
    assert encoder_moves((STAGE, replace(STAGE, rules=(Rule(".*", 1e-3),))), model)
