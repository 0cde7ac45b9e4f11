"""Rows of a static cache go on, stand still, start over and are copied without touching each other."""

import pytest
import torch

from illume.core.errors import ModelError, RequestError
from illume.generate.cache import StaticCache
from illume.models.decoder import KVCache


def cache(rows: int = 3, length: int = 6, stride: int | None = None) -> StaticCache:
    return StaticCache(rows, 2, 2, length, 4, stride=stride)


def write(store: StaticCache, counts: list[int], value: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Write `value` as the next positions of every row; return what layer 0 then sees."""
    positions = store.reserve(counts)
    keys = torch.full((len(counts), 2, positions.shape[1], 4), value)
    return store.update(0, keys, keys + 0.5, positions)


def test_it_is_the_cache_the_decoder_asks_for() -> None:
    assert isinstance(cache(), KVCache)


def test_rows_have_lengths_of_their_own() -> None:
    store = cache()
    assert store.reserve([2, 0, 3]).tolist() == [[0, 1, -1], [-1, -1, -1], [0, 1, 2]]
    assert store.reserve([1, 1, 1]).tolist() == [[2], [0], [3]]
    assert store.lengths == [3, 1, 4]


def test_writing_keeps_what_was_written_and_padding_leaves_no_trace() -> None:
    store = cache()
    write(store, [2, 0, 3], 1.0)
    keys, values = write(store, [1, 2, 0], 2.0)
    held = [[1, 1, 2, 0, 0, 0], [2, 2, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]]
    assert keys[:, 0, :, 0].tolist() == held
    assert values[:, 1, :, 3].tolist() == [[x + 0.5 if x else 0 for x in row] for row in held]
    assert not store.keys[1].any()


def test_a_query_sees_its_own_position_and_before() -> None:
    store = cache(rows=2)
    assert store.mask(torch.tensor([[2, 3], [0, -1]]))[:, 0].int().tolist() == [
        [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0]],
        [[1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]],
    ]


@pytest.mark.parametrize(("counts", "visible"), [([1, 0], 2), ([2, 2], 2), ([3, 0], 4), ([5, 1], 5)])
def test_strides_follow_the_longest_row(counts: list[int], visible: int) -> None:
    store = cache(rows=2, length=5, stride=2)
    keys, _ = write(store, counts, 1.0)
    assert keys.shape[2] == store.mask(torch.zeros(2, 1, dtype=torch.long)).shape[3] == visible
    assert cache(rows=2, length=5).visible == 5


def test_a_full_row_is_an_error_that_changes_nothing() -> None:
    store = cache()
    store.reserve([5, 1, 0])
    with pytest.raises(RequestError, match="row 0 needs 7 positions but the cache was built for 6"):
        store.reserve([2, 1, 0])
    assert store.lengths == [5, 1, 0]
    assert store.reserve([1, 0, 6]).tolist()[2] == [0, 1, 2, 3, 4, 5]


def test_clear_and_copy_touch_one_row() -> None:
    store = cache()
    write(store, [2, 1, 3], 1.0)
    store.recall(0, 2, store.lengths[0])
    store.clear(0)
    assert store.lengths == [0, 1, 2]
    write(store, [1, 0, 0], 7.0)
    assert store.keys[0][2, 0, :2, 0].tolist() == [1, 1]
    assert store.keys[0][0, 0, 0, 0] == 7


def test_another_dtype_is_refused() -> None:
    store = cache(rows=1)
    keys = torch.zeros(1, 2, 1, 4, dtype=torch.bfloat16)
    with pytest.raises(ModelError, match=r"bfloat16 for a cache of torch\.float32"):
        store.update(0, keys, keys, store.reserve([1]))


def test_a_row_forgets_its_last_positions() -> None:
    store = cache()
    write(store, [4, 2, 0], 1.0)
    store.rewind(0, 3)
    assert store.lengths == [1, 2, 0]
    keys, _ = write(store, [1, 0, 0], 7.0)
    assert keys[0, 0, :2, 0].tolist() == [1, 7]
    with pytest.raises(ValueError, match="holds 2 positions, it cannot forget 3"):
        store.rewind(0, 3)
