"""How an engine's forwards are run in its tier: eagerly, through torch's compiler, or as recorded CUDA graphs.

It knows the cache's rows and what of them is looked at, but not which of them are in use, nor why.
"""

from collections.abc import Callable, Sequence
from types import FunctionType, MethodType
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
_UNGUARDED: dict[str, Any] = {"guard_filter_fn": lambda guards: [False] * len(guards)}
FEW = 4  # rows whose prompts are read one by one, compiled: more of them share what an eager step costs


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
    """Forwards of a model's own copy over rows of a cache. Compiled or recorded are those of one id a row, and, where
    codes are drafted, of at most so many `drafts` behind it; compiled are also those of a `chunk` of one row, or of
    half a chunk, for prompts come one by one."""

    def __init__(self, model: Unified, tier: Tier, cache: StaticCache, chunk: int, drafts: int = 0) -> None:
        self.model, self.tier, self.cache = model, tier, cache
        self._widths = (1, 1 + drafts) if drafts else (1,)
        chunks = {max(chunk // 2, 1), chunk} if tier.mode == "compiled" else set()
        self._chunks = sorted(width for width in chunks if width > self._widths[-1])
        self.groups = model.config.decoder.kv_heads
        self._kept: tuple[tuple[int, int, int], list[Kept]] | None = None
        rows, device = len(cache.lengths), cache.kept[0].device
        vectors = torch.arange(rows * 2 * self.groups, device=device) * (cache.length + 1)
        self.offsets = vectors.view(rows, 1, -1)
        self.lay_out()

    def lay_out(self) -> None:
        """Take the weights as they are now."""
        self.forward = Forward(self.model, self.tier, self.cache.length)
        self._decode = _decoder(Decode(self.forward, self.groups), self.tier)

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
        if dense and slot_index is None and (kind := self._kind(len(rows), given.shape[1])) is not None:
            return self._compiled(first, stop, given, positions, where, *kind)
        if dense:
            kept, chosen, offsets = self._dense(first, stop), None, self.offsets[first:stop]
        else:
            chosen = torch.tensor(rows, device=device)
            kept, offsets = self._dense(0, len(self.cache.lengths)), self.offsets[chosen]
        found: Tensor = self.forward(given, positions, where, kept, offsets, chosen, slot_index, slot_embeds)
        return found

    def read_alone(self, rows: int) -> bool:
        """Whether the prompts of so many rows, texts alone, are read faster one after the other than together."""
        return bool(self._chunks) and rows <= FEW

    def kinds(self) -> list[tuple[int, int, int]]:
        """Rows, ids a row and positions looked at of every step that may be compiled, or recorded; none if none is."""
        rows, widths = range(1, len(self.cache.lengths) + 1), (*self._widths, *self._chunks)
        shapes = {kind for size in rows for width in widths if (kind := self._kind(size, width))}
        visible = {self._visible(positions) for positions in range(1, self.cache.length + 1)}
        return sorted((*shape, far) for shape in shapes for far in visible)

    def prepare(self, kind: tuple[int, int, int]) -> None:
        """Have a kind of step compiled, or recorded, before it is needed: one in which all rows stand still."""
        size, width, visible = kind
        still = torch.full((size, width), -1, device=self.offsets.device)
        places = None if self.forward.place_table is None else torch.zeros_like(still)
        assert self._decode is not None  # or there are no kinds
        caches = [one[:size] for one in self.cache.kept]
        self._decode(torch.zeros_like(still), still, places, caches, self.offsets[:size], visible)

    def _kind(self, rows: int, width: int) -> tuple[int, int] | None:
        """Rows and ids a row of the step that takes so many; None for one that is neither compiled nor recorded."""
        if self._decode is None:
            return None
        if found := [one for one in self._widths if one >= width]:
            return min(1 << max(rows - 1, 1).bit_length(), len(self.cache.lengths)), found[0]
        found = [one for one in self._chunks if one >= width]
        return (1, found[0]) if found and rows == 1 else None

    def _visible(self, positions: int) -> int:
        visible = LEAST_VISIBLE
        while visible < min(positions, self.cache.length):
            visible *= 2
        return min(visible, self.cache.length)

    def _dense(self, first: int, stop: int) -> list[Kept]:
        """What a forward of neighbouring rows sees; the same for many steps in a row."""
        key = (first, stop, self.cache.visible)
        if self._kept is None or self._kept[0] != key:
            flat = [one.view(-1, one.shape[-1]) for one in self.cache.kept]
            seen = kept_of([one[first:stop] for one in self.cache.kept], self.groups, self.cache.visible)
            self._kept = key, [Kept(all, one.keys, one.values) for all, one in zip(flat, seen, strict=True)]
        return self._kept[1]

    def _compiled(
        self, first: int, stop: int, ids: Tensor, positions: Tensor, places: Tensor | None, size: int, width: int
    ) -> Tensor:
        """A step of `size` rows, the wanted ones and others that stand still, of `width` ids: few kinds of steps are
        compiled."""
        begin = min(first, len(self.cache.lengths) - size)
        before, after, taken = first - begin, size - (stop - begin), ids.shape[1]
        room = (0, width - taken, before, after)
        pad = torch.nn.functional.pad
        ids, positions = pad(ids, room), pad(positions, room, value=-1)
        places = None if places is None else pad(places, room)
        caches = [one[begin : begin + size] for one in self.cache.kept]
        assert self._decode is not None
        visible = self._visible(self.cache.visible)
        found = self._decode(ids, positions, places, caches, self.offsets[:size], visible)
        return found[before : size - after, :taken]

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
    import torch._inductor.config as inductor  # torch's compiler: a second that other tiers need not wait

    kinds: dict[tuple[int, ...], Callable[..., Tensor]] = {}

    def step(ids: Tensor, positions: Tensor, places: Tensor | None, *given: Any) -> Tensor:
        kind = (*ids.shape, given[-1])
        with torch.no_grad():
            if kind in kinds:
                return kinds[kind](ids, positions, places, *given)
            compiled = torch.compile(_as_own_code(decode), dynamic=False, fullgraph=True, options=_UNGUARDED)
            with inductor.patch(_PRODUCTS):
                found: Tensor = compiled(ids, positions, places, *given)
            kinds[kind] = compiled
            return found

    return step


def _as_own_code(decode: Decode) -> Callable[..., Tensor]:
    """A step as a function that no other engine and no other kind of step shares. The compiler keeps what it made by a
    function's code and asks before each call, of a thousand things, whether it may be used: a tenth of a small step."""
    own = FunctionType(Decode.forward.__code__.replace(), Decode.forward.__globals__)
    return cast(Callable[..., Tensor], MethodType(own, decode))


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
        key = (*ids.shape, int(caches[0].storage_offset()), visible)
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
