"""Filters are applied once and in order; a row's draw depends on its own logits, seed and step alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from illume.core.errors import RequestError
from illume.generate import sampling as module
from illume.generate.request import Sampling
from illume.generate.sampling import keep, keyed_uniform, sample


def draws(logits: Tensor, sampling: Sampling, count: int = 4000, seed: int = 3) -> Tensor:
    uniforms = [keyed_uniform(seed, step) for step in range(count)]
    return sample(logits.expand(count, -1), [sampling] * count, uniforms)


def frequencies(logits: Tensor, sampling: Sampling) -> Tensor:
    return torch.bincount(draws(logits, sampling), minlength=logits.shape[-1]) / 4000


def reference(logits: Tensor, sampling: Sampling) -> Tensor:
    """The three filters written as plainly as possible, for one row."""
    scaled = logits / sampling.temperature
    if sampling.top_k:
        scaled = scaled.where(scaled >= scaled.sort(descending=True).values[sampling.top_k - 1], float("-inf"))
    probabilities, columns = scaled.softmax(-1).sort(descending=True)
    kept, mass = torch.zeros_like(probabilities), 0.0
    for i, probability in enumerate(probabilities.tolist()):
        if mass >= sampling.top_p:
            break
        kept[columns[i]], mass = probability, mass + probability
    return kept / kept.sum()


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(temperature=0.5),
        Sampling(temperature=2.0, top_k=5),
        Sampling(top_p=0.6),
        Sampling(temperature=0.7, top_k=6, top_p=0.8),
        Sampling(top_k=1),
        Sampling(top_p=1e-9),
    ],
)
def test_draws_follow_the_filtered_distribution(sampling: Sampling) -> None:
    logits = torch.randn(12, generator=torch.Generator().manual_seed(0)) * 2
    expected = reference(logits, sampling)
    seen = frequencies(logits, sampling)
    assert (seen[expected == 0] == 0).all()
    assert (seen - expected).abs().max() < 0.03


Keep = Callable[[Tensor, list[Sampling]], tuple[Tensor, Tensor | None]]


def check_filters_once(keep_function: Keep) -> None:
    logits, sampling = torch.tensor([[3.0, 2.0, 1.0, 0.0]]), Sampling(temperature=0.7, top_k=3, top_p=0.99)
    probabilities, columns = keep_function(logits, [sampling])
    assert columns is not None
    dense = torch.zeros(4).scatter(0, columns[0], probabilities[0])
    torch.testing.assert_close(dense / dense.sum(), reference(logits[0], sampling))


def test_filters_are_applied_once() -> None:
    check_filters_once(keep)


def test_the_check_catches_a_temperature_applied_twice() -> None:
    with pytest.raises(AssertionError):
        check_filters_once(lambda logits, samplings: keep(logits / samplings[0].temperature, samplings))


def test_temperature_zero_takes_the_likeliest() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [5.0, 2.0, 1.0]])
    assert sample(logits, [Sampling(temperature=0)] * 2, [0.99, 0.99]).tolist() == [1, 0]


def test_a_draw_never_takes_an_impossible_column() -> None:
    logits = torch.tensor([[float("-inf"), 0.0, float("-inf")]]).expand(2, -1)
    largest = 1 - 2.0**-23
    for sampling in (Sampling(), Sampling(top_k=3), Sampling(top_k=2, top_p=0.9)):
        assert sample(logits, [sampling] * 2, [0.0, largest]).tolist() == [1, 1]


FLOATS = st.floats(-(2.0**100), 2.0**100, width=32) | st.sampled_from([0.0, 1e-45, -1e-45, 1.0, 88.0, -3e33, 3e33])
UNITS = st.floats(0, 1, width=32, exclude_max=True) | st.sampled_from([0.0, 1 - 2.0**-23])


def check_a_column_comes(logits: list[float], values: dict[str, Any], uniform: float) -> None:
    """Of every setting that is taken a column comes that is there and can be, whatever the logits are."""
    try:
        sampling = Sampling(**values)
    except RequestError:
        return
    given = torch.tensor([logits, logits])
    for strict in (False, True):
        chosen = sample(given, [sampling] * 2, [uniform, 0.0], strict=strict).tolist()
        assert all(0 <= column < len(logits) for column in chosen)
        assert chosen[1] == chosen[0] or sampling.temperature != 0
        probabilities, columns = keep(given, [sampling] * 2, strict=strict)
        assert probabilities.isfinite().all()
        assert (probabilities.sum(-1) > 0).all(), "no column is left"
        if columns is not None:
            assert (probabilities[:, 0] > 0).all(), "the likeliest is left out"


@given(
    st.lists(FLOATS, min_size=1, max_size=6),
    st.fixed_dictionaries(
        {"temperature": st.floats(0, allow_nan=False), "top_k": st.integers(0, 9), "top_p": st.floats(0, 1)}
    ),
    UNITS,
)
@example([0.0, 1.0], {"temperature": 1e-300}, 0.5)
@example([0.0, 1.0], {"temperature": 1e-4}, 0.5)
@example([3e30, -3e30], {"temperature": 1e-4}, 0.5)
@example([3e30, -3e30], {"temperature": 1e4}, 0.5)
@example([0.0, 1.0], {"temperature": 1e300}, 0.5)
@example([0.0, 1.0], {"top_p": 1e-46}, 0.5)
@example([0.0, 1.0], {"top_p": 1e-9}, 1 - 2.0**-23)
def test_of_any_setting_that_is_taken_a_column_comes(logits: list[float], values: Any, uniform: float) -> None:
    check_a_column_comes(logits, values, uniform)


def test_the_check_catches_settings_that_become_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sampling, "__post_init__", lambda self: None)
    with pytest.raises(AssertionError):
        check_a_column_comes([0.0, 1.0], {"temperature": 1e-300}, 0.5)


def test_the_likeliest_is_kept_even_where_top_p_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_limit", lambda top_p: 0.0)
    assert sample(torch.tensor([[0.0, 2.0, 1.0]]), [Sampling(top_p=0.5)], [0.9]).tolist() == [1]


def test_logits_that_are_no_numbers_cost_no_other_row() -> None:
    logits = torch.tensor([[float("nan")] * 3, [float("-inf"), 0.0, float("-inf")]])
    for sampling in (Sampling(), Sampling(top_k=2), Sampling(top_p=0.5)):
        first, second = sample(logits, [sampling] * 2, [0.5, 0.5]).tolist()
        assert 0 <= first < 3
        assert second == 1


def test_batch_mates_change_nothing() -> None:
    logits = torch.randn(33, 100, generator=torch.Generator().manual_seed(1))
    uniforms = [keyed_uniform(row, 0) for row in range(33)]
    for sampling in (Sampling(), Sampling(top_k=20, top_p=0.9)):
        together = sample(logits, [sampling] * 33, uniforms).tolist()
        alone = [sample(logits[row : row + 1], [sampling], uniforms[row : row + 1]).item() for row in range(33)]
        assert together == alone


def test_keyed_uniforms_are_uniform_and_differ_by_seed_and_step() -> None:
    by_step = torch.tensor([keyed_uniform(7, step) for step in range(4096)])
    by_seed = torch.tensor([keyed_uniform(seed, 7) for seed in range(4096)])
    for numbers in (by_step, by_seed):
        assert numbers.min() >= 0
        assert numbers.max() < 1
        assert (torch.histc(numbers, 16, 0, 1) - 256).abs().max() < 80
    assert torch.corrcoef(torch.stack([by_step, by_seed]))[0, 1].abs() < 0.06
    assert keyed_uniform(-5, 0) == keyed_uniform(-5, 0) != keyed_uniform(5, 0)
