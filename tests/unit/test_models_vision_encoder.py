"""The encoder adapter: grids, levels, merging, sizes it does not take."""

import pytest
import torch

from illume.core.config import from_dict, to_dict
from illume.core.errors import ModelError
from illume.models.vision_encoder import EncoderConfig, Tap, VisionEncoder, build_encoder, merged

TINY = EncoderConfig(image_size=16, patch=4, width=8, layers=2, heads=2, hidden=16)
TWO = EncoderConfig(image_size=16, patch=4, width=8, layers=2, heads=2, hidden=16, taps=(Tap(merge=2), Tap(layer=1)))


@pytest.fixture(scope="module")
def two() -> VisionEncoder:
    torch.manual_seed(0)
    return build_encoder(TWO).eval()


def test_a_config_survives_the_round_trip() -> None:
    assert from_dict(EncoderConfig, to_dict(TWO)) == TWO


def test_levels_have_their_own_grids_and_widths(two: VisionEncoder) -> None:
    assert two.dims == (32, 8)
    assert two.strides == (8, 4)
    assert two.grids((16, 24)) == ((2, 3), (4, 6))
    levels = two(torch.zeros(3, 3, 16, 24))
    assert [(tuple(features.shape), grid) for features, grid in levels] == [
        ((3, 6, 32), (2, 3)),
        ((3, 24, 8), (4, 6)),
    ]


def test_merging_keeps_rows_and_columns() -> None:
    rows, columns = torch.meshgrid(torch.arange(4), torch.arange(6), indexing="ij")
    places = torch.stack([rows, columns], dim=-1).reshape(1, 24, 2).float()
    wide = merged(places, (4, 6), 2)
    assert wide.shape == (1, 6, 8)
    assert wide[0, 1].tolist() == [0, 2, 0, 3, 1, 2, 1, 3]
    assert wide[0, 3].tolist() == [2, 0, 2, 1, 3, 0, 3, 1]


def test_a_fresh_encoder_starts_as_the_identity_of_its_embeddings() -> None:
    encoder = build_encoder(TINY)
    pixels = torch.rand(1, 3, 16, 16) * 2 - 1
    start = encoder.model.embeddings(pixels)
    ((features, _),) = encoder(pixels)
    torch.testing.assert_close(features, encoder.model.post_layernorm(start))


def test_a_fresh_encoder_takes_pixels_as_they_are() -> None:
    pixels = torch.rand(1, 3, 16, 16) * 2 - 1
    torch.testing.assert_close(build_encoder(TINY).normalise(pixels), pixels)


def test_a_size_that_does_not_divide_is_refused(two: VisionEncoder) -> None:
    with pytest.raises(ModelError, match="20x16 pixels does not divide into strides of 8"):
        two(torch.zeros(1, 3, 20, 16))


def test_every_parameter_of_a_fresh_encoder_is_used() -> None:
    encoder = build_encoder(TINY)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    ((features, _),) = encoder(torch.rand(2, 3, 16, 16))
    features.square().sum().backward()
    unused = [n for n, p in encoder.named_parameters() if p.grad is None]
    assert not unused
