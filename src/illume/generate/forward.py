"""The model as an engine runs it: weights joined and laid out once for few rows at a time, and the forward they make.

One function of tensors, which eager steps, torch's compiler and CUDA graphs share; it computes what `Unified.forward`
does with a cache. It knows neither requests nor which rows are in use. Reshapes are torch's own here, not einops': at
a few hundred operations a step, a microsecond each is a tenth of a small model's time.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from illume.generate.tier import Tier, Weights
from illume.models.decoder import Attention, DecoderLayer, rope_frequencies
from illume.models.embedding import PlaceEmbedding
from illume.models.head import SplitHead
from illume.models.layers import RMSNorm, additive, rotary_angles
from illume.models.lora import LoRALinear
from illume.models.quantized import Int4Linear, Int8Linear, PackedLinear, PlainLinear, W8A8Linear
from illume.models.unified import Unified

_FAR = 4_000_000  # bytes of keys and values that no longer lie near a core


class Kept(NamedTuple):
    """A layer's cache: all of it as one list of vectors, to write into, and the keys and values that rows look at."""

    flat: Float[Tensor, "n e"]
    keys: Float[Tensor, "b g s e"]
    values: Float[Tensor, "b g s e"]


class At(NamedTuple):
    """What the positions of a forward are to every layer: worked out once."""

    cos: Float[Tensor, "b t 1 e"]
    sin: Float[Tensor, "b t 1 e"]
    where: Int[Tensor, " n"]  # of the vectors of a layer's cache those that these positions write: keys, then values
    mask: Float[Tensor, "b 1 q s"]
    rows: Int[Tensor, " b"] | None  # of the kept ones, where these are not they


class Norm(nn.Module):
    """Root-mean-square norm of the last axis, by its length: four operations where torch's takes eight on a CPU.

    A weight with two axes is one norm for each head.
    """

    weight: Tensor
    floor: Tensor

    def __init__(self, weight: Float[Tensor, "*h d"], eps: float, stream: torch.dtype, result: torch.dtype) -> None:
        super().__init__()
        size = weight.shape[-1]
        self.register_buffer("weight", weight.detach().to(stream) * size**0.5)
        self.register_buffer("floor", torch.tensor((size * eps) ** 0.5, dtype=stream, device=weight.device))
        self.result = result

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        length = torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), self.floor)
        return (x * self.weight).div_(length).to(self.result)


