"""GRPO: its gradient is the policy gradient of drawings above or below their group, nothing where all are equal."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fixtures.drawn import PROMPTS, drawing, trainable
from fixtures.tiny_model_folder import SIZE
from illume.data.collate import collate
from illume.data.pair_loader import no_image
from illume.data.policy_batch import PolicyBatch
from illume.models.unified import Unified
from illume.train.drawn_ids import drawn_log_probs
from illume.train.objective import Loss
from illume.train.policy_objective import PolicyConfig, PolicyObjective, divergence, group_advantages

CONFIG = PolicyConfig(prompts=2, group=3, temperature=0.8)
Make = Callable[[Unified, PolicyConfig, int], PolicyObjective]


def batch_of(rewards: Tensor, **more: Tensor) -> PolicyBatch:
    """Groups of three drawings of a prompt, two rows of them."""
    samples = [drawing(prompt, 10 * i + j) for i, prompt in enumerate(PROMPTS[:2]) for j in range(3)]
    rows = collate([samples[:3], samples[3:]], no_image, num_levels=1, size=SIZE)
    return PolicyBatch(rows, group_advantages(rewards).flatten(), **more, told={"reward": float(rewards.mean())})  # type: ignore[arg-type]


def gradient(model: Unified, value: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    value.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)


REWARDS = torch.tensor([[1.0, 0.5, 0.0], [0.25, 0.25, 1.0]])


def test_advantages_are_standard_scores_of_the_group() -> None:
    found = group_advantages(REWARDS)
    assert torch.allclose(found.mean(dim=1), torch.zeros(2), atol=1e-6)
    assert torch.allclose(found.square().mean(dim=1), torch.ones(2), atol=1e-5)
    spread = math.sqrt(1 / 6)
    assert found[0].tolist() == pytest.approx([0.5 / spread, 0, -0.5 / spread], abs=1e-5)
    thirds = group_advantages(torch.full((1, 3), 1 / 3))
    assert thirds.tolist() == [[0.0, 0.0, 0.0]]


def test_a_drawing_that_nobody_judged_neither_counts_nor_is_learnt_from() -> None:
    nan = float("nan")
    found = group_advantages(torch.tensor([[1.0, nan, 0.0], [nan, nan, nan], [nan, 1.0, nan]]))
    assert found.tolist() == [pytest.approx([1.0, 0.0, -1.0], abs=1e-5), [0.0] * 3, [0.0] * 3]


def check_is_the_policy_gradient(make: Make) -> None:
    """At the weights that drew, the gradient is that of -(advantage * log-probability), by hand."""
    model = trainable()
    batch = batch_of(REWARDS)
    found = gradient(model, make(model, CONFIG, 16).loss(batch).value)
    log_probs = drawn_log_probs(PolicyObjective(model, CONFIG, 16).lm, batch.rows, CONFIG.temperature)
    advantages = [[0.5, 0, -0.5], [-0.25, -0.25, 0.5]]
    spreads = [math.sqrt(1 / 6), math.sqrt(0.125)]
    by_hand = [a / s for row, s in zip(advantages, spreads, strict=True) for a in row]
    surrogate = sum(a * log_probs[i].mean() for i, a in enumerate(by_hand)) / len(by_hand)
    assert same(found, gradient(model, -surrogate))  # type: ignore[operator]


class Uphill(PolicyObjective):
    """Its sign is wrong."""

    def loss(self, batch: PolicyBatch) -> Loss:
        return super().loss(replace(batch, advantages=-batch.advantages))


class WithoutBaseline(PolicyObjective):
    """Rewards themselves instead of advantages."""

    def loss(self, batch: PolicyBatch) -> Loss:
        return super().loss(replace(batch, advantages=batch.advantages + 1))


def test_its_gradient_is_the_policy_gradient_by_hand() -> None:
    check_is_the_policy_gradient(PolicyObjective)


@pytest.mark.parametrize("broken", [Uphill, WithoutBaseline])
def test_the_gradient_catches_a_wrong_sign_and_a_lack_of_baseline(broken: Make) -> None:
    with pytest.raises(AssertionError):
        check_is_the_policy_gradient(broken)


def check_equal_rewards_teach_nothing(make: Make) -> None:
    model = trainable()
    loss = make(model, CONFIG, 16).loss(batch_of(torch.tensor([[0.4] * 3, [1.0] * 3])))
    assert all(float(one.abs().max()) == 0 for one in gradient(model, loss.value).values())
    assert float(loss.value.detach()) == 0


def test_a_group_of_equal_rewards_teaches_nothing() -> None:
    check_equal_rewards_teach_nothing(PolicyObjective)


def test_equal_rewards_catch_a_lack_of_baseline() -> None:
    with pytest.raises(AssertionError):
        check_equal_rewards_teach_nothing(WithoutBaseline)


def clipped_by_hand(new: Tensor, old: Tensor, worth: Tensor, clip: float) -> float:
    total = 0.0
    for i, a in enumerate(worth.tolist()):
        for n, o in zip(new[i].tolist(), old[i].tolist(), strict=True):
            ratio = math.exp(n - o)
            total -= min(ratio * a, min(max(ratio, 1 - clip), 1 + clip) * a) / new.numel()
    return total


def check_clips(make: Make) -> None:
    """Away from the weights that drew, each code's ratio is held where it would gain, and only there."""
    model = trainable()
    batch = batch_of(REWARDS)
    with torch.no_grad():
        new = drawn_log_probs(PolicyObjective(model, CONFIG, 16).lm, batch.rows, CONFIG.temperature)
        old = new + 0.5 * torch.randn(new.shape, generator=torch.Generator().manual_seed(3))
        loss = make(model, CONFIG, 16).loss(replace(batch, old=old))
    assert float(loss.value) == pytest.approx(clipped_by_hand(new, old, batch.advantages, CONFIG.clip), abs=1e-5)
    assert 0 < float(loss.metrics["clipped"]) < 1
    assert loss.metrics["reward"] == pytest.approx(0.5)
    assert loss.counts == {"reward": 1}


