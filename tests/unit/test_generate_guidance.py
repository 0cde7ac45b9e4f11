"""The formula of guidance."""

import torch

from illume.generate.guidance import combine


def logits(seed: int) -> torch.Tensor:
    return torch.randn(3, 17, generator=torch.Generator().manual_seed(seed)) * 3


def test_scale_one_is_the_conditional_and_zero_the_unconditional() -> None:
    cond, uncond = logits(0), logits(1)
    torch.testing.assert_close(combine(cond, uncond, 1.0), cond.log_softmax(-1))
    torch.testing.assert_close(combine(cond, uncond, 0.0), uncond.log_softmax(-1))


def test_it_is_linear_on_log_probabilities_and_blind_to_a_shift() -> None:
    cond, uncond = logits(0), logits(1)
    expected = -0.5 * uncond.log_softmax(-1) + 1.5 * cond.log_softmax(-1)
    torch.testing.assert_close(combine(cond, uncond, 1.5), expected)
    torch.testing.assert_close(combine(cond + 4, uncond - 2, 1.5), expected)


def test_the_scale_may_differ_from_row_to_row() -> None:
    cond, uncond = logits(0), logits(1)
    together = combine(cond, uncond, torch.tensor([1.0, 2.0, 3.0]))
    alone = [combine(cond[i : i + 1], uncond[i : i + 1], scale) for i, scale in enumerate((1.0, 2.0, 3.0))]
    torch.testing.assert_close(together, torch.cat(alone))


def test_half_precision_is_combined_in_float32() -> None:
    assert combine(logits(0).bfloat16(), logits(1).bfloat16(), 2.0).dtype == torch.float32
