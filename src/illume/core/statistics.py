"""Figures from lists of numbers: means, confidence intervals, agreement; it does not know what was measured."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from illume.core.streams import seed_of

RESAMPLES = 2000


def mean(values: Sequence[float]) -> float:
    """The mean; ValueError when there is nothing to take it of."""
    if not len(values):
        raise ValueError("the mean of no values")
    return float(np.mean(values))


def ci95(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The 95% bootstrap interval of the mean (percentiles over resamplings of the items), the same at every call.

    For two-valued scores the resampled mean is a binomial share, so it is drawn as one: exact and fast.
    """
    array = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed_of("ci95", seed))
    low, high = array.min(), array.max()
    if low == high:
        return float(low), float(high)
    if np.isin(array, (low, high)).all():
        share = (array == high).mean()
        means = low + (high - low) * rng.binomial(len(array), share, RESAMPLES) / len(array)
    else:
        means = np.array([rng.choice(array, len(array)).mean() for _ in range(RESAMPLES)])
    return float(np.percentile(means, 2.5)), float(np.percentile(means, 97.5))


def cohen_kappa(ours: Sequence[bool], theirs: Sequence[bool]) -> float:
    """Agreement beyond chance of two raters over the same items (Cohen, 1960); 1 is full, 0 what chance gives.

    Where chance agreement is already full (both give one and the same answer to everything) there is nothing to
    agree on beyond it, and kappa is 0.
    """
    return float(_kappas(_table(ours, theirs)[None])[0])


def kappa_ci95(ours: Sequence[bool], theirs: Sequence[bool], seed: int = 0) -> tuple[float, float]:
    """The 95% bootstrap interval of kappa, pairs resampled together: that is, their table of counts is."""
    table = _table(ours, theirs)
    rng = np.random.default_rng(seed_of("kappa", seed))
    kappas = _kappas(rng.multinomial(table.sum(), table / table.sum(), RESAMPLES))
    return float(np.percentile(kappas, 2.5)), float(np.percentile(kappas, 97.5))


def _table(ours: Sequence[bool], theirs: Sequence[bool]) -> Int64[np.ndarray, "4"]:
    """How often both say no, the second alone says yes, the first alone, both."""
    a, b = np.asarray(ours, dtype=bool), np.asarray(theirs, dtype=bool)
    if a.shape != b.shape or not a.size:
        raise ValueError(f"two raters over the same items, at least one: {a.size} and {b.size}")
    return np.bincount(2 * a + b, minlength=4)


def _kappas(tables: Int64[np.ndarray, "n 4"]) -> Float64[np.ndarray, "n"]:
    neither, theirs, ours, both = (tables / tables.sum(1, keepdims=True)).T
    chance = (ours + both) * (theirs + both) + (neither + theirs) * (neither + ours)
    sure = np.isclose(chance, 1, rtol=0, atol=1e-12)
    return np.where(sure, 0.0, (neither + both - chance) / np.where(sure, 1.0, 1 - chance))
