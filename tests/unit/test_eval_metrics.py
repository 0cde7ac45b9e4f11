"""Means, intervals and agreement against values worked out by hand and against what they promise."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pytest

from illume.core.statistics import ci95, cohen_kappa, kappa_ci95, mean
from illume.eval.metrics import BEST_PSNR, capped_psnr

Interval = Callable[[Sequence[float], int], tuple[float, float]]


def coverage(interval: Interval, draw: Callable[[np.random.Generator], np.ndarray], truth: float) -> float:
    """How often the interval of a sample holds the mean of what it was drawn from."""
    rng = np.random.default_rng(0)
    found = [interval(draw(rng), seed) for seed in range(150)]
    return float(np.mean([low <= truth <= high for low, high in found]))


def check_covers(interval: Interval) -> None:
    for share in (0.3, 0.8):
        assert 0.88 <= coverage(interval, lambda rng, share=share: rng.random(80) < share, share) <= 0.99
    assert 0.88 <= coverage(interval, lambda rng: rng.normal(5, 2, 80), 5.0) <= 0.99


def test_the_interval_holds_the_true_mean_as_often_as_it_says() -> None:
    check_covers(ci95)


def test_the_check_catches_an_interval_that_is_too_narrow_or_too_wide() -> None:
    def scaled(factor: float) -> Interval:
        def interval(values: Sequence[float], seed: int) -> tuple[float, float]:
            low, high = ci95(values, seed)
            return mean(values) + factor * (low - mean(values)), mean(values) + factor * (high - mean(values))

        return interval

    for factor in (0.5, 2.0):
        with pytest.raises(AssertionError):
            check_covers(scaled(factor))


def test_intervals_are_the_same_at_every_call_and_of_two_values_like_those_of_many() -> None:
    values = [1.0] * 70 + [0.0] * 30
    assert ci95(values) == ci95(values)
    low, high = ci95(values)
    other_low, other_high = ci95([*values[:-1], 1e-9])  # a third value: resampled item by item
    assert (low, high) == pytest.approx((other_low, other_high), abs=0.02)
    assert (low, high) == pytest.approx((0.61, 0.79), abs=0.02)  # 0.7 +- 1.96 sqrt(0.7 0.3 / 100)
    assert ci95([0.5, 0.5]) == (0.5, 0.5)


def test_no_values_have_no_mean() -> None:
    with pytest.raises(ValueError, match="no values"):
        mean([])


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        ((20, 5, 10, 15), 0.4),  # the textbook case: observed 0.7, by chance 0.5
        ((45, 15, 25, 15), 0.1304),
        ((25, 35, 5, 35), 0.2593),
        ((10, 0, 0, 10), 1.0),
        ((0, 10, 10, 0), -1.0),
        ((20, 0, 0, 0), 0.0),  # both say yes to everything: nothing to agree on
        ((10, 0, 10, 0), 0.0),  # one says yes to everything
    ],
)
def test_kappa_is_agreement_beyond_chance(table: tuple[int, int, int, int], kappa: float) -> None:
    cells = zip(product((True, False), repeat=2), table, strict=True)
    pairs = [pair for pair, count in cells for _ in range(count)]
    ours, theirs = zip(*pairs, strict=True)
    assert cohen_kappa(ours, theirs) == pytest.approx(kappa, abs=1e-4)
    low, high = kappa_ci95(ours, theirs)
    assert low - 1e-4 <= kappa <= high + 1e-4


def test_kappa_wants_the_same_items() -> None:
    with pytest.raises(ValueError, match="same items"):
        cohen_kappa([True], [True, False])


def test_psnr_has_a_top() -> None:
    black, grey = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 51, np.uint8)
    assert capped_psnr(black, black) == BEST_PSNR
    assert capped_psnr(black, grey) == pytest.approx(20 * np.log10(5))
