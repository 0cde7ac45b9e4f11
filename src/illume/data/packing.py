"""Packing decides which samples share a row, first fit by falling length; it knows nothing of them but that."""

from collections.abc import Sequence

import numpy as np

from illume.core.errors import DataError


def pack(lengths: Sequence[int], row_length: int, names: Sequence[str] | None = None) -> list[list[int]]:
    """Rows of sample indices, each row at most `row_length` long in all, every sample in exactly one row.

    First fit decreasing: at most 11/9 of the fewest possible rows + 1. Ties keep the order given, so the rows are a
    function of the lengths alone. A sample longer than a row is a DataError naming it (`names`, if given).
    """
    for index, length in enumerate(lengths):
        if not 0 < length <= row_length:
            raise DataError(_misfit(names[index] if names else f"sample {index}", length, row_length))
    rows: list[list[int]] = []
    free = np.zeros(len(lengths), dtype=np.int64)
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fits = free[: len(rows)] >= lengths[index]
        row = int(fits.argmax()) if fits.any() else len(rows)
        if row == len(rows):
            rows.append([])
            free[row] = row_length
        rows[row].append(index)
        free[row] -= lengths[index]
    return rows


def _misfit(name: str, length: int, row_length: int) -> str:
    if length <= 0:
        return f"{name} has no ids at all: it cannot be packed"
    return (
        f"{name} is {length} ids long, a row only {row_length}: "
        f"raise row_length to {length} or more, or shorten or remove that record"
    )
