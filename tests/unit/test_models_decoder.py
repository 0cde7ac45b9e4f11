"""Samples packed into a row do not see each other, padding changes nothing, a new decoder is one norm."""

import pytest
import torch
from torch import nn

from illume.generate.cache import StaticCache
from illume.models.decoder import Decoder, DecoderConfig, packing_mask

CONFIG = DecoderConfig(16, 2, 4, 2, 8, 24)


def awake(config: DecoderConfig = CONFIG) -> Decoder:
    """A decoder whose silent projections speak."""
    torch.manual_seed(0)
    decoder = Decoder(config)
    for parameter in decoder.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.2)
    return decoder


def packed(lengths: tuple[int, ...], padding: int) -> tuple[torch.Tensor, torch.Tensor]:
    positions = [torch.arange(length) for length in (*lengths, padding)]
    segments = [torch.full((length,), i) for i, length in enumerate(lengths)] + [torch.full((padding,), -1)]
    return torch.cat(positions)[None], torch.cat(segments)[None]


def test_packed_rows_equal_rows_apart() -> None:
    decoder, samples = awake(), [torch.randn(1, 5, 16), torch.randn(1, 3, 16)]
    positions, segments = packed((5, 3), 4)
    row = torch.cat([*samples, torch.randn(1, 4, 16)], dim=1)
    together = decoder(row, positions, segments)
    apart = torch.cat([decoder(x, torch.arange(x.shape[1])[None]) for x in samples], dim=1)
    assert torch.allclose(together[:, :8], apart, atol=1e-5)  # measured 5e-7


def test_a_sample_is_untouched_by_its_neighbours() -> None:
    decoder, row = awake(), torch.randn(1, 12, 16)
    positions, segments = packed((5, 3), 4)
    before = decoder(row, positions, segments)
    row[:, :5] += 1
    row[:, 8:] += 1
    after = decoder(row, positions, segments)
    assert torch.equal(before[:, 5:8], after[:, 5:8])
    assert torch.isfinite(after).all()


def test_wanted_positions_are_those_of_all() -> None:
    decoder, row = awake(), torch.randn(2, 8, 16)
    positions, segments = packed((5, 3), 0)
    positions, segments = positions.expand(2, -1), segments.expand(2, -1)
    wanted = torch.tensor([14, 3, 8])
    some = decoder(row, positions, segments, wanted=wanted)
    everything = decoder(row, positions, segments).flatten(0, 1)
    assert torch.allclose(some, everything[wanted], atol=1e-5)
    assert not torch.allclose(some, everything[wanted - 1], atol=1e-2)


def test_every_query_of_a_packing_mask_sees_itself() -> None:
    _, segments = packed((5, 3), 4)
    mask = packing_mask(segments)
    assert mask.diagonal(dim1=2, dim2=3).all()
    assert int(mask.sum()) == 15 + 6 + 10


def test_a_new_decoder_is_its_last_norm() -> None:
    decoder, x = Decoder(CONFIG), torch.randn(1, 5, 16)
    assert torch.allclose(decoder(x, torch.arange(5)[None]), decoder.norm(x))


def test_autocast_is_near_full_precision() -> None:
    decoder, row = awake(DecoderConfig(16, 2, 4, 2, 8, 24, qk_norm=True)), torch.randn(1, 12, 16)
    positions, segments = packed((5, 3), 4)
    with torch.autocast("cpu", torch.bfloat16):
        low = decoder(row, positions, segments)
    assert torch.allclose(low, decoder(row, positions, segments), atol=0.1)  # measured 0.015


def test_packed_rows_have_no_cache() -> None:
    positions, segments = packed((5,), 0)
    with pytest.raises(ValueError, match="not both"):
        awake()(torch.randn(1, 5, 16), positions, segments, StaticCache(1, 2, 2, 8, 8))


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="evenly"):
        DecoderConfig(16, 2, 4, 3, 8, 24)
    with pytest.raises(ValueError, match="odd"):
        DecoderConfig(16, 2, 4, 2, 7, 24)
