"""Random models to measure with: an ILLUME, and transformers' Janus of the same shape beside it.

Same layers and widths, the same number of image ids and codes, pictures of the same pixels, painted in one pass; both
read a prompt byte by byte. It measures nothing itself.
"""

from dataclasses import dataclass
from typing import Any

import torch

from illume.api import Drawing, Generation, Illume, Parts, Sampling
from illume.models.convolutional import ConvolutionalDecoderConfig, ConvolutionalPixelDecoder
from illume.models.decoder import DecoderConfig
from illume.models.quantizer import VQConfig
from illume.models.tokenizer import LevelConfig, TokenizerConfig, VisionTokenizer
from illume.models.unified import Unified, UnifiedConfig
from illume.models.vision_encoder import EncoderConfig, build_encoder
from illume.vocab.layout import VocabLayout
from illume.vocab.text import PLAIN, TextFormat, train_byte_bpe

PAD, BEGIN, BEGIN_IMAGE, BYTES = 0, 1, 2, 3  # the peer's ids: three markers, then the 256 bytes
GUIDANCE, TEMPERATURE = 2.0, 1.0


@dataclass(frozen=True)
class Shape:
    """A language model, and the images it draws: `side` x `side` codes, four pixels each way."""

    layers: int
    width: int
    heads: int
    hidden: int
    side: int
    codes: int
    max_length: int = 256

    @property
    def image_ids(self) -> int:
        """Codes of one image."""
        return self.side * self.side

    @property
    def pixels(self) -> int:
        """The side of an image."""
        return 4 * self.side


SHAPES = {
    "tiny": Shape(layers=2, width=64, heads=2, hidden=128, side=8, codes=256),
    "small": Shape(layers=8, width=256, heads=4, hidden=704, side=8, codes=1024),
    "large": Shape(layers=24, width=1024, heads=16, hidden=2816, side=8, codes=16384),
}


def ours(shape: Shape, seed: int = 0, rows: int = 64) -> Illume:
    """A random ILLUME. Byte-level text, 2-D places, guided drawing at temperature 1 from all codes."""
    torch.manual_seed(seed)
    text = TextFormat(train_byte_bpe([], 256 + len(PLAIN.specials), PLAIN.specials), PLAIN)
    layout = VocabLayout(text.size, (shape.codes,), num_sizes=0, row_ends=False, level_markers=False)
    codes, start = layout.ranges()["level0"], layout.vision_start
    head = shape.width // shape.heads
    decoder = DecoderConfig(shape.width, shape.layers, shape.heads, shape.heads, head, shape.hidden)
    seeing = EncoderConfig(image_size=shape.pixels, patch=4, width=64, layers=1, heads=2, hidden=128)
    config = UnifiedConfig(decoder, start, layout.size - start, ((codes.start, codes.stop),), max_grid=shape.side)
    level = LevelConfig(
        VQConfig(num_codes=shape.codes, dim=8, reservoir=shape.codes), width=64, heads=2, hidden=128, blocks_out=1
    )
    tokenizer = VisionTokenizer(TokenizerConfig((level,)), build_encoder(seeing))
    painter = ConvolutionalPixelDecoder(ConvolutionalDecoderConfig(channels=(32, 64)), tokenizer.dims)
    model = Unified(config, build_encoder(seeing))
    for module in (model, tokenizer, painter):
        module.eval().requires_grad_(False)
    drawing = Drawing(Sampling(TEMPERATURE), GUIDANCE)
    generation = Generation(Sampling(TEMPERATURE), drawing, drawing, max_length=shape.max_length, rows=rows)
    size = (shape.pixels, shape.pixels)
    return Illume(Parts(model, layout, text, tokenizer, painter, size, generation))


def peer(shape: Shape, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """A random JanusForConditionalGeneration, its vision parts as small as its painter allows; see `peer_codes`."""
    from transformers import JanusConfig, JanusForConditionalGeneration, LlamaConfig
    from transformers.models.janus.configuration_janus import JanusVisionConfig, JanusVQVAEConfig

    torch.manual_seed(seed)
    text = LlamaConfig(
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        intermediate_size=shape.hidden,
        vocab_size=BYTES + 256,
        max_position_embeddings=4 * shape.max_length,
        pad_token_id=PAD,
        bos_token_id=BEGIN,
        eos_token_id=None,
    )
    vision = JanusVisionConfig(
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=shape.pixels,
        patch_size=4,
        projection_dim=shape.width,
        num_image_tokens=shape.image_ids,
    )
    painting = JanusVQVAEConfig(
        num_embeddings=shape.codes,
        latent_channels=64,
        base_channels=32,
        channel_multiplier=[1, 1, 2],
        num_res_blocks=1,
        projection_dim=shape.width,
        image_token_embed_dim=shape.width,
    )
    config = JanusConfig(text_config=text, vision_config=vision, vq_config=painting, image_token_id=PAD)
    model = JanusForConditionalGeneration(config).to(dtype).eval().requires_grad_(False)
    model.generation_config.update(pad_token_id=PAD, bos_token_id=BEGIN, eos_token_id=None, do_sample=True)
    model.generation_config.generation_kwargs = {"boi_token_id": BEGIN_IMAGE}
    return model


def peer_prompts(prompts: list[str]) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask` of prompts to draw by, padded on the left as Janus' processor does."""
    rows = [[BEGIN, *(BYTES + byte for byte in prompt.encode()), BEGIN_IMAGE] for prompt in prompts]
    longest = max(map(len, rows))
    ids = torch.tensor([[PAD] * (longest - len(row)) + row for row in rows])
    return {"input_ids": ids, "attention_mask": (ids != PAD).long()}


@torch.inference_mode()
def peer_codes(model: Any, prompts: list[str], seed: int = 0) -> torch.Tensor:
    """Codes b n of an image for each prompt, as transformers' `generate` draws them, with guidance."""
    torch.manual_seed(seed)
    given = peer_prompts(prompts)
    settings = {"guidance_scale": GUIDANCE, "temperature": TEMPERATURE, "top_k": 0, "do_sample": True}
    codes: torch.Tensor = model.generate(**given, generation_mode="image", **settings)
    return codes
