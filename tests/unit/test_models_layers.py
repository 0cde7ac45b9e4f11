"""Attention is one function however it is computed; rotary positions are relative; a new block changes nothing."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from illume.models import layers
from illume.models.layers import GELUMLP, Block, RMSNorm, SwiGLUMLP, additive, attention, rotary_angles, rotate


def qkv(heads: int = 4, groups: int = 2, queries: int = 7, keys: int = 7) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    return (
        torch.randn(2, heads, queries, 8),
        torch.randn(2, groups, keys, 8),
        torch.randn(2, groups, keys, 8),
    )


def both_ways(monkeypatch: pytest.MonkeyPatch, *args: torch.Tensor, **options: Any) -> tuple[torch.Tensor, ...]:
    written = attention(*args, **options)
    monkeypatch.setattr(layers, "LONGEST_WRITTEN_OUT", 0)
    return written, attention(*args, **options)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("masked", ["none", "causal", "bool", "additive"])
def test_written_out_attention_equals_the_fused_one(monkeypatch: pytest.MonkeyPatch, groups: int, masked: str) -> None:
    q, k, v = qkv(groups=groups)
    mask = torch.rand(2, 1, 7, 7) > 0.5
    mask |= torch.eye(7, dtype=torch.bool)
    cases: dict[str, dict[str, Any]] = {
        "none": {},
        "causal": {"causal": True},
        "bool": {"mask": mask},
        "additive": {"mask": additive(mask, torch.float32)},
    }
    written, fused = both_ways(monkeypatch, q, k, v, **cases[masked])
    assert torch.allclose(written, fused, atol=1e-5)  # measured 6e-7


def test_causal_attention_does_not_see_the_future() -> None:
    q, k, v = qkv()
    before = attention(q, k, v, causal=True)
    k, v = k.clone(), v.clone()
    k[:, :, -1], v[:, :, -1] = 9.0, 9.0
    after = attention(q, k, v, causal=True)
    assert torch.equal(before[:, :, :-1], after[:, :, :-1])
    assert not torch.allclose(before[:, :, -1], after[:, :, -1])


def test_causal_attention_refuses_what_it_cannot_mean() -> None:
    with pytest.raises(ValueError, match="as many queries as keys"):
        attention(*qkv(queries=3), causal=True)
    with pytest.raises(ValueError, match="takes no mask"):
        attention(*qkv(), mask=torch.ones(1, 1, 7, 7, dtype=torch.bool), causal=True)


def test_rotary_positions_are_relative() -> None:
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)
    frequencies = torch.tensor([1.0, 0.3, 0.1, 0.01])

    def score(at: int, to: int) -> torch.Tensor:
        turned = [
            rotate(x, *rotary_angles(torch.tensor([[position]]), frequencies)) for x, position in ((q, at), (k, to))
        ]
        return (turned[0] * turned[1]).sum()

    assert torch.allclose(score(5, 2), score(25, 22), atol=1e-5)
    assert not torch.allclose(score(5, 2), score(5, 3), atol=1e-3)


@pytest.mark.parametrize("mlp", [GELUMLP(16, 32), SwiGLUMLP(16, 32)])
def test_new_mlps_add_nothing(mlp: nn.Module) -> None:
    assert not mlp(torch.randn(3, 16)).any()


def test_a_new_block_is_the_identity_and_learns() -> None:
    block, x = Block(16, 4, 32), torch.randn(2, 5, 16)
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    assert block.o_proj.weight.grad is not None
    assert block.o_proj.weight.grad.any()


def test_a_block_looks_in_both_directions_unless_masked() -> None:
    block, x = Block(16, 4, 32), torch.randn(1, 5, 16)
    nn.init.normal_(block.o_proj.weight)
    changed = x.clone()
    changed[:, -1, 0] += 1  # one entry: the norm takes out what is added to all
    assert not torch.allclose(block(x)[:, 0], block(changed)[:, 0])
    mask = torch.ones(5, 5, dtype=torch.bool).tril()[None, None]
    assert torch.equal(block(x, mask)[:, 0], block(changed, mask)[:, 0])


def test_a_block_refuses_heads_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        Block(16, 3, 32)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_the_norm_in_training_is_torchs(dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    norm, x = RMSNorm(24, eps=1e-3), torch.randn(3, 5, 24).to(dtype).requires_grad_()
    nn.init.uniform_(norm.weight, 0.5, 2.0)
    gradient = torch.randn(3, 5, 24).to(dtype)
    reference = F.rms_norm(x, (24,), norm.weight.to(dtype), 1e-3)
    for ours, theirs in zip(
        (norm(x), *torch.autograd.grad(norm(x), (x, norm.weight), gradient)),
        (reference, *torch.autograd.grad(reference, (x, norm.weight), gradient)),
        strict=True,
    ):
        assert (ours - theirs).norm() <= tolerance * theirs.norm()


def test_the_norm_has_the_gradient_of_what_it_computes() -> None:
    norm, x = RMSNorm(7, eps=1e-3).double(), torch.randn(4, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, (x,))
    with torch.no_grad():
        assert torch.allclose(norm(x), F.rms_norm(x, (7,), norm.weight, 1e-3))
