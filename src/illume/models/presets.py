"""Shapes of language models by name, one literal table; it does not know where their weights lie.

Figures are those of the published config.json files; `pico` is ours, for two cores.
"""

import difflib

from illume.core.errors import ConfigError
from illume.models.decoder import DecoderConfig, Llama3Scaling

DECODERS: dict[str, DecoderConfig] = {
    "pico": DecoderConfig(256, 4, 4, 4, 64, 768, qk_norm=True),
    "vicuna-7b": DecoderConfig(4096, 32, 32, 32, 128, 11008, norm_eps=1e-5),
    "vicuna-13b": DecoderConfig(5120, 40, 40, 40, 128, 13824, norm_eps=1e-5),
    "mistral-7b-v0.3": DecoderConfig(4096, 32, 32, 8, 128, 14336, 1e6, norm_eps=1e-5),
    "llama3.1-8b": DecoderConfig(4096, 32, 32, 8, 128, 14336, 5e5, Llama3Scaling(), 1e-5),
    "llama3.2-1b": DecoderConfig(2048, 16, 32, 8, 64, 8192, 5e5, Llama3Scaling(factor=32.0), 1e-5, tied=True),
    "qwen2.5-0.5b": DecoderConfig(896, 24, 14, 2, 64, 4864, 1e6, qkv_bias=True, tied=True),
    "qwen2.5-1.5b": DecoderConfig(1536, 28, 12, 2, 128, 8960, 1e6, qkv_bias=True, tied=True),
    "qwen2.5-3b": DecoderConfig(2048, 36, 16, 2, 128, 11008, 1e6, qkv_bias=True, tied=True),
    "qwen2.5-7b": DecoderConfig(3584, 28, 28, 4, 128, 18944, 1e6, qkv_bias=True),
    "qwen3-0.6b": DecoderConfig(1024, 28, 16, 8, 128, 3072, 1e6, qk_norm=True, tied=True),
    "qwen3-1.7b": DecoderConfig(2048, 28, 16, 8, 128, 6144, 1e6, qk_norm=True, tied=True),
    "qwen3-4b": DecoderConfig(2560, 36, 32, 8, 128, 9728, 1e6, qk_norm=True, tied=True),
    "qwen3-8b": DecoderConfig(4096, 36, 32, 8, 128, 12288, 1e6, qk_norm=True),
}


def decoder_preset(name: str) -> DecoderConfig:
    """The shape of that name. ConfigError names the near ones."""
    if name not in DECODERS:
        near = difflib.get_close_matches(name, DECODERS, n=3, cutoff=0.4) or list(DECODERS)
        raise ConfigError(f"no language model is called {name!r}; near names: {', '.join(near)}")
    return DECODERS[name]
