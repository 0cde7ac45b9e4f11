"""A whole tiny random ILLUME, as its folder is made: one level, a 4x4 grid at 8 pixels."""

from functools import cache

import torch

from illume.api import Drawing, Generation, Illume, Parts, Sampling
from illume.models.decoder import DecoderConfig
from illume.models.pixel_decoder import DiffusionDecoderConfig, DiffusionPixelDecoder
from illume.models.quantizer import VQConfig
from illume.models.tokenizer import LevelConfig, TokenizerConfig, VisionTokenizer
from illume.models.unified import Unified, UnifiedConfig
from illume.models.vision_encoder import EncoderConfig, VisionEncoder, build_encoder
from illume.vocab.layout import VocabLayout
from illume.vocab.text import PLAIN, TextFormat, train_byte_bpe

SIZE, CODES = (8, 8), 24


def tiny_encoder() -> VisionEncoder:
    return build_encoder(EncoderConfig(image_size=SIZE[0], patch=2, width=16, layers=1, heads=2, hidden=32))


@cache
def tiny_parts() -> Parts:
    torch.manual_seed(0)
    text = TextFormat(train_byte_bpe([], 256 + len(PLAIN.specials), PLAIN.specials), PLAIN)
    layout = VocabLayout(text.size, (CODES,), num_sizes=0, row_ends=False, level_markers=False)
    codes, start = layout.ranges()["level0"], layout.vision_start
    shape = DecoderConfig(width=32, layers=2, heads=2, kv_heads=1, head_dim=16, hidden=64)
    config = UnifiedConfig(shape, start, layout.size - start, ((codes.start, codes.stop),), max_grid=4)
    level = LevelConfig(VQConfig(num_codes=CODES, dim=8), width=16, heads=2, hidden=32, blocks_out=1)
    tokenizer = VisionTokenizer(TokenizerConfig((level,)), tiny_encoder())
    painting = DiffusionDecoderConfig(channels=(8, 16), condition=4, cells=1, groups=4, steps=2)
    painter = DiffusionPixelDecoder(painting, tokenizer.dims)
    model = Unified(config, tiny_encoder())
    for module in (model, tokenizer, painter):
        module.eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=0.5 if name.startswith(("embedding", "head", "places")) else 0.25)
    warm = Sampling(0.9, 16, 0.9)
    generation = Generation(Sampling(0.0), Drawing(warm, 1.5), Drawing(warm, 1.25), max_length=128, rows=8)
    return Parts(model, layout, text, tokenizer, painter, SIZE, generation)


def tiny_illume(strict: bool = False) -> Illume:
    return Illume(tiny_parts(), strict=strict)
