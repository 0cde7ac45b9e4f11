"""Keys and values of all rows in tensors of one fixed size; it does not know what the rows are writing.

A row may be shorter than another, start over, or stand still while others go on.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from illume.core.errors import ModelError, RequestError


def row_bytes(layers: int, heads: int, length: int, head_dim: int, dtype: torch.dtype) -> int:
    """What one row of a cache takes, in bytes."""
    return 2 * layers * heads * (length + 1) * head_dim * dtype.itemsize


class StaticCache:
    """Per layer `keys` and `values` [rows, heads, length + 1, head_dim] of conversations of at most `length` positions.

    The one position too many takes what padding writes and is never looked at. Attention covers `length` positions at
    every step (the same products whatever the rows hold: strict mode), or, with a `stride`, as many strides as the
    longest row needs (faster while rows are short).
    """

    def __init__(
        self,
        rows: int,
        layers: int,
        heads: int,
        length: int,
        head_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        stride: int | None = None,
    ) -> None:
        shape = (rows, 2 * heads, length + 1, head_dim)  # keys, then values: a step writes both at once
        self.kept = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.keys = [both[:, :heads] for both in self.kept]
        self.values = [both[:, heads:] for both in self.kept]
        self.length = length
        self.stride = stride
        self.lengths = [0] * rows
        self._rows = torch.arange(rows, device=device)[:, None]

    def reserve(self, counts: Sequence[int]) -> Int[Tensor, "b t"]:
        """The positions of each row's next `counts[row]` ids, padded at the end with -1; lengths grow by the counts.

        RequestError where a row would outgrow the cache; nothing is reserved then.
        """
        ends = [length + count for length, count in zip(self.lengths, counts, strict=True)]
        for row, end in enumerate(ends):
            if end > self.length:
                raise RequestError(
                    f"row {row} needs {end} positions but the cache was built for {self.length}: "
                    "build the engine with a larger max_length or ask for less"
                )
        width = max(counts)
        positions = [
            [*range(length, end), *[-1] * (width - count)]
            for length, end, count in zip(self.lengths, ends, counts, strict=True)
        ]
        self.lengths = ends
        return torch.tensor(positions, device=self._rows.device).view(len(counts), width)

    def clear(self, row: int) -> None:
        """Let a row start over. What it held is out of reach at once, and overwritten later."""
        self.lengths[row] = 0

    def rewind(self, row: int, count: int) -> None:
        """Let a row be shorter by its last positions; they are overwritten by what it takes in next."""
        if not 0 <= count <= self.lengths[row]:
            raise ValueError(f"row {row} holds {self.lengths[row]} positions, it cannot forget {count}")
        self.lengths[row] -= count

    def recall(self, source: int, target: int, count: int) -> None:
        """Let a row begin with the first `count` positions of another, or with its own from before it was cleared."""
        if source != target:
            for kept in self.kept:
                kept[target, :, :count] = kept[source, :, :count]
        self.lengths[target] = count

    @property
    def visible(self) -> int:
        """How many positions a query is compared with."""
        if self.stride is None:
            return self.length
        strides = -(-max(self.lengths) // self.stride)
        return min(max(strides, 1) * self.stride, self.length)

    def update(
        self,
        layer: int,
        keys: Float[Tensor, "b g t e"],
        values: Float[Tensor, "b g t e"],
        positions: Int[Tensor, "b t"],
    ) -> tuple[Float[Tensor, "b g s e"], Float[Tensor, "b g s e"]]:
        """Write at `positions` (negative: padding, not kept) and return the visible stretch."""
        kept_keys, kept_values = self.keys[layer], self.values[layer]
        if keys.dtype != kept_keys.dtype:
            raise ModelError(
                f"keys of {keys.dtype} for a cache of {kept_keys.dtype}: build the cache in the model's dtype"
            )
        where = torch.where(positions < 0, self.length, positions)
        kept_keys[self._rows, :, where] = keys.transpose(1, 2)
        kept_values[self._rows, :, where] = values.transpose(1, 2)
        return kept_keys[:, :, : self.visible], kept_values[:, :, : self.visible]

    def mask(self, positions: Int[Tensor, "b t"]) -> Bool[Tensor, "b 1 t s"]:
        """True at a query's own position and before. Padding looks at the first position, never at nothing."""
        index = torch.arange(self.visible, device=positions.device)
        return index <= positions.clamp(min=0)[:, None, :, None]
