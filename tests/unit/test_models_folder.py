"""A model folder with changed files is a model or an error in words; nothing is taken twice in silence."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

import illume
from illume.core.errors import CheckpointError, ModelError
from illume.core.tensors import load_tensors, read_metadata
from illume.models import tokenizing
from illume.models.tokenizing import load_tokenizer, stored_grids

MODEL, TOKENIZER, PAINTER = "config.json", "vision_tokenizer/config.json", "pixel_decoder/config.json"
GONE: Any = object()
# A file, a place in it, and what comes to stand there: each of them once came through as an error of Python's own.
CHANGES: tuple[tuple[str, str, Any], ...] = (
    (MODEL, "vision_encoder.taps", GONE), (MODEL, "vision_encoder.transformers.model_type", GONE),
    (MODEL, "vision_encoder.transformers.num_attention_heads", 0), (MODEL, "vision_encoder.taps.0.layer", "x"),
    (MODEL, "vision_encoder.transformers", 3), (MODEL, "vision_encoder.mean", None),
    (MODEL, "unified.decoder.heads", 0),
    (MODEL, "vision_encoder", []), (MODEL, "unified", None), (MODEL, "image_size", [0, 8]), (MODEL, "image_size", 8),
    (TOKENIZER, "tokenizer", GONE), (TOKENIZER, "tokenizer", []), (TOKENIZER, "encoder", GONE),
    (TOKENIZER, "encoder.taps", 1), (TOKENIZER, "tokenizer.kind", {}),
    (TOKENIZER, "encoder.transformers.patch_size", 0),
    (TOKENIZER, "tokenizer.levels.0.heads", 0), (TOKENIZER, "tokenizer.levels.0.width", -1),
    (PAINTER, "pixel_decoder", "x"), (PAINTER, "pixel_decoder.kind", []), (PAINTER, "dims", GONE), (PAINTER, "dims", 3),
    (PAINTER, "pixel_decoder.groups", 0), (PAINTER, "pixel_decoder.channels", []), (PAINTER, "dims", ["x"]),
)  # fmt: skip


def change(file: Path, place: str, value: Any) -> None:
    plain = node = json.loads(file.read_text())
    *path, last = (int(step) if step.isdigit() else step for step in place.split("."))
    for step in path:
        node = node[step]
    if value is GONE:
        del node[last]
    else:
        node[last] = value
    file.write_text(json.dumps(plain))


@pytest.mark.parametrize(("file", "place", "value"), CHANGES)
def test_a_changed_configuration_is_refused_in_words(model_copy: Path, file: str, place: str, value: Any) -> None:
    change(model_copy / file, place, value)
    with pytest.raises(ModelError, match="model"):
        illume.load(model_copy, device="cpu", dtype="float32")


@pytest.mark.parametrize("file", [MODEL, TOKENIZER, PAINTER, "pixel_decoder/unet/config.json"])
@pytest.mark.parametrize(
    ("text", "words"), [("[" * 100_000, "nested too deeply"), ("[]", "expected a JSON object"), ("{", "cannot be read")]
)
def test_a_configuration_that_is_no_object_is_refused_in_words(
    model_copy: Path, file: str, text: str, words: str
) -> None:
    (model_copy / file).write_text(text)
    with pytest.raises((ModelError, CheckpointError), match=words):
        illume.load(model_copy, device="cpu", dtype="float32")


@pytest.mark.parametrize("file", [MODEL, TOKENIZER, PAINTER])
def test_a_key_that_stands_twice_is_refused(model_copy: Path, file: str) -> None:
    text = (model_copy / file).read_text()
    (model_copy / file).write_text(text.replace("{", '{"format_version": 1,', 1))
    with pytest.raises(ModelError, match=r"names a key twice: format_version"):
        illume.load(model_copy, device="cpu", dtype="float32")


def test_a_tensor_that_stands_twice_is_refused(tmp_path: Path) -> None:
    data = save({"a": torch.zeros(2), "b": torch.ones(2)}, {"note": "x"})
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size].replace(b'"b"', b'"a"')
    path = tmp_path / "model.safetensors"
    path.write_bytes(data[:8] + header + data[8 + size :])
    for read in (load_tensors, read_metadata):
        with pytest.raises(CheckpointError, match=r"model\.safetensors: .*names a key twice: a"):
            read(path)


def test_a_tensor_in_two_shards_and_odd_names_of_shards_are_refused(tmp_path: Path) -> None:
    path, index = tmp_path / "model.safetensors", tmp_path / "model.safetensors.index.json"
    for name, names in (("one.safetensors", "ab"), ("two.safetensors", "bc")):
        (tmp_path / name).write_bytes(save({key: torch.zeros(1) for key in names}))
    places = {"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"}
    index.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(CheckpointError, match="disagree about 'b'"):
        load_tensors(path)
    for name in ("", ".", "..", "one.bin", "../one.safetensors", 3, None, []):
        index.write_text(json.dumps({"weight_map": places | {"c": name}}))
        with pytest.raises(CheckpointError, match=r"index\.json"):
            load_tensors(path)
    index.write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match="nested too deeply"):
        load_tensors(path)


def test_grids_of_a_changed_folder_are_refused_in_words(model_copy: Path) -> None:
    change(model_copy / TOKENIZER, "encoder.taps", GONE)
    with pytest.raises(ModelError, match="KeyError: 'taps'"):
        stored_grids(model_copy / "vision_tokenizer", (8, 8))


def test_without_distrust_it_is_an_error_of_python_s_own(model_copy: Path) -> None:
    change(model_copy / TOKENIZER, "encoder.taps", GONE)
    path = model_copy / "vision_tokenizer"
    with pytest.raises(ModelError):
        load_tokenizer(path)
    with pytest.raises(KeyError):
        tokenizing.VisionTokenizer.load(path)
