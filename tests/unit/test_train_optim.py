"""Optimisers are built from the rules, follow the schedule, and their state can be loaded in place."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from fixtures.tiny_training import RULES, STAGE, TinyObjective
from illume.core.errors import ConfigError
from illume.train.objective import named_parameters
from illume.train.optim import assign_rules, build_optimizers, optimizer_tensors, parameter_table, set_rates
from illume.train.stage import Rule


def test_groups_have_the_rates_of_their_rules_times_the_factor() -> None:
    optimizers = build_optimizers(TinyObjective(), STAGE)
    set_rates(optimizers, 0.5)
    rates = {name: group["lr"] for opt in optimizers for group in opt.param_groups for name in group["param_names"]}
    assert rates == {"body.weight": 0.01, "body.bias": 0.005, "head.weight": 0.005, "head.bias": 0.005}
    assert [type(optimizer).__name__ for optimizer in optimizers] == ["AdamW", "Muon"]


def test_a_broken_table_names_every_offender() -> None:
    rules = (Rule("body.*", lr=1.0), Rule("body.bias", lr=1.0), Rule("ghost", lr=1.0), Rule("frozen.*", lr=0.0))
    with pytest.raises(ConfigError) as caught:
        assign_rules(TinyObjective(), replace(STAGE, rules=rules))
    message = str(caught.value)
    for part in ("'body.bias' matches 2 rules", "'head.weight' matches no rule", "'ghost' matches no parameter"):
        assert part in message
    assert "frozen" not in message


def test_muon_refuses_what_is_not_a_matrix() -> None:
    rules = (Rule("body.*", lr=1.0, optimizer="muon"), *RULES[2:], Rule("head.*", lr=1.0))
    with pytest.raises(ConfigError, match=r"'body.bias' of shape \(4,\) cannot use muon"):
        build_optimizers(TinyObjective(), replace(STAGE, rules=rules))


def test_trained_weights_are_float32_and_frozen_ones_may_be_anything() -> None:
    objective = TinyObjective()
    objective.parts["frozen"].bfloat16()
    assign_rules(objective, STAGE)
    objective.parts["head"].bfloat16()
    with pytest.raises(ConfigError, match="kept in float32"):
        assign_rules(objective, STAGE)


def test_a_stage_that_trains_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to train"):
        assign_rules(TinyObjective(), replace(STAGE, rules=(Rule(".*", lr=0.0),)))


def test_the_table_counts_every_number_once_on_the_meta_device_too() -> None:
    objective = TinyObjective()
    for module in objective.parts.values():
        module.to("meta")
    table = parameter_table(objective, STAGE)
    assert [(row.optimizer, row.tensors, row.parameters) for row in table] == [
        ("muon", 1, 16),
        ("adamw", 3, 9),
        ("frozen", 2, 16),
    ]
    assert sum(row.parameters for row in table) == sum(p.numel() for p in named_parameters(objective).values())


def test_a_shared_parameter_goes_by_its_first_name() -> None:
    objective = TinyObjective()
    body = objective.parts["body"]
    assert isinstance(body, nn.Linear)
    objective.parts["twin"] = nn.Linear(4, 4)
    objective.parts["twin"].weight = body.weight
    assert "twin.weight" not in named_parameters(objective)
    assert "twin.bias" in named_parameters(objective)


def test_making_the_state_moves_nothing() -> None:
    objective = TinyObjective()
    before = {name: value.detach().clone() for name, value in named_parameters(objective).items()}
    tensors = optimizer_tensors(build_optimizers(objective, STAGE))
    assert set(tensors["head.bias"]) >= {"exp_avg", "exp_avg_sq", "step"}
    assert set(tensors["body.weight"]) == {"momentum_buffer"}
    for name, value in named_parameters(objective).items():
        assert torch.equal(before[name], value)
        assert value.grad is None
