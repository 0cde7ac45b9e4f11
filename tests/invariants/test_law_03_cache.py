"""Law 3, the model's half: cached logits equal uncached, whatever the chunks, the neighbours and what a row held."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from illume.generate.cache import StaticCache
from illume.models import layers
from illume.models.decoder import Decoder, DecoderConfig, Llama3Scaling

CONFIGS = {
    "llama": DecoderConfig(16, 2, 4, 2, 8, 24, rope_scaling=Llama3Scaling(original_length=8)),
    "qwen2": DecoderConfig(16, 2, 4, 4, 8, 24, qkv_bias=True),
    "qwen3": DecoderConfig(16, 2, 4, 1, 8, 24, qk_norm=True),
}
# Steps of three rows: prefill in unequal chunks, rows that wait, single ids, all in any order.
CHUNKS = ([3, 5, 0], [1, 1, 1], [4, 0, 2], [0, 1, 0], [1, 1, 1], [2, 3, 7])
TOLERANCE = 1e-5  # measured 3.5e-6, on outputs of up to 4.6
MakeCache = Callable[[DecoderConfig], StaticCache]


def awake(config: DecoderConfig) -> Decoder:
    torch.manual_seed(0)
    decoder = Decoder(config).eval()
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.3)
    return decoder


def static(config: DecoderConfig, kind: type[StaticCache] = StaticCache, stride: int | None = None) -> StaticCache:
    return kind(3, config.layers, config.kv_heads, 16, config.head_dim, stride=stride)


@torch.no_grad()
def cached(decoder: Decoder, rows: list[torch.Tensor], cache: StaticCache) -> list[torch.Tensor]:
    """Hidden states of each row, computed chunk by chunk."""
    done: list[list[torch.Tensor]] = [[] for _ in rows]
    for counts in CHUNKS:
        starts = list(cache.lengths)
        embeds = torch.full((len(rows), max(counts), rows[0].shape[1]), 9.0)  # padding that would be noticed
        for row, count in enumerate(counts):
            embeds[row, :count] = rows[row][starts[row] : starts[row] + count]
        hidden = decoder(embeds, cache.reserve(counts), cache=cache)
        assert torch.isfinite(hidden).all()
        for row, count in enumerate(counts):
            done[row].append(hidden[row, :count])
    return [torch.cat(parts) for parts in done]


@torch.no_grad()
def check_cached_equals_uncached(config: DecoderConfig, make: MakeCache, *, reuse: bool = False) -> None:
    decoder, cache = awake(config), make(config)
    rows = [torch.randn(sum(counts), config.width) for counts in zip(*CHUNKS, strict=True)]
    if reuse:
        cached(decoder, [torch.randn_like(row) for row in rows], cache)
        for row in range(len(rows)):
            cache.clear(row)
    for embeds, found in zip(rows, cached(decoder, rows, cache), strict=True):
        whole = decoder(embeds[None], torch.arange(len(embeds))[None])[0]
        assert (found - whole).abs().max() < TOLERANCE


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("stride", [None, 1, 5])
@pytest.mark.parametrize("fused", [False, True])
def test_cached_equals_uncached(monkeypatch: pytest.MonkeyPatch, family: str, stride: int | None, fused: bool) -> None:
    if fused:
        monkeypatch.setattr(layers, "LONGEST_WRITTEN_OUT", 0)
    check_cached_equals_uncached(CONFIGS[family], lambda config: static(config, stride=stride))


def test_a_row_forgets_what_it_held_before() -> None:
    check_cached_equals_uncached(CONFIGS["llama"], static, reuse=True)


def test_a_copied_row_goes_on_like_its_source() -> None:
    config = CONFIGS["llama"]
    decoder, cache, row = awake(config), static(config), torch.randn(7, 16)
    with torch.no_grad():
        decoder(row[None, :6].expand(3, -1, -1), cache.reserve([6, 0, 0]), cache=cache)
        cache.recall(0, 2, cache.lengths[0])
        last = decoder(row[None, 6:].expand(3, -1, -1), cache.reserve([1, 0, 1]), cache=cache)
    assert (last[0] - last[2]).abs().max() < TOLERANCE  # not bit-equal: a product may treat its last rows apart


class ForgetsTheFirst(StaticCache):
    """Cannot see position 0."""

    def mask(self, positions: torch.Tensor) -> torch.Tensor:
        mask = super().mask(positions).clone()
        mask[..., 0] &= positions[:, None] < 1
        return mask


class SeesEverything(StaticCache):
    """Looks at what a row held before."""

    def mask(self, positions: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(super().mask(positions))


class KeepsPadding(StaticCache):
    """Writes padding at the front of a row."""

    def update(
        self, layer: int, keys: torch.Tensor, values: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return super().update(layer, keys, values, positions.clamp(min=0))


@pytest.mark.parametrize("broken", [ForgetsTheFirst, SeesEverything, KeepsPadding])
def test_the_law_catches_broken_caches(broken: type[StaticCache]) -> None:
    with pytest.raises(AssertionError):
        check_cached_equals_uncached(CONFIGS["llama"], lambda config: static(config, broken), reuse=True)
