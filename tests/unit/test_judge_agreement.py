"""How far judges agree: against values worked out by hand, failures apart, whatever the order."""

import json
from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from illume.core.errors import DataError
from illume.core.statistics import cohen_kappa
from illume.judge import agreement as agreement_module
from illume.judge.agreement import agreement, compare
from illume.judge.protocol import Failure, Identity, Outcome
from illume.judge.tally import tally
from illume.judge.verdicts import Judged
from illume.tasks.verdict import CRITERIA, Criterion, Verdict

ONE, OTHER = Identity("oracle", {"world": "pico"}), Identity("api", {"model": "m"})
REFUSED = Failure("refused", "no")


def said(colour: bool, relation: bool | None = None) -> Verdict:
    """Passes in all but maybe colour and relation; relation None: it does not apply."""
    passed = {"object": True, "counting": True, "colour": colour, "relation": relation is not False}
    return Verdict.of({n: Criterion(n != "relation" or relation is not None, "", p) for n, p in passed.items()})


def lines(judge: Identity, outcomes: Sequence[Outcome]) -> dict[str, Judged]:
    return {f"c{i}": Judged(f"k{i}", f"c{i}", "p", judge, outcome) for i, outcome in enumerate(outcomes)}


def test_it_is_as_worked_out_by_hand() -> None:
    """20 both pass, 5 the first alone, 10 the second alone, 15 neither: kappa .4 (Cohen's classic table)."""
    pairs = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    found = agreement(pairs)
    assert found is not None
    assert (found.num, found.both, found.first_alone, found.second_alone, found.neither) == (50, 20, 5, 10, 15)
    assert (found.accuracy, found.kappa) == (0.7, pytest.approx(0.4))
    assert found.kappa_ci95[0] < 0.4 < found.kappa_ci95[1]


def test_failures_are_counted_apart_and_agree_with_nothing() -> None:
    first = lines(ONE, [said(True), said(False), REFUSED, REFUSED, said(True)])
    second = lines(OTHER, [said(True), said(True), said(True), REFUSED, Failure("malformed", "x")])
    found = compare(first, second)
    assert (found.shared, found.overall.num if found.overall else 0) == (5, 2)
    assert found.failures == ({"refused": 2}, {"refused": 1, "malformed": 1})
    assert found.overall is not None
    assert (found.overall.both, found.overall.second_alone, found.overall.accuracy) == (1, 1, 0.5)
    assert "A gave no verdict on 2: 2 refused" in found.to_text()


def check_failures_apart(outcomes: Sequence[tuple[Outcome, Outcome]]) -> None:
    """What is compared are verdicts, and all of them; nothing that failed moves a figure."""
    first, second = (lines(who, [pair[i] for pair in outcomes]) for i, who in enumerate((ONE, OTHER)))
    verdicts = [(a, b) for a, b in outcomes if isinstance(a, Verdict) and isinstance(b, Verdict)]
    found = compare(first, second)
    assert found.overall == agreement([(a.overall, b.overall) for a, b in verdicts])
    failed = sum(sum(failures.values()) for failures in found.failures)
    assert failed == sum(isinstance(outcome, Failure) for pair in outcomes for outcome in pair)


OUTCOMES = st.just(REFUSED) | st.builds(said, st.booleans(), st.none() | st.booleans())


@given(st.lists(st.tuples(OUTCOMES, OUTCOMES), min_size=1, max_size=30))
def test_failures_never_move_a_figure(outcomes: list[tuple[Outcome, Outcome]]) -> None:
    check_failures_apart(outcomes)


def test_the_check_catches_failures_taken_for_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(said(True), said(True)), (REFUSED, said(True))]
    check_failures_apart(pairs)
    monkeypatch.setattr(agreement_module, "Verdict", object)
    monkeypatch.setattr(Failure, "overall", True, raising=False)
    monkeypatch.setattr(Failure, "criteria", said(True).criteria, raising=False)
    with pytest.raises(AssertionError):
        check_failures_apart(pairs)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_it_is_the_same_from_either_side_and_in_any_order(pairs: list[tuple[bool, bool]]) -> None:
    found, turned = agreement(pairs), agreement([(b, a) for a, b in pairs])
    assert found is not None
    assert turned is not None
    assert (found.accuracy, found.kappa) == (turned.accuracy, pytest.approx(turned.kappa))
    assert found == agreement(sorted(pairs))
    assert found.kappa_ci95[0] <= found.kappa_ci95[1] <= 1


def plain_kappa(pairs: Sequence[tuple[bool, bool]]) -> float:
    """Cohen, 1960, written out."""
    observed = sum(a == b for a, b in pairs) / len(pairs)
    shares = [[sum(pair[i] == value for pair in pairs) / len(pairs) for value in (True, False)] for i in (0, 1)]
    chance = sum(a * b for a, b in zip(*shares, strict=True))
    return 0.0 if chance == 1 else (observed - chance) / (1 - chance)


@pytest.mark.parametrize("counts", list(product((0, 1, 7), repeat=4))[1:])
def test_kappa_is_cohens(counts: tuple[int, ...]) -> None:
    pairs = [pair for pair, n in zip(product((True, False), repeat=2), counts, strict=True) for _ in range(n)]
    assert cohen_kappa([a for a, _ in pairs], [b for _, b in pairs]) == pytest.approx(plain_kappa(pairs))


def test_a_criterion_counts_where_it_applies_for_both() -> None:
    first = lines(ONE, [said(True, True), said(True, None), said(True, False)])
    second = lines(OTHER, [said(True, False), said(True, True), said(True, False)])
    found = compare(first, second)
    relation = found.criteria["relation"]
    assert relation is not None
    assert (relation.num, relation.first_alone, relation.neither) == (2, 1, 1)
    assert found.applicable["relation"] == pytest.approx(2 / 3)
    plain = json.loads(json.dumps(found.to_dict()))
    assert set(plain["criteria"]) == set(CRITERIA)
    assert plain["criteria"]["relation"]["num"] == 2


def test_judges_without_a_drawing_in_common_are_refused() -> None:
    with pytest.raises(DataError, match="no drawing in common"):
        compare(lines(ONE, [said(True)]), {})


def test_where_nothing_was_judged_there_are_no_figures() -> None:
    found = compare(lines(ONE, [REFUSED]), lines(OTHER, [said(True)]))
    assert (found.overall, found.to_dict()["overall"]) == (None, {"num": 0})
    assert "overall" in found.to_text()


def test_a_tally_counts_failures_apart() -> None:
    some = lines(ONE, [said(True), said(False, False), REFUSED, said(False)]).values()
    counts = tally(some)
    assert (counts.judged, counts.passed, counts.failures) == (4, 1, {"refused": 1})
    assert counts.wrong == {"object": (0, 3), "counting": (0, 3), "colour": (2, 3), "relation": (1, 1)}
    assert "4 drawings, 3 verdicts: 1 pass (33.3%)" in counts.to_text()
    assert "no verdict: 1 refused" in counts.to_text()
