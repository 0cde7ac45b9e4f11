"""Packing: every sample in one row, no row too long, few rows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from illume.core.errors import DataError
from illume.data.packing import pack


@given(lengths=st.lists(st.integers(1, 50), max_size=60))
def test_every_sample_is_in_one_row_that_is_long_enough(lengths: list[int]) -> None:
    rows = pack(lengths, 50)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= 50 for row in rows)
    assert len(rows) <= 2 * math.ceil(sum(lengths) / 50), "no two rows are half empty"


def test_rows_are_filled() -> None:
    assert pack([6, 4, 5, 5], 10) == [[0, 1], [2, 3]]
    assert pack([], 10) == []


def test_a_sample_longer_than_a_row_is_named() -> None:
    with pytest.raises(
        DataError, match=r"the sample caption\[7\] is 11 ids long, a row only 10: raise row_length to 11"
    ):
        pack([3, 11], 10, ["the sample draw[1]", "the sample caption[7]"])
    with pytest.raises(DataError, match="sample 0 has no ids"):
        pack([0], 10)