class Unclipped(PolicyObjective):
    def loss(self, batch: PolicyBatch) -> Loss:
        assert batch.old is not None
        new = drawn_log_probs(self.lm, batch.rows, self.config.temperature)
        gained = ((new - batch.old).exp() * batch.advantages[:, None]).mean()
        return Loss(-gained, {"clipped": 0.5, "reward": 0.5}, {"reward": 1})


def test_ratios_are_clipped_code_by_code() -> None:
    check_clips(PolicyObjective)


def test_clipping_catches_an_unclipped_ratio() -> None:
    with pytest.raises(AssertionError):
        check_clips(Unclipped)


def test_divergence_from_the_start_is_weighed_and_zero_there() -> None:
    model, config = trainable(), replace(CONFIG, kl=0.3)
    batch = batch_of(torch.full((2, 3), 0.5))
    with torch.no_grad():
        now = drawn_log_probs(PolicyObjective(model, config, 16).lm, batch.rows, config.temperature)
        there = PolicyObjective(model, config, 16).loss(replace(batch, reference=now))
        off = PolicyObjective(model, config, 16).loss(replace(batch, reference=now - 0.5))
    assert float(there.value) == pytest.approx(0, abs=1e-6)
    expected = math.exp(-0.5) - 1 + 0.5
    assert float(off.metrics["kl"]) == pytest.approx(expected, abs=1e-5)
    assert float(off.value) == pytest.approx(0.3 * expected, abs=1e-5)


def test_the_divergence_is_that_of_the_distributions_on_average() -> None:
    logits = torch.randn(2, 7, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    new, reference = logits[0][None], logits[1][None]
    expected = (new.exp() * (new - reference)).sum()
    assert float((new.exp() * divergence(new, reference)).sum()) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [{"group": 1}, {"prompts": 0}, {"inner": 0}, {"temperature": 0.0}, {"clip": 1.0}, {"kl": -1.0}, {"guidance": -1.0}],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PolicyConfig(**wrong)  # type: ignore[arg-type]
