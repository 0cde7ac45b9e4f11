"""Filters are applied once and in order; a row's draw depends on its own logits, seed and step alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

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
