"""Paired differences with 95% intervals: over seeds by Student's t, of one seed over its items by the bootstrap."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Literal

import numpy as np

from benchmarks.enhance.results import Score
from illume.core.statistics import RESAMPLES
from illume.core.streams import seed_of

# The 97.5% quantiles of Student's t with 1, 2, ... degrees of freedom.
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)


@dataclass(frozen=True)
class Difference:
    """Ours less theirs: the mean over the `seeds` that both have, and its interval. `over` "items" (there is one seed)
    says nothing of how another seed would come out."""

    mean: float
    low: float
    high: float
    seeds: int
    over: Literal["seeds", "items"]

    @property
    def above(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.low > 0

    @property
    def below(self) -> bool:
        """Whether the whole interval lies below 0."""
        return self.high < 0


def paired(ours: Mapping[int, Score], theirs: Mapping[int, Score]) -> Difference | None:
    """Of scores by seed; None where no seed has both. ValueError where a seed's scores are not of the same items."""
    shared = sorted(ours.keys() & theirs.keys())
    for seed in shared:
        if (ours[seed].n, ours[seed].true) != (theirs[seed].n, theirs[seed].true):
            raise ValueError(f"seed {seed}: scores of different items cannot be paired")
    if not shared:
        return None
    if len(shared) == 1:
        return over_items(ours[shared[0]], theirs[shared[0]])
    return over_seeds([ours[seed].score - theirs[seed].score for seed in shared])


def over_seeds(differences: list[float]) -> Difference:
    """Of two seeds or more, a difference each."""
    count, middle = len(differences), mean(differences)
    reach = T_975[min(count - 1, len(T_975)) - 1] * stdev(differences) / count**0.5
    return Difference(middle, middle - reach, middle + reach, count, "seeds")


def over_items(ours: Score, theirs: Score) -> Difference:
    """Of one seed: items resampled in pairs; that is, the table of what both got right is."""
    table = _table(ours, theirs)
    rng = np.random.default_rng(seed_of("paired", 0))
    drawn = rng.multinomial(table.sum(), table / table.sum(), RESAMPLES)
    figure = _kappa if ours.true else _share
    differences = figure(drawn, 1) - figure(drawn, 0)
    low, high = (float(np.percentile(differences, percent)) for percent in (2.5, 97.5))
    return Difference(ours.score - theirs.score, low, high, 1, "items")


def _table(ours: Score, theirs: Score) -> np.ndarray:
    """How often each combination of (true, ours, theirs) comes, as the three bits of an index."""
    true = _bits(ours.true or "0" * ours.n)
    return np.bincount(4 * true + 2 * _bits(ours.items) + _bits(theirs.items), minlength=8)


def _bits(digits: str) -> np.ndarray:
    return np.frombuffer(digits.encode(), np.uint8).astype(np.int64) - ord("0")


def _share(tables: np.ndarray, bit: int) -> np.ndarray:
    """The share of items right; bit 1 is ours, 0 theirs."""
    right = [cell for cell in range(8) if cell >> bit & 1]
    return tables[:, right].sum(1) / tables.sum(1)


def _kappa(tables: np.ndarray, bit: int) -> np.ndarray:
    """Cohen's kappa of what one says with what is true."""
    total = tables.sum(1)
    cells = {
        (t, s): sum(tables[:, c] for c in range(8) if c >> 2 == t and c >> bit & 1 == s) for t in (0, 1) for s in (0, 1)
    }
    agreed = (cells[0, 0] + cells[1, 1]) / total
    true, said = (cells[1, 0] + cells[1, 1]) / total, (cells[0, 1] + cells[1, 1]) / total
    chance = true * said + (1 - true) * (1 - said)
    sure = np.isclose(chance, 1, rtol=0, atol=1e-12)
    return np.where(sure, 0.0, (agreed - chance) / np.where(sure, 1.0, 1 - chance))
