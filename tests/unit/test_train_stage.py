"""Rules match in full, schedules rise and fall as they say, and a stage refuses values that make no sense."""

from typing import Literal

import pytest

from illume.train.stage import Rule, Schedule, Stage

Kind = Literal["constant", "cosine", "trapezoid"]
KINDS: tuple[Kind, ...] = ("constant", "cosine", "trapezoid")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
@pytest.mark.parametrize("warmup", [0.0, 0.03, 0.5])
def test_the_factor_is_never_zero_and_never_above_one(kind: Kind, steps: int, warmup: float) -> None:
    factors = [Schedule(kind, warmup).factor(step, steps) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)


@pytest.mark.parametrize("kind", KINDS)
def test_the_factor_rises_once_and_then_never_again(kind: Kind) -> None:
    factors = [Schedule(kind, warmup=0.1).factor(step, 200) for step in range(200)]
    top = factors.index(max(factors))
    assert max(factors) == 1
    assert top == 20
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


def test_a_trapezoid_is_flat_until_it_falls_to_zero() -> None:
    schedule = Schedule("trapezoid", warmup=0.03, flat=0.4)
    assert {schedule.factor(step, 100) for step in range(3, 41)} == {1.0}
    assert schedule.factor(70, 100) == pytest.approx(0.5)
    assert schedule.factor(100, 100) == 0


def test_a_rule_matches_whole_names_only() -> None:
    rule = Rule(r"adapter\..*", lr=1e-3)
    assert rule.matches("adapter.0.weight")
    assert not rule.matches("old_adapter.weight")
    assert rule.trained
    assert not Rule(".*", lr=0.0).trained


@pytest.mark.parametrize(
    "change",
    [{"steps": 0}, {"accumulate": 0}, {"ema": 1.0}, {"clip": 0.0}, {"save_every": -1}, {"mixture": {"draw": -1.0}}],
)
def test_a_stage_refuses_nonsense(change: dict[str, object]) -> None:
    values: dict[str, object] = {"name": "one", "steps": 1, "batch_size": 1, "rules": (), **change}
    with pytest.raises(ValueError, match=next(iter(change))):
        Stage(**values)  # type: ignore[arg-type]


def test_a_rule_refuses_a_broken_pattern() -> None:
    with pytest.raises(ValueError, match="regular expression"):
        Rule("(", lr=1.0)