class Layer(nn.Module):
    """A layer of the language model with query, key and value in one product, and gate and up in another."""

    def __init__(self, layer: DecoderLayer, tier: Tier, stream: torch.dtype) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.heads = attention.q_proj.out_features // attention.head_dim
        self.groups = attention.k_proj.out_features // attention.head_dim
        self.head_dim = attention.head_dim
        self.stream, self.result = stream, tier.dtype
        self.attention_norm = _norm(layer.input_layernorm, stream, tier.dtype)
        self.qkv = joined((attention.q_proj, attention.k_proj, attention.v_proj), tier)
        self.head_norm = _head_norm(attention, self.heads, self.groups, stream)
        self.output = joined((attention.o_proj,), tier)
        self.mlp_norm = _norm(layer.post_attention_layernorm, stream, tier.dtype)
        self.gate_up = joined((mlp.gate_proj, mlp.up_proj), tier)
        self.down = joined((mlp.down_proj,), tier)

    def forward(self, x: Float[Tensor, "b t d"], at: At, kept: Kept) -> Float[Tensor, "b t d"]:
        mixed = self._attend(self.qkv(self.attention_norm(x)), at, kept)
        x = x + self.output(mixed)
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate).mul_(up))

    def _attend(self, qkv: Float[Tensor, "b t o"], at: At, kept: Kept) -> Float[Tensor, "b t e"]:
        """Turn queries and keys, write keys and values into the cache, and look at what it then holds."""
        (b, t), size, turned = qkv.shape[:2], self.head_dim, self.heads + self.groups
        qkv = qkv.view(b, t, turned + self.groups, size).to(self.stream)
        qk = qkv[:, :, :turned]
        if self.head_norm is not None:
            qk.copy_(self.head_norm(qk))
        half = qk.roll(size // 2, dims=-1)
        qk.mul_(at.cos).addcmul_(half, at.sin)
        kept.flat.index_copy_(0, at.where, qkv[:, :, self.heads :].reshape(-1, size))
        keys, values = kept.keys, kept.values
        if at.rows is not None:
            keys, values = keys[at.rows], values[at.rows]
        mixed = attended(self._grouped(qkv[:, :, : self.heads]), keys, values, at.mask)
        return self._ungrouped(mixed, t).to(self.result)

    def _grouped(self, queries: Float[Tensor, "b t h e"]) -> Float[Tensor, "b g q e"]:
        """The queries that share keys side by side, as if they were positions: then no key is repeated."""
        b, t, _, size = queries.shape
        if t == 1:
            return queries.reshape(b, self.groups, -1, size)
        return queries.view(b, t, self.groups, -1, size).permute(0, 2, 3, 1, 4).reshape(b, self.groups, -1, size)

    def _ungrouped(self, mixed: Float[Tensor, "b g q e"], t: int) -> Float[Tensor, "b t d"]:
        if t == 1:
            return mixed.reshape(mixed.shape[0], 1, -1)
        found = mixed.unflatten(2, (-1, t)).permute(0, 3, 1, 2, 4)
        return found.reshape(mixed.shape[0], t, -1)


class Forward(nn.Module):
    """The engine's own copy of a model's language side, for rows of at most `length` positions.

    `stream` is the dtype of the residual stream, of keys and of values.
    """

    table: Tensor
    place_table: Tensor | None
    angles: Tensor
    reach: Tensor

    @torch.no_grad()
    def __init__(self, model: Unified, tier: Tier, length: int) -> None:
        super().__init__()
        config, device = model.config.decoder, model.embedding.text.device
        self.tier, self.length = tier, length
        self.stream = tier.stream_dtype(device)
        self.max_grid = model.config.max_grid
        self.num_places = len(model.config.code_ranges) * self.max_grid**2
        self.layers = nn.ModuleList(Layer(cast(DecoderLayer, one), tier, self.stream) for one in model.decoder.layers)
        self.norm = _norm(model.decoder.norm, self.stream, tier.dtype)
        self.head = Head(model.head, tier)
        table = torch.cat((model.embedding.text, model.embedding.vision_rows()))
        self.register_buffer("table", table.to(self.stream))
        self.register_buffer("place_table", None if model.places is None else self._all_places(model.places))
        cos, sin = rotary_angles(torch.arange(length + 1, device=device)[None], rope_frequencies(config, device))
        self.register_buffer("angles", torch.cat((cos, sin), dim=-1)[0, 0].to(self.stream))
        self.register_buffer("reach", torch.arange(length, device=device))

    def _all_places(self, places: PlaceEmbedding) -> Float[Tensor, "n d"]:
        """A row a place, and a last one of zeros for what has none."""
        levels, sides = len(places.level), torch.arange(self.max_grid)
        grid = torch.cartesian_prod(torch.arange(levels), sides, sides).to(places.level.device)
        placed = places(grid[None])[0]
        return torch.cat((placed, placed.new_zeros(1, placed.shape[1]))).to(self.stream)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that a forward of one id a row reads: of tables a few rows, of the head some runs."""
        parts = (self.layers, *self.head.runs.values())
        return sum(one.numel() * one.element_size() for part in parts for one in part.buffers())

    def place(self, place: tuple[int, int, int] | None) -> int:
        """A level, row and column as a row of the table of places."""
        if place is None:
            return self.num_places
        level, row, column = place
        return (level * self.max_grid + row) * self.max_grid + column

    def forward(
        self,
        ids: Int[Tensor, "b t"],
        positions: Int[Tensor, "b t"],
        places: Int[Tensor, "b t"] | None,
        kept: Sequence[Kept],
        offsets: Int[Tensor, "b 1 g2"],
        rows: Int[Tensor, " b"] | None = None,
        slot_index: Int[Tensor, " s"] | None = None,
        slot_embeds: Float[Tensor, "s d"] | None = None,
    ) -> Float[Tensor, "b t d"]:
        """Hidden states behind ids at `positions` (negative: padding) of rows of a cache, which take them in.

        places: of each position its `place`. offsets: where in the cache each row's keys, then values, begin. rows:
        which of the rows in `kept` these are, where they are not all.
        """
        x = F.embedding(ids, self.table)
        if slot_index is not None and slot_embeds is not None:
            x.view(-1, x.shape[-1]).index_copy_(0, slot_index, slot_embeds.to(x.dtype))
        if places is not None and self.place_table is not None:
            x = x + F.embedding(places, self.place_table)
        at = self._at(positions, offsets, kept[0].keys.shape[2], rows)
        for layer, one in zip(self.layers, kept, strict=True):
            x = layer(x, at, one)
        found: Tensor = self.norm(x)
        return found

    def _at(self, positions: Int[Tensor, "b t"], offsets: Tensor, visible: int, rows: Tensor | None) -> At:
        known = positions.clamp(min=0)
        where = torch.where(positions < 0, self.length, positions)
        angles = F.embedding(known, self.angles)[:, :, None]
        cos, sin = angles.chunk(2, dim=-1)
        mask = additive(self.reach[:visible] <= known[:, None, :, None], self.stream)
        shared = cast(Layer, self.layers[0])
        repeats = shared.heads // shared.groups
        if positions.shape[1] > 1 and repeats > 1:
            mask = mask.repeat(1, 1, repeats, 1)
        return At(cos, sin, (offsets + where[:, :, None]).flatten(), mask, rows)


class Head(nn.Module):
    """Logits of runs of ids; the rows of a run are laid out when it is first asked for."""

    def __init__(self, head: SplitHead, tier: Tier) -> None:
        super().__init__()
        self.text, self.vision = head.text.detach(), head.vision_rows().detach()
        # A head of 4 bits would decide close calls by its rounding, and is a small part of all weights.
        least: Weights = "int8" if self.text.device.type == "cpu" else "bf16"
        weights = least if tier.weights == "int4" else tier.weights
        self.tier = Tier(weights)  # products of their own, outside of what is compiled or recorded
        self.runs: dict[range, nn.Module] = {}

    def logits(self, hidden: Float[Tensor, "*b d"], run: range) -> Float[Tensor, "*b v"]:
        """Logits of the ids of a run, and of no others."""
        if run not in self.runs:
            self.runs[run] = self._laid_out(run)
        found: Tensor = self.runs[run](hidden)
        return found

    def _laid_out(self, run: range) -> nn.Module:
        split = len(self.text)
        if run.step != 1 or not 0 <= run.start < run.stop <= split + len(self.vision):
            raise ValueError(f"{run} is not a run of ids of the vocabulary [0, {split + len(self.vision)})")
        text = self.text[run.start : run.stop]
        vision = self.vision[max(run.start - split, 0) : max(run.stop - split, 0)]
        return linear(torch.cat((text, vision)), None, self.tier)


def attended(
    queries: Float[Tensor, "b g q e"],
    keys: Float[Tensor, "b g s e"],
    values: Float[Tensor, "b g s e"],
    mask: Float[Tensor, "b 1 n s"],
) -> Float[Tensor, "b g q e"]:
    """Scaled dot-product attention, the mask added. For many single queries on a CPU torch's kernel reads keys that lie
    outside of the caches at two thirds of the speed of plain products and sums."""
    single = queries.device.type == "cpu" and queries.shape[2] == 1 and not torch.compiler.is_compiling()
    if not single or 2 * keys.numel() * keys.element_size() < _FAR:
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    scores = (keys * queries).sum(dim=-1, keepdim=True).mul_(queries.shape[-1] ** -0.5).add_(mask.transpose(-1, -2))
    return (values * scores.softmax(dim=-2)).sum(dim=2, keepdim=True)


_QUANTIZED: dict[str, Callable[..., nn.Module]] = {"int8": Int8Linear, "w8a8": W8A8Linear, "int4": Int4Linear}


def joined(parts: Sequence[nn.Module], tier: Tier) -> nn.Module:
    """Linear maps of the same input as one product."""
    plain = [part.merged() if isinstance(part, LoRALinear) else cast(nn.Linear, part) for part in parts]
    biases: list[Tensor] = [part.bias for part in plain if part.bias is not None]
    weights: list[Tensor] = [part.weight for part in plain]
    return linear(torch.cat(weights), torch.cat(biases) if biases else None, tier)


def linear(weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"] | None, tier: Tier) -> nn.Module:
    """A linear map as this tier multiplies with it."""
    if tier.weights in _QUANTIZED:
        return _QUANTIZED[tier.weights](weight, bias)
    weight, bias = weight.to(tier.dtype), None if bias is None else bias.to(tier.dtype)
    packs = tier.mode == "eager" and PackedLinear.serves(weight)  # torch's compiler packs by itself
    return PackedLinear(weight, bias) if packs else PlainLinear(weight, bias)


def _norm(norm: RMSNorm, stream: torch.dtype, result: torch.dtype) -> Norm:
    assert norm.eps is not None  # the decoder's norms are built with one
    return Norm(norm.weight, norm.eps, stream, result)


def _head_norm(attention: Attention, heads: int, groups: int, stream: torch.dtype) -> Norm | None:
    """The norms of queries and keys as one over all their heads."""
    if isinstance(attention.q_norm, nn.Identity):
        return None
    q, k = attention.q_norm, cast(RMSNorm, attention.k_norm)
    assert q.eps is not None
    weight = torch.cat((q.weight.expand(heads, -1), k.weight.expand(groups, -1)))
    return Norm(weight, q.eps, stream, stream)
