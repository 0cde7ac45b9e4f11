"""Each level has its own way into the language model, and the scale of features does not matter."""

import pytest
import torch

from illume.models.adapter import Adapter


def test_levels_of_unequal_width_and_length() -> None:
    adapter = Adapter((6, 10), 16)
    out = adapter((torch.randn(2, 9, 6), torch.randn(2, 16, 10)))
    assert [tuple(level.shape) for level in out] == [(2, 9, 16), (2, 16, 16)]


def test_features_of_any_scale_read_alike() -> None:
    adapter, features = Adapter((6,), 16), torch.randn(2, 4, 6)
    assert torch.allclose(adapter((features,))[0], adapter((features * 100,))[0], atol=1e-3)


def test_a_missing_level_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 levels for an adapter of 2"):
        Adapter((6, 10), 16)((torch.randn(2, 9, 6),))
