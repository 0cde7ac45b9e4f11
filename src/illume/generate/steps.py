"""How an engine's forwards are run in its tier: eagerly, through torch's compiler, or as recorded CUDA graphs.

It knows the cache's rows and what of them is looked at, but not which of them are in use, nor why.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from illume.generate.cache import StaticCache
from illume.generate.forward import Forward, Kept
from illume.generate.tier import Tier
from illume.models.unified import Unified
from illume.vocab.layout import Place

LEAST_VISIBLE = 128  # a compiled step covers so many positions, or twice, four times... as many: few kinds of steps
# Weights as constants, and products of the compiler's own: for a few rows twice as fast as those that it would call.
_PRODUCTS = {"freezing": True, "max_autotune": True, "max_autotune_gemm_backends": "CPP"}
_MOST = 1024  # kinds of steps over all engines; torch would stop at eight, taking them for an accident


class Decode(nn.Module):
    """One step of some neighbouring rows, whose cache is given by layers: what is compiled, or recorded."""

    def __init__(self, forward: Forward, groups: int) -> None:
        super().__init__()
        self.step = forward
        self.groups = groups

    def forward(
        self,
        ids: Int[Tensor, "b t"],
        positions: Int[Tensor, "b t"],
        places: Int[Tensor, "b t"] | None,
        caches: Sequence[Float[Tensor, "b g2 l e"]],
        offsets: Int[Tensor, "b 1 g2"],
        visible: int,
    ) -> Float[Tensor, "b t d"]:
        found: Tensor = self.step(ids, positions, places, kept_of(caches, self.groups, visible), offsets)
        return found


def kept_of(caches: Sequence[Float[Tensor, "b g2 l e"]], groups: int, visible: int) -> list[Kept]:
    """The caches of all layers as a forward takes them."""
    return [Kept(one.view(-1, one.shape[-1]), one[:, :groups, :visible], one[:, groups:, :visible]) for one in caches]


class Steps:
    """Forwards of a model's own copy over rows of a cache."""

    def __init__(self, model: Unified, tier: Tier, cache: StaticCache) -> None:
        self.model, self.tier, self.cache = model, tier, cache
        self.groups = model.config.decoder.kv_heads
        self._kept: tuple[tuple[int, int, int], list[Kept]] | None = None
        rows, device = len(cache.lengths), cache.kept[0].device
        vectors = torch.arange(rows * 2 * self.groups, device=device) * (cache.length + 1)
        self.offsets = vectors.view(rows, 1, -1)
        self._versions: list[tuple[int, int]] = []
        self.follow()

    def follow(self) -> bool:
        """Lay the weights out anew if the model's have changed since, as they do while it trains; whether they had."""
        versions = [(id(one), 0 if one.is_inference() else one._version) for one in self.model.parameters()]
        if versions == self._versions:
            return False
        self._versions = versions
        self.forward = Forward(self.model, self.tier, self.cache.length)
        self._decode = _decoder(Decode(self.forward, self.groups), self.tier)
        return True

    def __call__(
        self,
        rows: Sequence[int],
        ids: list[list[int]],
        positions: Int[Tensor, "b t"],
        places: list[list[Place | None]],
        slot_index: Int[Tensor, " s"] | None = None,
        slot_embeds: Float[Tensor, "s d"] | None = None,
    ) -> Float[Tensor, "b t d"]:
        """Hidden states behind ids, which these rows take in at `positions` (negative: padding)."""
        device = self.offsets.device
        given = torch.tensor(ids, device=device)
        where = None
        if self.forward.place_table is not None:
            where = torch.tensor([[self.forward.place(place) for place in row] for row in places], device=device)
        first, stop = rows[0], rows[-1] + 1
        dense = stop - first == len(rows)
        if self._decode is not None and dense and given.shape[1] == 1 and slot_index is None:
            return self._compiled(first, stop, given, positions, where)
        if dense:
            kept, chosen, offsets = self._dense(first, stop), None, self.offsets[first:stop]
        else:
            chosen = torch.tensor(rows, device=device)
            kept, offsets = self._dense(0, len(self.cache.lengths)), self.offsets[chosen]
        found: Tensor = self.forward(given, positions, where, kept, offsets, chosen, slot_index, slot_embeds)
        return found

    def _dense(self, first: int, stop: int) -> list[Kept]:
        """What a forward of neighbouring rows sees; the same for many steps in a row."""
        key = (first, stop, self.cache.visible)
        if self._kept is None or self._kept[0] != key:
            flat = [one.view(-1, one.shape[-1]) for one in self.cache.kept]
            seen = kept_of([one[first:stop] for one in self.cache.kept], self.groups, self.cache.visible)
            self._kept = key, [Kept(all, one.keys, one.values) for all, one in zip(flat, seen, strict=True)]
        return self._kept[1]

    def _compiled(self, first: int, stop: int, ids: Tensor, positions: Tensor, places: Tensor | None) -> Tensor:
        """A step of 2, 4, 8... rows, the wanted ones and others that stand still: few kinds of steps are compiled."""
        rows = len(self.cache.lengths)
        size = min(1 << max(stop - first - 1, 1).bit_length(), rows)
        begin = min(first, rows - size)
        before, after = first - begin, size - (stop - begin)
        pad = torch.nn.functional.pad
        ids, positions = pad(ids, (0, 0, before, after)), pad(positions, (0, 0, before, after), value=-1)
        places = None if places is None else pad(places, (0, 0, before, after))
        visible = LEAST_VISIBLE
        while visible < min(self.cache.visible, self.cache.length):
            visible *= 2
        caches = [one[begin : begin + size] for one in self.cache.kept]
        assert self._decode is not None
        found = self._decode(ids, positions, places, caches, self.offsets[:size], min(visible, self.cache.length))
        return found[before : size - after]

    def logits(self, hidden: Float[Tensor, "b d"], run: range) -> Float[Tensor, "b v"]:
        """Logits of a run of ids."""
        return self.forward.head.logits(hidden, run)


