"""Which optimiser moves which parameter, from the rules of a stage.

It does not know what the parameters are for, only their names and shapes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from illume.core.errors import ConfigError
from illume.train.objective import Objective, named_parameters
from illume.train.stage import Rule, Stage


@dataclass(frozen=True)
class TableRow:
    """What one rule covers: `tensors` parameters with `parameters` numbers in them."""

    rule: str
    optimizer: str
    lr: float
    tensors: int
    parameters: int
    trained: bool


def assign_rules(objective: Objective, stage: Stage) -> dict[str, Rule]:
    """The one rule of each parameter. ConfigError names parameters with none or several, and rules with none."""
    problems: list[str] = []
    assigned: dict[str, Rule] = {}
    idle = set(range(len(stage.rules)))
    for name, parameter in named_parameters(objective).items():
        matching = [number for number, rule in enumerate(stage.rules) if rule.matches(name)]
        idle.difference_update(matching)
        rules = [stage.rules[number] for number in matching]
        problems += _problems_of(name, parameter, rules)
        if len(rules) == 1:
            assigned[name] = rules[0]
    problems += [f"rule {stage.rules[number].pattern!r} matches no parameter" for number in sorted(idle)]
    if not problems and not any(rule.trained for rule in assigned.values()):
        problems.append("every rule has lr 0, so there is nothing to train")
    if problems:
        raise ConfigError(f"stage {stage.name!r}: each parameter needs exactly one rule:\n  " + "\n  ".join(problems))
    return assigned


def _problems_of(name: str, parameter: nn.Parameter, rules: Sequence[Rule]) -> list[str]:
    if not rules:
        return [f"parameter {name!r} matches no rule"]
    if len(rules) > 1:
        return [f"parameter {name!r} matches {len(rules)} rules: " + ", ".join(repr(rule.pattern) for rule in rules)]
    if not rules[0].trained:
        return []
    if parameter.dtype != torch.float32:
        return [f"parameter {name!r} is {parameter.dtype}: trained weights are kept in float32 (the stage casts)"]
    if rules[0].optimizer == "muon" and parameter.ndim != 2:
        shape = tuple(parameter.shape)
        return [f"parameter {name!r} of shape {shape} cannot use muon ({rules[0].pattern!r}): two-dimensional only"]
    return []


def parameter_table(objective: Objective, stage: Stage) -> list[TableRow]:
    """One row a rule, in the stage's order. Works on the meta device too."""
    assigned, parameters = assign_rules(objective, stage), named_parameters(objective)
    rows = []
    for rule in stage.rules:
        sizes = [parameters[name].numel() for name, own in assigned.items() if own is rule]
        kind = rule.optimizer if rule.trained else "frozen"
        rows.append(TableRow(rule.pattern, kind, rule.lr, len(sizes), sum(sizes), rule.trained))
    return rows


def build_optimizers(objective: Objective, stage: Stage) -> list[Optimizer]:
    """The stage's optimisers, a group a rule, fp32 master weights. Frozen parameters lose their `requires_grad`.

    Muon (Jordan et al. 2024) is torch's, with the rate unadjusted by shape beyond the original square-root factor.
    """
    assigned, parameters = assign_rules(objective, stage), named_parameters(objective)
    for name, rule in assigned.items():
        parameters[name].requires_grad_(rule.trained)
    groups: dict[str, list[dict[str, Any]]] = {"adamw": [], "muon": []}
    for rule in stage.rules:
        if rule.trained:
            named = [(name, parameters[name]) for name, own in assigned.items() if own is rule]
            group = {"params": named, "lr": rule.lr, "base_lr": rule.lr, "weight_decay": rule.weight_decay}
            groups[rule.optimizer].append(group)
    optimizers: list[Optimizer] = []
    if groups["adamw"]:  # fused: measured five times as fast as foreach on CPU, twice as fast as the plain loop
        optimizers.append(torch.optim.AdamW(groups["adamw"], betas=stage.betas, fused=True))
    if groups["muon"]:
        optimizers.append(torch.optim.Muon(groups["muon"], momentum=stage.momentum, adjust_lr_fn="original"))
    return optimizers


def set_rates(optimizers: Iterable[Optimizer], factor: float) -> None:
    """Every group's rate is its rule's times the schedule's factor."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor


def optimizer_tensors(optimizers: Iterable[Optimizer]) -> dict[str, dict[str, Tensor]]:
    """Each parameter's optimiser state by its name; made first where no step has made it yet, so that it can be
    loaded in place."""
    tensors: dict[str, dict[str, Tensor]] = {}
    for optimizer in optimizers:
        _materialise(optimizer)
        for group in optimizer.param_groups:
            for name, parameter in zip(group["param_names"], group["params"], strict=True):
                tensors[name] = optimizer.state[parameter]
    return tensors


def _materialise(optimizer: Optimizer) -> None:
    """Let the optimiser create its state by a step that moves nothing: rate 0, gradient 0."""
    if optimizer.state:
        return
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    rates = [group["lr"] for group in optimizer.param_groups]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    optimizer.zero_grad()
