"""A `Unified` model to a folder in Hugging Face's layout and back.

It does not know what the rest of config.json means (vocabulary, image size, sampling): that is the caller's.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from illume.core.config import from_dict, to_dict
from illume.core.errors import ModelError
from illume.core.files import write_json
from illume.core.tensors import load_tensors, save_tensors
from illume.models.folder import distrusted, read_config
from illume.models.unified import Unified, UnifiedConfig
from illume.models.vision_encoder import VisionEncoder, encoder_from_spec

FORMAT_VERSION = 1
WEIGHTS = "model.safetensors"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
OUR_KEYS = ("model_type", "format_version", "unified", "vision_encoder")
_BESIDE_DECODER = ("vision_encoder.", "adapter.", "places.")  # everything else under `model.` is the decoder's
_MOST_NAMED = 8

Shapes = dict[str, tuple[int, ...]]


def to_huggingface(model: Unified) -> dict[str, Tensor]:
    """All weights under Hugging Face's names: embedding and head one tensor each, text rows first, codes folded.

    Tied text rows stand in both, so that each tensor is whole.
    """
    rows = {
        name: torch.cat([part.text, part.vision_rows()]).detach()
        for name, part in ((EMBEDDING, model.embedding), (HEAD, model.head))
    }
    return rows | _rest(model)


def from_huggingface(tensors: Mapping[str, Tensor], text_rows: int) -> dict[str, Tensor]:
    """The inverse of `to_huggingface`: the state dict of a folded `Unified` with that many text rows."""
    state = {_from_name(name): tensor for name, tensor in tensors.items() if name not in (EMBEDDING, HEAD)}
    for part, name in (("embedding", EMBEDDING), ("head", HEAD)):
        # copies: a view would keep, and save, the rows of the other
        state[f"{part}.text"] = tensors[name][:text_rows].clone()
        state[f"{part}.vision"] = tensors[name][text_rows:].clone()
    return state


def save_unified(
    folder: str | Path, model: Unified, extra_config: Mapping[str, Any], max_shard_bytes: int = 5_000_000_000
) -> None:
    """Write config.json and model.safetensors (sharded when large) into an existing folder.

    `extra_config` is plain data to stand beside our keys. The model stays as it is: only its copy on disk is folded.
    """
    taken = sorted(set(OUR_KEYS) & set(extra_config))
    if taken:
        raise ModelError(f"{folder}: extra_config sets {', '.join(taken)}, which the model writes itself; rename it")
    if not isinstance(model.vision_encoder, VisionEncoder):
        raise ModelError(f"{folder}: a {type(model.vision_encoder).__name__} cannot be described in a config.json")
    ours = ("illume", FORMAT_VERSION, to_dict(model.config), model.vision_encoder.spec())
    save_tensors(Path(folder) / WEIGHTS, to_huggingface(model), max_shard_bytes=max_shard_bytes)
    write_json(Path(folder) / "config.json", dict(zip(OUR_KEYS, ours, strict=True)) | dict(extra_config))


def load_unified(folder: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Unified:
    """The model of a folder, in eval mode.

    ModelError names what does not fit: another format version, missing or unexpected tensors, wrong shapes.
    """
    plain = read_unified_config(folder)
    with distrusted(f"{folder}/config.json", "not the sizes of a model"):
        config = from_dict(UnifiedConfig, plain["unified"], where=f"{folder}/config.json: unified")
        encoder = encoder_from_spec(plain["vision_encoder"])  # for real: it may hold more than its weights
        with torch.device("meta"):
            model = Unified(config, encoder)
    fill(model, load_tensors(Path(folder) / WEIGHTS), where=str(folder))
    return model.to(device=device, dtype=dtype).eval()


def read_unified_config(folder: str | Path) -> dict[str, Any]:
    """The config.json of a model folder, `extra_config` included. ModelError if it is no ILLUME of this version."""
    path = Path(folder) / "config.json"
    plain = read_config(path, FORMAT_VERSION)
    if plain.get("model_type") != "illume":
        raise ModelError(f"{path}: model_type {plain.get('model_type')!r}; expected 'illume'")
    missing = [key for key in OUR_KEYS if key not in plain]
    if missing:
        raise ModelError(f"{path}: lacks {', '.join(missing)}")
    return plain


def fill(model: Unified, tensors: Mapping[str, Tensor], where: str) -> None:
    """Give a folded model, which may stand on `meta`, all its weights from Hugging Face's names."""
    config = model.config
    whole = (config.text_rows + config.vision_rows, config.decoder.width)
    expected = {EMBEDDING: whole, HEAD: whole} | shapes(_rest(model))
    check_shapes(shapes(tensors), expected, where)
    text_rows = config.text_rows
    if config.decoder.tied and not torch.equal(tensors[EMBEDDING][:text_rows], tensors[HEAD][:text_rows]):
        raise ModelError(f"{where}: text rows of {EMBEDDING} and {HEAD} differ, though the configuration ties them")
    model.load_state_dict(from_huggingface(tensors, text_rows), assign=True)
    model.tie()


def shapes(tensors: Mapping[str, Tensor]) -> Shapes:
    """The shape of every tensor, by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def check_shapes(found: Shapes, expected: Shapes, where: str) -> None:
    """ModelError naming the tensors that are missing, unexpected, or of another shape."""
    both = found.keys() & expected.keys()
    problems = {
        "missing": sorted(expected.keys() - both),
        "unexpected": sorted(found.keys() - both),
        "of the wrong shape": [
            f"{name} {found[name]} instead of {expected[name]}"
            for name in sorted(both)
            if found[name] != expected[name]
        ],
    }
    told = [f"{len(names)} {what}: {_some(names)}" for what, names in problems.items() if names]
    if told:
        raise ModelError(f"{where}: the tensors are not those of its configuration; " + "; ".join(told))


def _some(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _rest(model: Unified) -> dict[str, Tensor]:
    """Everything but embedding and head, under Hugging Face's names."""
    state = model.state_dict()
    return {_to_name(name): state[name] for name in state if not name.startswith(("embedding.", "head."))}


def _to_name(name: str) -> str:
    return "model." + name.removeprefix("decoder.")


def _from_name(name: str) -> str:
    bare = name.removeprefix("model.")
    return bare if bare.startswith(_BESIDE_DECODER) else "decoder." + bare
