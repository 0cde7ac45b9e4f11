"""Law 9, the language model's half: logits equal transformers', and converting there and back is the identity."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
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

from illume.core.errors import ModelError
from illume.core.tensors import load_tensors
from illume.models import decoder as decoder_module
from illume.models.convert import fill, from_huggingface, to_huggingface
from illume.models.published import language_tensors, load_language_model, published_config, save_language_model
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
# In bfloat16 both round, at other places: ours may be as far from the truth as theirs, and a third more. Measured over
# all of these and two seeds: 0.83 to 1.18 times as far; with positions in bfloat16 too, llama3's are 1.5 to 1.7.
AS_FAR = 1.33


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
def logits(model: Unified, ids: torch.Tensor) -> torch.Tensor:
    hidden = model(ids, torch.arange(90).expand(2, -1), places=torch.full((2, 90, 3), -1))
    return model.head.logits(hidden, range(VOCABULARY)).float()


@torch.no_grad()
def check_logits_equal(folder: Path, published: PreTrainedModel) -> None:
    model = ours(folder)
    load_language_model(folder, model)
    ids = torch.randint(0, VOCABULARY, (2, 90))
    assert (logits(model, ids) - published(ids).logits).abs().max() < TOLERANCE


@torch.no_grad()
def check_low_precision(folder: Path, published: PreTrainedModel) -> None:
    """Both in bfloat16, weights too, against transformers' in float32 on those weights: root mean squares."""
    low = copy.deepcopy(published).bfloat16()
    exact = copy.deepcopy(low).float()
    model = ours(folder)
    load_language_model(folder, model)
    ids = torch.randint(0, VOCABULARY, (2, 90))
    truth = exact(ids).logits
    error, theirs = ((x - truth).square().mean().sqrt() for x in (logits(model.bfloat16(), ids), low(ids).logits))
    assert error < AS_FAR * theirs


@pytest.mark.parametrize("name", REFERENCES)
def test_logits_equal_those_of_transformers(tmp_path: Path, name: str) -> None:
    published = reference(name)
    published.save_pretrained(tmp_path)
    check_logits_equal(tmp_path, published)


@pytest.mark.parametrize("name", REFERENCES)
def test_in_bfloat16_they_are_as_near_the_truth(tmp_path: Path, name: str) -> None:
    published = reference(name)
    published.save_pretrained(tmp_path)
    check_low_precision(tmp_path, published)


@pytest.mark.parametrize("name", REFERENCES)
def test_sharded_checkpoints_are_read_too(tmp_path: Path, name: str) -> None:
    published = reference(name)
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


def test_the_law_catches_positions_in_low_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def coarse(positions: torch.Tensor, frequencies: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        angles = positions[:, None, :, None].bfloat16() * frequencies.bfloat16()
        return angles.cos().repeat(1, 1, 1, 2), angles.sin().repeat(1, 1, 1, 2)

    published = reference("llama3")
    published.save_pretrained(tmp_path)
    monkeypatch.setattr(decoder_module, "rotary_angles", coarse)
    with pytest.raises(AssertionError):
        check_low_precision(tmp_path, published)


def check_written_back(
    source: Path,
    target: Path,
    there: Callable[[Path, Unified], None] = lambda folder, model: save_language_model(folder, model),
) -> None:
    """A published model read and written is the same: every tensor, no key more or less, and the shape."""
    model = ours(source)
    load_language_model(source, model)
    there(target, model)
    before, after = (load_tensors(folder / "model.safetensors") for folder in (source, target))
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name
    assert published_config(target) == published_config(source)


@pytest.mark.parametrize("name", REFERENCES)
def test_a_published_model_read_and_written_is_the_same(tmp_path: Path, name: str) -> None:
    published = reference(name)
    published.save_pretrained(tmp_path / "published")
    check_written_back(tmp_path / "published", tmp_path / "ours")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    ids = torch.randint(0, VOCABULARY, (2, 90))
    with torch.no_grad():
        assert torch.equal(again(ids).logits, published(ids).logits)


def test_the_law_catches_a_lost_tensor_and_a_lost_scale(tmp_path: Path) -> None:
    reference("llama3").save_pretrained(tmp_path / "published")

    def unscaled(folder: Path, model: Unified) -> None:
        model.config = replace(model.config, decoder=replace(model.config.decoder, rope_scaling=None))
        save_language_model(folder, model)

    def headless(folder: Path, model: Unified) -> None:
        model.config = replace(model.config, decoder=replace(model.config.decoder, tied=True))
        save_language_model(folder, model)

    for number, broken in enumerate((unscaled, headless)):
        with pytest.raises(AssertionError):
            check_written_back(tmp_path / "published", tmp_path / str(number), broken)


@pytest.mark.parametrize("name", ["llama3", "qwen3, tied"])
def test_with_its_vision_rows_it_predicts_codes_too(tmp_path: Path, name: str) -> None:
    reference(name).save_pretrained(tmp_path / "published")
    model = ours(tmp_path / "published")
    load_language_model(tmp_path / "published", model)
    save_language_model(tmp_path / "ours", model, vision_rows=True, max_shard_bytes=20_000)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    ids = torch.randint(0, VOCABULARY + VISION, (2, 90))
    with torch.no_grad():
        hidden = model(ids, torch.arange(90).expand(2, -1), places=torch.full((2, 90, 3), -1))
        assert (again(ids).logits - model.head.logits(hidden)).abs().max() < TOLERANCE


def test_a_shape_of_no_family_is_not_written(tmp_path: Path) -> None:
    reference("qwen3").save_pretrained(tmp_path / "published")
    model = ours(tmp_path / "published")
    model.config = replace(model.config, decoder=replace(model.config.decoder, qkv_bias=True))
    with pytest.raises(ModelError, match="no published family"):
        save_language_model(tmp_path / "ours", model)
    assert not (tmp_path / "ours").exists()
    assert "lm_head.weight" in language_tensors(model)


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
