"""Law 9, the language model's half: logits equal transformers', and converting there and back is the identity."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from illume.models import decoder as decoder_module
from illume.models.convert import fill, from_huggingface, to_huggingface
from illume.models.published import load_language_model, published_config
from illume.models.unified import Unified, UnifiedConfig
from illume.models.vision_encoder import EncoderConfig, build_encoder

VOCABULARY, VISION = 50, 20
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
    "rms_norm_eps": 1e-5,
}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
REFERENCES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "llama3": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, rope_parameters=LLAMA3, head_dim=16)),
    "vicuna, long": lambda: LlamaForCausalLM(
        LlamaConfig(**SHAPE, rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4})
    ),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=None)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "qwen2, tied": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE, tie_word_embeddings=True)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=16)),
    "qwen3, tied": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=16, tie_word_embeddings=True)),
}
TOLERANCE = 2e-5  # on logits of size 5; the largest error measured over all of these is 6.4e-6


def reference(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model = REFERENCES[name]().eval()
    for parameter in model.parameters():  # norms and biases too, or their parity would be parity of ones and zeros
        if parameter.ndim == 1:
            nn.init.normal_(parameter, mean=1.0, std=0.2)
    return model


def ours(folder: Path) -> Unified:
    encoder = build_encoder(EncoderConfig(image_size=8, patch=4, width=8, layers=1, heads=2, hidden=16))
    config = UnifiedConfig(
        published_config(folder), VOCABULARY, VISION, ((VOCABULARY + 2, VOCABULARY + 12),), max_grid=2
    )
    return Unified(config, encoder).eval()


@torch.no_grad()
def check_logits_equal(folder: Path, published: PreTrainedModel) -> None:
    model = ours(folder)
    load_language_model(folder, model)
    ids = torch.randint(0, VOCABULARY, (2, 90))
    positions = torch.arange(90).expand(2, -1)
    hidden = model(ids, positions, places=torch.full((2, 90, 3), -1))
    error = (model.head.logits(hidden, range(VOCABULARY)) - published(ids).logits).abs().max()
    assert error < TOLERANCE


@pytest.mark.parametrize("name", REFERENCES)
def test_logits_equal_those_of_transformers(tmp_path: Path, name: str) -> None:
    published = reference(name)
    published.save_pretrained(tmp_path)
    check_logits_equal(tmp_path, published)


def test_sharded_checkpoints_are_read_too(tmp_path: Path) -> None:
    published = reference("qwen2")
    published.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 3
    check_logits_equal(tmp_path, published)


def interleaved(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions on neighbouring pairs, the layout of Meta's own files."""
    turned = torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)
    half = x.shape[-1] // 2
    return x * cos[..., :half].repeat_interleave(2, -1) + turned * sin[..., :half].repeat_interleave(2, -1)


BROKEN: dict[str, tuple[str, str, Any]] = {
    "rotary layout": ("llama", "rotate", interleaved),
    "rotary scaling": ("llama3", "_llama3", lambda frequencies, scaling: frequencies),
    "key norms": ("qwen3", "RMSNorm", lambda width, eps: nn.RMSNorm(width, eps=0.1)),
    "future seen": (
        "qwen2",
        "attention",
        lambda q, k, v, **_: nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True),
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_the_law_catches_broken_decoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    name, part, replacement = BROKEN[fault]
    published = reference(name)
    published.save_pretrained(tmp_path)
    monkeypatch.setattr(decoder_module, part, replacement)
    with pytest.raises(AssertionError):
        check_logits_equal(tmp_path, published)


def check_round_trip(model: Unified, there: Callable[[Unified], dict[str, torch.Tensor]]) -> None:
    """Every weight goes there and comes back equal, and no key on either side is left over."""
    state, tensors = model.state_dict(), there(model)
    back = from_huggingface(tensors, model.config.text_rows)
    assert back.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(back[name], tensor), name
    again = Unified(model.config, model.vision_encoder)
    fill(again, tensors, "round trip")
    for name, tensor in to_huggingface(again).items():
        assert torch.equal(tensors[name], tensor), name


@pytest.mark.parametrize("name", REFERENCES)
def test_weights_there_and_back_are_the_same(tmp_path: Path, name: str) -> None:
    reference(name).save_pretrained(tmp_path)
    check_round_trip(ours(tmp_path), to_huggingface)


def test_the_names_of_the_decoder_are_the_published_ones(tmp_path: Path) -> None:
    published = reference("qwen3")
    published.save_pretrained(tmp_path)
    own = {name for name in to_huggingface(ours(tmp_path)) if ".vision_encoder." not in name}
    beside = {name for name in own if name.startswith(("model.adapter.", "model.places."))}
    assert own - beside == published.state_dict().keys()


def test_the_law_catches_rows_in_another_order(tmp_path: Path) -> None:
    reference("llama").save_pretrained(tmp_path)

    def swapped(model: Unified) -> dict[str, torch.Tensor]:
        tensors = to_huggingface(model)
        return tensors | {"lm_head.weight": tensors["lm_head.weight"].roll(VISION, dims=0)}

    with pytest.raises(AssertionError):
        check_round_trip(ours(tmp_path), swapped)
