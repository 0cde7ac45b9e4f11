"""Published shapes are read as they are written, foreign ones refused; vocabularies grow in kind."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from illume.core.errors import ConfigError, ModelError
from illume.models.decoder import Decoder, LinearScaling, Llama3Scaling
from illume.models.presets import DECODERS, decoder_preset
from illume.models.published import (
    config_to_publish,
    decoder_config,
    find_folder,
    load_language_model,
    published_config,
)
from illume.models.unified import Unified, UnifiedConfig

OLD: dict[str, Any] = {  # as Llama configurations were written before transformers 5
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "rms_norm_eps": 1e-5, "hidden_act": "silu", "vocab_size": 50,
}  # fmt: skip
# Parameters without embeddings, in billions, from the model cards.
PUBLISHED_SIZES = {
    "qwen2.5-0.5b": 0.36, "qwen2.5-1.5b": 1.31, "qwen2.5-3b": 2.77, "qwen2.5-7b": 6.53,
    "qwen3-0.6b": 0.44, "qwen3-1.7b": 1.4, "qwen3-4b": 3.6, "qwen3-8b": 6.95, "vicuna-7b": 6.48,
    "vicuna-13b": 12.69, "llama3.1-8b": 6.98, "llama3.2-1b": 0.97, "mistral-7b-v0.3": 6.98,
}  # fmt: skip


WRONG = {
    '{"model_type": "llama"}': "num_attention_heads",
    "[]": "expected a JSON object",
    '"llama"': "expected a JSON object",
    "[" * 100_000: "nested too deeply",
    '{"model_type": "llama", "model_type": "qwen2"}': "names a key twice: model_type",
    json.dumps(OLD | {"num_attention_heads": 0}): "ZeroDivisionError",
    json.dumps(OLD | {"rope_scaling": [1]}): "AttributeError",
    json.dumps(OLD | {"model_type": ["llama"]}): "model_type",
}


class Blind(nn.Module):
    dims = (4,)


def test_old_configurations_have_the_old_defaults() -> None:
    config = decoder_config(OLD, "here")
    assert (config.kv_heads, config.head_dim, config.rope_theta, config.rope_scaling) == (4, 16, 10000.0, None)
    assert (config.tied, config.qkv_bias, config.qk_norm) == (False, False, False)


@pytest.mark.parametrize(
    ("rope", "scaling"),
    [
        ({"rope_scaling": {"type": "linear", "factor": 4.0}, "rope_theta": 5000.0}, LinearScaling(factor=4.0)),
        ({"rope_parameters": {"rope_type": "linear", "factor": 4, "rope_theta": 5000}}, LinearScaling(factor=4.0)),
        (
            {"rope_theta": 5000.0, "rope_scaling": {
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64}},
            Llama3Scaling(original_length=64),
        ),
    ],
)  # fmt: skip
def test_both_spellings_of_rotary_scaling(rope: dict[str, Any], scaling: object) -> None:
    config = decoder_config(OLD | rope, "here")
    assert (config.rope_theta, config.rope_scaling) == (5000.0, scaling)


@pytest.mark.parametrize(
    ("foreign", "message"),
    [
        ({"model_type": "gpt2"}, "'gpt2'; the language models read here are llama"),
        ({"attention_bias": True}, "attention_bias"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"model_type": "mistral", "sliding_window": 4096}, "sliding_window = 4096"),
        ({"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 64}, "sliding_window = 64"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0}}, "'yarn'"),
    ],
)
def test_what_the_decoder_does_not_do_is_refused(foreign: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        decoder_config(OLD | foreign, "here")


@pytest.mark.parametrize("name", DECODERS)
def test_a_shape_survives_being_published(name: str) -> None:
    shape = decoder_preset(name)
    plain = config_to_publish(shape, 100, tied=shape.tied)
    assert decoder_config(json.loads(json.dumps(plain)), "here") == shape


def test_unreadable_configurations_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        published_config(tmp_path)
    for text, words in WRONG.items():
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ModelError, match=words):
            published_config(tmp_path)


@pytest.mark.parametrize("name", ["no/such-model", "no such model!", "a/b/c", "no-such"])
def test_a_name_that_the_hub_does_not_give_is_told(name: str) -> None:
    with pytest.raises(ModelError, match=r"neither a folder nor a model that the hub gives"):
        find_folder(name)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    shape = {name: value for name, value in OLD.items() if name != "model_type"}
    LlamaForCausalLM(LlamaConfig(**shape)).save_pretrained(folder)
    return folder


def blank(folder: Path, text_rows: int) -> Unified:
    config = UnifiedConfig(published_config(folder), text_rows, 30, ((text_rows + 2, text_rows + 12),))
    return Unified(config, Blind())


@pytest.mark.parametrize("text_rows", [40, 50, 60])
def test_vocabularies_grow_in_kind(llama: Path, text_rows: int) -> None:
    model, published = blank(llama, text_rows), load_file(llama / "model.safetensors")
    load_language_model(llama, model)
    kept = min(text_rows, 50)
    for part, name in ((model.embedding, "model.embed_tokens.weight"), (model.head, "lm_head.weight")):
        assert torch.equal(part.text[:kept], published[name][:kept])
        new = torch.cat([part.text[kept:], part.vision])
        assert 0.8 < new.std() / published[name].std() < 1.2
        assert len(torch.unique(new, dim=0)) == len(new)


def test_growing_is_keyed_by_its_seed(llama: Path) -> None:
    models = [blank(llama, 50) for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        load_language_model(llama, model, seed)
    one, same, other = (model.embedding.vision for model in models)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_tensors_that_do_not_fit_are_named(llama: Path, tmp_path: Path) -> None:
    tensors = load_file(llama / "model.safetensors")
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(8)  # old checkpoints hold it: not an error
    tensors["model.layers.2.mlp.up_proj.weight"] = tensors.pop("model.norm.weight")
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"1 missing: model.norm.weight; 1 unexpected: model.layers.2") as error:
        load_language_model(tmp_path, blank(llama, 50))
    assert "inv_freq" not in str(error.value)


def test_pickled_weights_are_not_read(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="pickled"):
        load_language_model(tmp_path, blank(llama, 50))


def test_a_folder_is_its_own_name(tmp_path: Path) -> None:
    assert find_folder(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name", PUBLISHED_SIZES)
def test_presets_have_the_published_number_of_parameters(name: str) -> None:
    with torch.device("meta"):
        decoder = Decoder(decoder_preset(name))
    billions = sum(parameter.numel() for parameter in decoder.parameters()) / 1e9
    assert billions == pytest.approx(PUBLISHED_SIZES[name], abs=0.051)


def test_every_published_preset_is_checked() -> None:
    assert DECODERS.keys() - PUBLISHED_SIZES.keys() == {"pico"}


def test_unknown_names_are_answered_with_near_ones() -> None:
    with pytest.raises(ConfigError, match=r"qwen2\.5-7b"):
        decoder_preset("qwen2-7b")
