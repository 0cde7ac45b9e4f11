"""A unified model of two unequal levels so small that it learns four samples by heart in a second, and such samples."""

import numpy as np
import torch

from illume.data.collate import SequenceBatch, collate
from illume.data.sample import NO_PLACE, Sample, SlotRun
from illume.models.decoder import DecoderConfig
from illume.models.unified import Unified, UnifiedConfig
from illume.models.vision_encoder import EncoderConfig, Tap, build_encoder
from illume.train.stage import Rule

TEXT, MARKERS = 12, 4
CODES = ((16, 24), (24, 40))  # ids of two levels after the markers; the last id is the slot
SLOT = 40
GRIDS = ((2, 2), (1, 1))  # 8 pixels in patches of 4, then merged 2 x 2
RULES = (
    Rule(r"decoder\.layers\..*(_proj)\.weight", lr=0.02, optimizer="muon"),
    Rule(r"(?!vision_encoder)(?!decoder\.layers\..*_proj\.weight).*", lr=1e-2),
    Rule(r"vision_encoder\..*", lr=0.0),
)


def tiny_unified(seed: int = 0) -> Unified:
    torch.manual_seed(seed)
    taps = (Tap(), Tap(merge=2))
    encoder = build_encoder(EncoderConfig(image_size=8, patch=4, width=16, layers=1, heads=2, hidden=32, taps=taps))
    shape = DecoderConfig(width=32, layers=2, heads=2, kv_heads=1, head_dim=16, hidden=64)
    config = UnifiedConfig(shape, text_rows=TEXT, vision_rows=SLOT + 1 - TEXT, code_ranges=CODES, max_grid=2)
    return Unified(config, encoder)


def picture(key: str) -> np.ndarray:
    """A picture of its own for each key."""
    return np.random.default_rng(int(key)).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def drawing(key: str) -> Sample:
    """Text, then the codes of an image at both levels, each code's place at the position before it."""
    random = np.random.default_rng(int(key) + 100)
    codes = [*random.integers(*CODES[0], 4), *random.integers(*CODES[1], 1)]
    ids = [1, *random.integers(2, TEXT, 3), TEXT, *codes, TEXT + 1]
    code_places = [
        (level, row, column) for level, (h, w) in enumerate(GRIDS) for row in range(h) for column in range(w)
    ]
    places = [NO_PLACE] * 4 + code_places + [NO_PLACE] * 2
    return _sample(f"draw {key}", ids, [False] * 4 + [True] * 7, places, ())


def reading(key: str) -> Sample:
    """An image in slots at both levels, then text about it."""
    random = np.random.default_rng(int(key) + 200)
    ids = [TEXT, *[SLOT] * 5, TEXT + 1, *random.integers(2, TEXT, 1 + int(key) % 3), 1]
    places = [NO_PLACE, *[(0, r, c) for r in range(2) for c in range(2)], (1, 0, 0)]
    places += [NO_PLACE] * (len(ids) - len(places))
    slots = (SlotRun(1, 0, 4, key), SlotRun(5, 1, 1, key))
    return _sample(f"read {key}", ids, [False] * 7 + [True] * (len(ids) - 7), places, slots)


def pack(*rows: tuple[Sample, ...]) -> SequenceBatch:
    """The batch of these rows of samples."""
    return collate(rows, picture, num_levels=2, size=(8, 8))


def _sample(
    name: str, ids: list[int], loss: list[bool], places: list[tuple[int, int, int]], slots: tuple[SlotRun, ...]
) -> Sample:
    mask, array = np.array(loss, dtype=np.bool_), np.array(ids, dtype=np.int32)
    return Sample(name, "test", array, mask, np.array(places, dtype=np.int16), slots)
