"""Keyed streams: pure functions of their keys, and different keys never share one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from illume.core.streams import seed_of, stream

KEYS = st.lists(st.one_of(st.text(), st.integers(), st.floats(allow_nan=False)), max_size=4)


def identity(keys):
    return [(type(key), key.hex() if isinstance(key, float) else key) for key in keys]


@given(KEYS, KEYS)
def test_core_streams_equal_keys_and_only_equal_keys_share_a_seed(a, b):
    assert (seed_of(*a) == seed_of(*b)) == (identity(a) == identity(b))


def test_core_streams_are_the_same_everywhere_and_for_ever():
    assert seed_of("noise", 0, 7) == 12808124069851171419
    assert stream("noise", 0, 7).random() == stream("noise", 0, 7).random()


def test_core_streams_take_numpy_integers_as_integers():
    assert seed_of("a", np.int64(3)) == seed_of("a", 3)


@pytest.mark.parametrize("key", [True, None, (1, 2), b"x"])
def test_core_streams_refuse_other_keys(key):
    with pytest.raises(TypeError, match="stream key"):
        seed_of("a", key)
