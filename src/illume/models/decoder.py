"""The language model: embeds and positions in, hidden states out, its cache an argument.

It knows neither ids nor images: rows come in embedded and go out to a head. The family is Llama's: Llama, Vicuna and
Mistral, with biases on q, k, v it is Qwen2, with norms on q and k it is Qwen3. Parameters bear the names of the
published checkpoints.
"""

import math
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from illume.models.layers import (
    RMSNorm,
    SwiGLUMLP,
    additive,
    attention,
    lower,
    product_dtype,
    rotary_angles,
    rotate,
    silence,
)


@dataclass(frozen=True)
class LinearScaling:
    """Positions divided by `factor` (Chen et al. 2023)."""

    kind: Literal["linear"] = "linear"
    factor: float = 1.0


@dataclass(frozen=True)
class Llama3Scaling:
    """Llama 3.1's: long wavelengths divided by `factor`, short ones kept, those between interpolated."""

    kind: Literal["llama3"] = "llama3"
    factor: float = 8.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_length: int = 8192


@dataclass(frozen=True)
class DecoderConfig:
    """The shape of a language model. `tied`: the head's text rows are the embedding's."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    rope_theta: float = 10000.0
    rope_scaling: LinearScaling | Llama3Scaling | None = None
    norm_eps: float = 1e-6
    qkv_bias: bool = False
    qk_norm: bool = False
    tied: bool = False

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads cannot share {self.kv_heads} key heads evenly")
        if self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} is odd: rotary positions turn pairs")


@runtime_checkable
class KVCache(Protocol):
    """The keys and values of earlier positions. A negative position is padding: it leaves no trace in the cache."""

    def update(
        self,
        layer: int,
        keys: Float[Tensor, "b g t e"],
        values: Float[Tensor, "b g t e"],
        positions: Int[Tensor, "b t"],
    ) -> tuple[Float[Tensor, "b g s e"], Float[Tensor, "b g s e"]]:
        """Write new keys and values at their positions; return all that a query of this forward may look at."""

    def mask(self, positions: Int[Tensor, "b t"]) -> Bool[Tensor, "b 1 t s"]:
        """True where the query at a position may look."""


def rope_frequencies(config: DecoderConfig, device: torch.device) -> Float[Tensor, " half"]:
    """Radians a position turns each pair of a head by, float32. Computed, never stored: nothing to lose on `meta`."""
    exponents = torch.arange(0, config.head_dim, 2, device=device, dtype=torch.float32) / config.head_dim
    frequencies = 1.0 / (config.rope_theta**exponents)
    match config.rope_scaling:
        case None:
            return frequencies
        case LinearScaling(factor=factor):
            return frequencies / factor
        case Llama3Scaling() as scaling:
            return _llama3(frequencies, scaling)


def _llama3(frequencies: Float[Tensor, " half"], scaling: Llama3Scaling) -> Float[Tensor, " half"]:
    turns = scaling.original_length * frequencies / (2 * math.pi)  # full turns within the original length
    between = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    keep = between.clamp(0, 1)
    return keep * frequencies + (1 - keep) * frequencies / scaling.factor


class Attention(nn.Module):
    """Causal self-attention with rotary positions and shared key heads."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.head_dim = config.head_dim
        self.q_proj = nn.Linear(config.width, queries, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.width, keys, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.width, keys, bias=config.qkv_bias)
        self.o_proj = silence(nn.Linear(queries, config.width, bias=False))
        self.q_norm = RMSNorm(config.head_dim, eps=config.norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(config.head_dim, eps=config.norm_eps) if config.qk_norm else nn.Identity()

    def forward(
        self,
        x: Float[Tensor, "b t d"],
        angles: tuple[Float[Tensor, "b 1 t e"], Float[Tensor, "b 1 t e"]],
        mask: Float[Tensor, "b 1 t s"] | None,
        positions: Int[Tensor, "b t"],
        cache: KVCache | None,
    ) -> Float[Tensor, "b t d"]:
        q, k, v = (self._split(projection(x)) for projection in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(self.q_norm(q), *angles), rotate(self.k_norm(k), *angles)
        if cache is not None:
            k, v = cache.update(self.layer, k, v, positions)
        mixed = attention(q, k, v, mask=mask, causal=mask is None)
        return self.o_proj(rearrange(mixed, "b h t e -> b t (h e)"))

    def _split(self, x: Float[Tensor, "b t he"]) -> Float[Tensor, "b h t e"]:
        return rearrange(x, "b t (h e) -> b h t e", e=self.head_dim)


class DecoderLayer(nn.Module):
    """Norm, attention, norm, MLP, each added to the stream."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.width, eps=config.norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.width, eps=config.norm_eps)
        self.mlp = SwiGLUMLP(config.width, config.hidden)

    def forward(
        self,
        x: Float[Tensor, "b t d"],
        angles: tuple[Float[Tensor, "b 1 t e"], Float[Tensor, "b 1 t e"]],
        mask: Float[Tensor, "b 1 t s"] | None,
        positions: Int[Tensor, "b t"],
        cache: KVCache | None,
        wanted: Int[Tensor, " m"] | None = None,
    ) -> Float[Tensor, "*m d"]:
        x = x + self.self_attn(lower(self.input_layernorm(x)), angles, mask, positions, cache)
        if wanted is not None:
            x = rearrange(x, "b t d -> (b t) d")[wanted]
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """A stack of layers and a last norm."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(DecoderLayer(config, layer) for layer in range(config.layers))
        self.norm = RMSNorm(config.width, eps=config.norm_eps)

    def forward(
        self,
        embeds: Float[Tensor, "b t d"],
        positions: Int[Tensor, "b t"],
        segments: Int[Tensor, "b t"] | None = None,
        cache: KVCache | None = None,
        branches: Int[Tensor, "b t"] | None = None,
        wanted: Int[Tensor, " m"] | None = None,
    ) -> Float[Tensor, "*m d"]:
        """Hidden states after the last norm: [b, t, d], or [m, d] of the `wanted` flat positions of b * t alone. No
        other enters the last layer's MLP, a tenth of a small model's work where a third of the ids is predicted.

        `positions` count from 0 within a sample. `segments` number the samples packed into a row (-1: padding):
        a position sees only its own; without them a row is one sample. `branches` part a sample: branch 0 is seen by
        all of it, every other one by itself alone. With a `cache` a row goes on where the cache
        ends, and is one sample.
        """
        if segments is not None and cache is not None:
            raise ValueError("packed rows have no cache: give segments or a cache, not both")
        angles = rotary_angles(positions, rope_frequencies(self.config, embeds.device))
        dtype = product_dtype(embeds)
        angles = (angles[0].to(dtype), angles[1].to(dtype))
        mask = _mask(positions, segments, branches, cache)
        added = None if mask is None else additive(mask, dtype)  # made once, read by every layer
        for layer in self.layers[:-1]:
            embeds = layer(embeds, angles, added, positions, cache)
        return self.norm(self.layers[-1](embeds, angles, added, positions, cache, wanted))


def _mask(
    positions: Int[Tensor, "b t"],
    segments: Int[Tensor, "b t"] | None,
    branches: Int[Tensor, "b t"] | None,
    cache: KVCache | None,
) -> Bool[Tensor, "b 1 t s"] | None:
    if cache is not None:
        return cache.mask(positions)
    return None if segments is None else packing_mask(segments, branches)


def packing_mask(segments: Int[Tensor, "b t"], branches: Int[Tensor, "b t"] | None = None) -> Bool[Tensor, "b 1 t t"]:
    """Block-causal: a position sees itself and the earlier ones of its own segment, so no query sees nothing.

    With branches: of those the ones in branch 0 and in its own.
    """
    same = segments[:, None, :, None] == segments[:, None, None, :]
    if branches is not None:
        keys = branches[:, None, None, :]
        same = same & ((keys == 0) | (keys == branches[:, None, :, None]))
    return same.tril()
