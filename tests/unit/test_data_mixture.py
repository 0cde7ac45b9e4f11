"""Mixtures: exact shares, every item once an epoch, a pure function of the step."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from illume.core.errors import ConfigError
from illume.data.mixture import Draw, Mixture
from illume.data.permutation import permuted
from illume.data.records import Record
from illume.data.sources import Images, Size


class NoImages:
    """Images of which there are none."""

    name, fingerprint = "none", "none"
    size: Size = (1, 1)

    def keys(self) -> tuple[str, ...]:
        return ()

    def image(self, key: str) -> np.ndarray:
        raise AssertionError(key)


class Numbers:
    """A source of `length` records that are only numbered."""

    def __init__(self, name: str, length: int) -> None:
        self.name, self.length = name, length
        self.images: Images = NoImages()

    def __len__(self) -> int:
        return self.length

    def record(self, index: int) -> Record:
        return Record("text", text=str(index))


def mixture(*weights: float, lengths: tuple[int, ...] = (), seed: int = 0) -> Mixture:
    lengths = lengths or tuple(7 + i for i in range(len(weights)))
    return Mixture([(Numbers(f"s{i}", lengths[i]), w) for i, w in enumerate(weights)], seed)


@given(size=st.integers(1, 300), seed=st.integers(0, 5))
def test_permuted_is_a_bijection(size: int, seed: int) -> None:
    assert sorted(permuted(index, size, "key", seed) for index in range(size)) == list(range(size))


def test_permutations_shuffle_and_differ_by_key() -> None:
    orders = [tuple(permuted(i, 100, key) for i in range(100)) for key in range(20)]
    assert len(set(orders)) == 20
    fixed = sum(order[i] == i for order in orders for i in range(100))
    assert fixed < 60, "on average one point a permutation stays where it was"


def test_permuted_refuses_what_is_outside() -> None:
    with pytest.raises(ValueError, match="outside"):
        permuted(3, 3)


@given(
    weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=6),
    batch_size=st.integers(1, 40),
    step=st.integers(0, 10**6),
)
def test_shares_are_exact_over_time(weights: list[float], batch_size: int, step: int) -> None:
    mixed = mixture(*weights)
    draws = mixed.at(step, batch_size)
    assert len(draws) == batch_size
    counts = mixed.counts(step * batch_size)
    assert sum(counts) == step * batch_size
    for count, weight in zip(counts, weights, strict=True):
        ideal = step * batch_size * weight / sum(weights)
        assert abs(count - ideal) < len(weights) + 1e-5 * step * batch_size  # weights are rounded to millionths
    assert all(after >= before for before, after in zip(counts, mixed.counts((step + 1) * batch_size), strict=True))


def test_shares_that_divide_the_batch_are_the_same_every_step() -> None:
    mixed = mixture(0.1, 0.2, 0.7)
    assert all(Counter(d.source for d in mixed.at(step, 30)) == {0: 3, 1: 6, 2: 21} for step in range(50))


def epochs(mixed: Mixture, steps: int, batch_size: int) -> dict[tuple[int, int], list[int]]:
    found: dict[tuple[int, int], list[int]] = {}
    for step in range(steps):
        for draw in mixed.at(step, batch_size):
            found.setdefault((draw.source, draw.epoch), []).append(draw.item)
    return found


def test_every_item_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    mixed = mixture(1, 3, lengths=(10, 16))
    seen = epochs(mixed, steps=20, batch_size=8)
    whole = {key: items for key, items in seen.items() if len(items) == len(mixed.sources[key[0]])}
    assert len(whole) >= 8
    assert all(sorted(items) == list(range(len(items))) for items in whole.values())
    assert len({tuple(items) for items in whole.values()}) == len(whole)


def test_a_step_is_a_pure_function_of_seed_and_number() -> None:
    assert mixture(1, 2).at(5, 9) == mixture(1, 2).at(5, 9)
    assert mixture(1, 2).at(5, 9) != mixture(1, 2, seed=1).at(5, 9)
    assert all(isinstance(draw, Draw) for draw in mixture(1).at(0, 3))


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([], "at least one"),
        ([(Numbers("a", 1), 0.0)], "above 0"),
        ([(Numbers("a", 1), float("nan"))], "above 0"),
        ([(Numbers("a", 0), 1.0)], "no items"),
        ([(Numbers("a", 1), 1.0), (Numbers("a", 1), 1.0)], "both|called 'a'"),
        ([(Numbers("a", 1), 1.0), (Numbers("b", 1), 1e-9)], "million"),
    ],
)
def test_bad_mixtures(entries: list[tuple[Numbers, float]], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Mixture(entries)
