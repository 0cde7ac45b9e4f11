"""Law 7: each parameter matches exactly one rule of a stage; after a step the frozen ones are bit-identical."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fixtures.tiny_training import CPU, STAGE, TinyLoader, TinyObjective, train
from illume.core.errors import ConfigError
from illume.train.interrupt import Interrupt
from illume.train.objective import named_parameters
from illume.train.optim import assign_rules
from illume.train.stage import Rule, Stage
from illume.train.state import TrainState
from illume.train.trainer import take_step

STAGES = {
    "some frozen": STAGE,
    "all trained": replace(STAGE, rules=(Rule(".*", lr=0.1),)),
    "decay on what is trained only": replace(
        STAGE, rules=(Rule("head.*", lr=0.1, weight_decay=0.5), Rule("(?!head).*", lr=0.0, weight_decay=0.5))
    ),
}


def check_each_has_one_rule(objective: TinyObjective, stage: Stage) -> None:
    assigned = assign_rules(objective, stage)
    assert assigned.keys() == named_parameters(objective).keys()
    for name, rule in assigned.items():
        assert [other for other in stage.rules if other.matches(name)] == [rule]


def check_frozen_stay(before: Mapping[str, Tensor], after: Mapping[str, Tensor], frozen: set[str]) -> None:
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == before.keys() - frozen


def snapshot(objective: TinyObjective) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in named_parameters(objective).items()}


@pytest.mark.parametrize("name", STAGES)
def test_each_parameter_has_one_rule_and_frozen_ones_stay(name: str) -> None:
    objective, stage = TinyObjective(), STAGES[name]
    check_each_has_one_rule(objective, stage)
    frozen = {parameter for parameter, rule in assign_rules(objective, stage).items() if not rule.trained}
    before = snapshot(objective)
    state, _ = train(replace(stage, ema=None), objective=objective)
    check_frozen_stay(before, snapshot(objective), frozen)
    assert not any(named_parameters(objective)[parameter].requires_grad for parameter in frozen)
    assert state.parameters.keys() == before.keys() - frozen


def test_a_stage_that_freezes_follows_one_that_trains() -> None:
    objective = TinyObjective()
    train(STAGES["all trained"], objective=objective)
    before = snapshot(objective)
    train(replace(STAGE, ema=None), objective=objective)
    check_frozen_stay(before, snapshot(objective), {"frozen.weight", "frozen.bias"})


@pytest.mark.parametrize("rules", [STAGE.rules[1:], (*STAGE.rules, Rule("head.bias", lr=0.1))])
def test_a_gap_and_an_overlap_are_refused(rules: tuple[Rule, ...]) -> None:
    with pytest.raises(ConfigError, match="exactly one rule"):
        check_each_has_one_rule(TinyObjective(), replace(STAGE, rules=rules))


def test_the_check_catches_freezing_by_masking_gradients() -> None:
    """Zeroed gradients do not stop the weight decay of a decoupled optimiser: why frozen means not given to it."""
    objective = TinyObjective()
    stage = replace(STAGE, ema=None, clip=None, rules=(Rule(".*", lr=0.1, weight_decay=0.1),))
    state = TrainState.begin(objective, stage, CPU)
    for parameter in objective.parts["frozen"].parameters():
        parameter.register_hook(torch.zeros_like)
    before = snapshot(objective)
    take_step(state, TinyLoader(stage), Interrupt())
    with pytest.raises(AssertionError):
        check_frozen_stay(before, snapshot(objective), {"frozen.weight", "frozen.bias"})
