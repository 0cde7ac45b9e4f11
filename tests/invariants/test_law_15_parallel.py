"""Law 15: codes drawn several at a time are drawn from exactly what ordinary sampling draws them from, one by one."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import jaxtyping
import pytest
import torch
from torch import Tensor

from fixtures.tabled import Branches, Codes, Table, distributions, drawn
from illume.generate import coupling
from illume.generate.parallel import Parallel, Task
from illume.vocab.messages import ImageFrame

Break = Callable[[pytest.MonkeyPatch], None]

THREE = Table((3,), ImageFrame(((1, 3),)))
LEVELS = Table((2, 3), ImageFrame(((1, 2), (1, 2))), seed=1)
SQUARE = Table((3,), ImageFrame(((2, 2),)), seed=2)
LEVEL = 1e-6  # of significance: so seldom does a fair sample look this unlikely


def keep_old_drafts(patch: pytest.MonkeyPatch) -> None:
    """What the published method is often simplified to: a draft that was not reached stays, whatever is known now."""
    take = Parallel._take

    def stale(self: Parallel, task: Task) -> bool:
        drafts = task.window.drafts
        goes_on = take(self, task)
        for n in range(task.last + 1, min(len(task.chosen), len(drafts))):
            task.chosen[n] = replace(task.chosen[n], code=drafts[n].code)
        return goes_on

    patch.setattr(Parallel, "_take", stale)


def draw_anew_from_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(coupling, "residual", lambda wanted, drafted: wanted)


def accept_what_is_likely(patch: pytest.MonkeyPatch) -> None:
    def without_ratio(wanted: Tensor, drafted: Tensor, drafts: Tensor) -> Tensor:
        column = drafts[:, None]
        likely = wanted.gather(-1, column)[:, 0]
        return torch.where(drafted.gather(-1, column)[:, 0] > 0, likely, 0.0)

    patch.setattr(coupling, "acceptance", without_ratio)


def remember_the_wrong_distribution(patch: pytest.MonkeyPatch) -> None:
    """Drafts are said to be from the distribution of the place before."""
    draft = Parallel._draft

    def beside(self: Parallel, tasks: list[Task]) -> None:
        draft(self, tasks)
        for task in tasks:
            task.window.drafts = [replace(one, row=max(one.row - 1, 0)) for one in task.window.drafts]

    patch.setattr(Parallel, "_draft", beside)


BROKEN: tuple[Break, ...] = (
    keep_old_drafts, draw_anew_from_all, accept_what_is_likely, remember_the_wrong_distribution
)  # fmt: skip


def enumerated(table: Table, ahead: int) -> dict[Codes, float]:
    """The probability of every drawing, over all ways that drafting it can go."""
    branches = Branches()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("illume.generate.parallel.couple", branches.couple)
        patch.setattr("illume.generate.parallel.draw", branches.draw)
        patch.setattr("illume.generate.parallel.distributions", distributions)
        return branches.runs(lambda: drawn(table, ahead, [0])[0])


def check_all_branches_together(table: Table, ahead: int) -> None:
    found, exact = enumerated(table, ahead), table.exact()
    assert found.keys() == exact.keys()
    assert max(abs(found[codes] - exact[codes]) for codes in exact) < 1e-9


@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_all_branches_together_are_the_product_of_the_conditionals(ahead: int) -> None:
    check_all_branches_together(THREE, ahead)


@pytest.mark.parametrize("ahead", [1, 2])
def test_so_they_are_where_a_second_level_begins(ahead: int) -> None:
    check_all_branches_together(LEVELS, ahead)


@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_so_they_are_where_drafts_are_carried_over_several_steps(ahead: int) -> None:
    check_all_branches_together(SQUARE, ahead)


@pytest.mark.parametrize("broken", BROKEN)
def test_the_check_catches_what_changes_the_distribution(monkeypatch: pytest.MonkeyPatch, broken: Break) -> None:
    broken(monkeypatch)
    with pytest.raises(AssertionError):
        check_all_branches_together(THREE, 3)


def surprise(counts: Counter[Codes], exact: dict[Codes, float]) -> float:
    """The p-value of a G-test: how seldom counts fall at least this far from what is expected (Wilson, Hilferty)."""
    number = sum(counts.values())
    g = 2 * sum(count * math.log(count / (number * exact[codes])) for codes, count in counts.items())
    freedom = len(exact) - 1
    spread = 2 / (9 * freedom)
    z = ((g / freedom) ** (1 / 3) - 1 + spread) / spread**0.5
    return math.erfc(z / 2**0.5) / 2


@contextmanager
def types_unchecked() -> Iterator[None]:
    """Checking the types of fifty thousand drawings takes five times as long as drawing them."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def check_draws(number: int) -> None:
    with types_unchecked():
        counts = Counter(codes for at in range(0, number, 2500) for codes in drawn(SQUARE, 3, range(at, at + 2500)))
    assert sum(counts.values()) == number
    assert surprise(counts, SQUARE.exact()) > LEVEL


def test_fifty_thousand_drawings_are_distributed_as_they_should_be() -> None:
    check_draws(50_000)


@pytest.mark.parametrize("broken", BROKEN)
def test_the_test_of_draws_catches_what_changes_the_distribution(
    monkeypatch: pytest.MonkeyPatch, broken: Break
) -> None:
    broken(monkeypatch)
    with pytest.raises(AssertionError):
        check_draws(5_000)


def test_the_measure_of_surprise_knows_fair_samples_from_others() -> None:
    exact = SQUARE.exact()
    generator = torch.Generator().manual_seed(0)
    codes, weights = list(exact), torch.tensor(list(exact.values()))
    fair = Counter(codes[n] for n in torch.multinomial(weights, 20_000, True, generator=generator).tolist())
    assert surprise(fair, exact) > 0.001
    skewed = Counter(codes[n] for n in torch.multinomial(weights**0.9, 20_000, True, generator=generator).tolist())
    assert surprise(skewed, exact) < LEVEL
