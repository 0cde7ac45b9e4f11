"""A saved model comes back equal, and a folder that does not fit says what is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from illume.core.errors import ModelError
from illume.models.convert import load_unified, read_unified_config, save_unified
from illume.models.decoder import DecoderConfig, Llama3Scaling
from illume.models.unified import Unified, UnifiedConfig
from illume.models.vision_encoder import EncoderConfig, build_encoder


def small(**changes: Any) -> Unified:
    torch.manual_seed(1)
    decoder = DecoderConfig(16, 2, 2, 1, 8, 24, **changes)
    encoder = build_encoder(EncoderConfig(image_size=8, patch=4, width=8, layers=1, heads=2, hidden=16))
    return Unified(UnifiedConfig(decoder, 10, 8, ((12, 16),), max_grid=2), encoder)


def saved(folder: Path, **changes: Any) -> Unified:
    model = small(**changes)
    save_unified(folder, model, {"layout": {"levels": [4]}})
    return model


@pytest.mark.parametrize(
    "changes", [{}, {"tied": True}, {"qkv_bias": True, "qk_norm": True, "rope_scaling": Llama3Scaling()}]
)
def test_a_saved_model_comes_back_equal(tmp_path: Path, changes: dict[str, Any]) -> None:
    model = saved(tmp_path, **changes)
    again = load_unified(tmp_path)
    assert again.config == model.config
    assert again.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    assert (again.head.text is again.embedding.text) == model.config.decoder.tied
    assert not again.training
    pixels = torch.rand(1, 3, 8, 8)
    assert torch.equal(again.read(pixels)[0], model.eval().read(pixels)[0])


def test_code_vectors_are_folded_on_disk_and_kept_in_training(tmp_path: Path) -> None:
    model = small()
    model.set_code_vectors((torch.randn(4, 3),))
    save_unified(tmp_path, model, {})
    assert model.embedding.code_projections
    assert torch.equal(load_unified(tmp_path).head.vision, model.head.vision_rows())


def test_shards_are_read_as_one(tmp_path: Path) -> None:
    model = small()
    save_unified(tmp_path, model, {}, max_shard_bytes=4000)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert torch.equal(load_unified(tmp_path).embedding.text, model.embedding.text)


def test_embedding_and_head_are_one_tensor_each_under_published_names(tmp_path: Path) -> None:
    saved(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    assert tensors["model.embed_tokens.weight"].shape == tensors["lm_head.weight"].shape == (18, 16)
    assert {"model.norm.weight", "model.layers.1.self_attn.q_proj.weight"} <= tensors.keys()
    beside = {name.split(".")[1] for name in tensors} - {"embed_tokens", "norm", "layers", "weight"}
    assert beside == {"vision_encoder", "adapter", "places"}


def test_dtype_is_the_callers(tmp_path: Path) -> None:
    saved(tmp_path)
    assert {tensor.dtype for tensor in load_unified(tmp_path, dtype=torch.bfloat16).parameters()} == {torch.bfloat16}


def test_extra_configuration_stands_beside_ours(tmp_path: Path) -> None:
    saved(tmp_path)
    plain = read_unified_config(tmp_path)
    assert (plain["model_type"], plain["format_version"], plain["layout"]) == ("illume", 1, {"levels": [4]})
    with pytest.raises(ModelError, match="model_type"):
        save_unified(tmp_path, small(), {"model_type": "llama"})


def rewrite_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "format_version 2"),
        ({"model_type": "llama"}, "expected 'illume'"),
        ({"unified": {"text_row": 10}}, "text_row"),
    ],
)
def test_another_configuration_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    saved(tmp_path)
    rewrite_config(tmp_path, **changes)
    with pytest.raises(ModelError, match=message):
        load_unified(tmp_path)


@pytest.mark.parametrize(
    ("name", "replacement", "message"),
    [
        ("model.norm.weight", None, "1 missing: model.norm.weight"),
        ("model.stranger", torch.zeros(1), "1 unexpected: model.stranger"),
        ("model.norm.weight", torch.zeros(3), r"wrong shape: model.norm.weight \(3,\) instead of \(16,\)"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    tmp_path: Path, name: str, replacement: torch.Tensor | None, message: str
) -> None:
    saved(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    tensors.pop(name, None)
    save_file(tensors if replacement is None else tensors | {name: replacement}, path)
    with pytest.raises(ModelError, match=message):
        load_unified(tmp_path)


def test_tied_rows_that_differ_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, tied=True)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    tensors["lm_head.weight"][0] += 1
    save_file(tensors, path)
    with pytest.raises(ModelError, match="ties them"):
        load_unified(tmp_path)


def test_a_foreign_encoder_cannot_be_saved(tmp_path: Path) -> None:
    model = small()
    model.vision_encoder = torch.nn.Identity()
    with pytest.raises(ModelError, match="Identity cannot be described"):
        save_unified(tmp_path, model, {})
