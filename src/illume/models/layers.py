"""The blocks every network here is made of: attention, rotary positions, MLPs, a transformer block.

It does not know what flows through it: images, text and codes are all rows of vectors here.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Up to this many keys the written-out attention is faster on a CPU: the backward pass of its fused kernel is slow.
LONGEST_WRITTEN_OUT = 256


def attention(
    q: Float[Tensor, "b h t e"],
    k: Float[Tensor, "b g s e"],
    v: Float[Tensor, "b g s e"],
    *,
    mask: Bool[Tensor, "#b #h t s"] | Float[Tensor, "#b #h t s"] | None = None,
    causal: bool = False,
) -> Float[Tensor, "b h t e"]:
    """Softmax attention of `h` query heads over `g` key heads (`g` divides `h`).

    `mask` is True where a query may look, or a float added to the scores; a query must be allowed at least one key.
    `causal` needs as many queries as keys and excludes `mask`.
    """
    if causal and (mask is not None or q.shape[2] != k.shape[2]):
        raise ValueError("causal attention takes no mask and needs as many queries as keys; put both into the mask")
    if q.device.type == "cpu" and k.shape[2] <= LONGEST_WRITTEN_OUT:
        return _written_out(q, k, v, mask=additive(causal_mask(q), q.dtype) if causal else mask)
    if mask is not None and q.is_cuda:  # CUDA's kernels share key heads or take a mask, not both
        k, v = _repeated(k, q.shape[1]), _repeated(v, q.shape[1])
    shared = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=shared)


def causal_mask(q: Float[Tensor, "b h t e"]) -> Bool[Tensor, "1 1 t t"]:
    """True where a position may look: at itself and before."""
    t = q.shape[2]
    return torch.ones(1, 1, t, t, dtype=torch.bool, device=q.device).tril()


def additive(mask: Bool[Tensor, "*b t s"], dtype: torch.dtype) -> Float[Tensor, "*b t s"]:
    """A mask to add to scores: 0 where a query may look, the lowest number (never -inf: no NaN) where it may not."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


def _written_out(
    q: Float[Tensor, "b h t e"],
    k: Float[Tensor, "b g s e"],
    v: Float[Tensor, "b g s e"],
    mask: Tensor | None,
) -> Float[Tensor, "b h t e"]:
    k, v = _repeated(k, q.shape[1]), _repeated(v, q.shape[1])
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:  # in place: nothing reads the bare scores again, and they are as large as all else together
        scores.add_(additive(mask, scores.dtype) if mask.dtype == torch.bool else mask.to(scores.dtype))
    return scores.softmax(dim=-1) @ v


def _repeated(x: Float[Tensor, "b g s e"], heads: int) -> Float[Tensor, "b h s e"]:
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)


def rotary_angles(
    positions: Int[Tensor, "b t"], frequencies: Float[Tensor, " half"]
) -> tuple[Float[Tensor, "b 1 t e"], Float[Tensor, "b 1 t e"]]:
    """Cosine and sine of every position and frequency, in float32, laid out for the two halves of a head: there the
    first is turned by minus the second, so its sine is negative."""
    angles = positions[:, None, :, None].float() * frequencies.float()
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate(
    x: Float[Tensor, "b h t e"], cos: Float[Tensor, "#b 1 t e"], sin: Float[Tensor, "#b 1 t e"]
) -> Float[Tensor, "b h t e"]:
    """Rotary positions (RoFormer, Su et al. 2021) in the halves layout of Llama's published weights.

    `sin` is that of `rotary_angles`: negative for the first half.
    """
    return x * cos.to(x.dtype) + x.roll(x.shape[-1] // 2, dims=-1) * sin.to(x.dtype)


def product_dtype(x: Float[Tensor, "*n"]) -> torch.dtype:
    """The dtype in which matrix products of `x` are made here: autocast's, or its own."""
    kind = x.device.type
    enabled = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if enabled else x.dtype


def full_precision(kind: str) -> AbstractContextManager[object]:
    """No autocast on a kind of device; nothing where there is none to begin with (`meta`)."""
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def lower(x: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """`x` in that dtype, so that the several products it enters share one cast instead of making one each."""
    return x.to(product_dtype(x))


def silence(projection: nn.Linear) -> nn.Linear:
    """Set a projection into the residual stream to zero, so that a new block starts as the identity."""
    nn.init.zeros_(projection.weight)
    if projection.bias is not None:
        nn.init.zeros_(projection.bias)
    return projection


class RMSNorm(nn.RMSNorm):
    """torch's, with its weight in the input's dtype: a mixed pair is slow and warned of.

    In training on a CPU it is computed here: torch composes it there, and two to three times as slowly.
    """

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        weight = self.weight.to(x.dtype)
        if x.device.type == "cpu" and torch.is_grad_enabled():
            return cast(Tensor, _RMSNorm.apply(x, weight, self.eps))
        return F.rms_norm(x, self.normalized_shape, weight, self.eps)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        sums = torch.promote_types(x.dtype, torch.float32)
        mean = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=sums).square_().div_(x.shape[-1])
        scale = mean.add_(eps).rsqrt_().to(x.dtype)
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, scale = ctx.saved_tensors
        normed = x * scale
        to_weight = gradient * normed
        along = (to_weight @ weight).unsqueeze(-1).div_(x.shape[-1])  # the part that only changes the length of x
        to_x = torch.addcmul(gradient * weight, normed, along, value=-1).mul_(scale)
        return to_x, to_weight.flatten(0, -2).sum(dim=0), None


class GELUMLP(nn.Module):
    """Linear, GELU, Linear; the second one starts at zero."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up_proj = nn.Linear(width, hidden)
        self.down_proj = silence(nn.Linear(hidden, width))

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        return self.down_proj(F.gelu(self.up_proj(x)))


class SwiGLUMLP(nn.Module):
    """Llama's gated MLP (Shazeer 2020), without biases; the projection back starts at zero."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = silence(nn.Linear(hidden, width, bias=False))

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        x = lower(x)
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """A pre-norm transformer block that looks in both directions: for encoders and feature decoders.

    Query, key and value are three matrices: an optimiser that orthogonalises a matrix (Muon) wants them apart.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.o_proj = silence(nn.Linear(width, width))
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = GELUMLP(width, hidden)

    def forward(
        self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "#b 1 n n"] | None = None
    ) -> Float[Tensor, "b n d"]:
        y = lower(self.attention_norm(x))
        q, k, v = (
            rearrange(projection(y), "b n (h e) -> b h n e", h=self.heads)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        x = x + self.o_proj(rearrange(attention(q, k, v, mask=mask), "b h n e -> b n (h e)"))
        return x + self.mlp(self.mlp_norm(x))