def _decoder(decode: Decode, tier: Tier) -> Callable[..., Tensor] | None:
    if tier.mode == "compiled":
        return _compile(decode)
    if tier.mode == "graph":
        return Recorded(decode)
    return None


def _compile(decode: Decode) -> Callable[..., Tensor]:
    """Compiled for each shape when it is first asked for."""
    import torch._dynamo.config as dynamo  # torch's compiler: a second that other tiers need not wait
    import torch._inductor.config as inductor

    compiled = torch.compile(decode, dynamic=False, fullgraph=True)
    known: set[tuple[int, int]] = set()

    def step(ids: Tensor, positions: Tensor, places: Tensor | None, *given: Any) -> Tensor:
        shape = (len(ids), given[-1])
        with torch.no_grad():
            if shape in known:
                return cast(Tensor, compiled(ids, positions, places, *given))
            known.add(shape)
            with inductor.patch(_PRODUCTS), dynamo.patch(recompile_limit=_MOST, accumulated_recompile_limit=_MOST):
                return cast(Tensor, compiled(ids, positions, places, *given))

    return step


class Recorded:
    """A step recorded as a CUDA graph the first time that its shape is asked for; afterwards it is replayed.

    All tensors but ids, positions and places stay where they are between steps, and those are copied into the
    recording's own.
    """

    def __init__(self, decode: Decode) -> None:
        self.decode = decode
        self._graphs: dict[tuple[int, ...], tuple[Any, list[Tensor], Tensor]] = {}

    def __call__(
        self,
        ids: Tensor,
        positions: Tensor,
        places: Tensor | None,
        caches: Sequence[Tensor],
        offsets: Tensor,
        visible: int,
    ) -> Tensor:
        given = [one for one in (ids, positions, places) if one is not None]
        key = (len(ids), int(caches[0].storage_offset()), visible)
        if key not in self._graphs:
            self._graphs[key] = self._record(given, caches, offsets, visible)
        graph, inputs, output = self._graphs[key]
        for mine, new in zip(inputs, given, strict=True):
            mine.copy_(new)
        graph.replay()
        return output

    def _record(
        self, given: list[Tensor], caches: Sequence[Tensor], offsets: Tensor, visible: int
    ) -> tuple[Any, list[Tensor], Tensor]:
        inputs = [one.clone() for one in given]
        ids, positions = inputs[:2]
        places = inputs[2] if len(inputs) > 2 else None
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # once before, for what is set up at the first call
            self.decode(ids, positions, places, caches, offsets, visible)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # a painter's thread may allocate meanwhile
            output = self.decode(ids, positions, places, caches, offsets, visible)
        return graph, inputs, output
