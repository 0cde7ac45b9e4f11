"""Language models published on Hugging Face, read into ours and written back: Llama, Vicuna, Mistral, Qwen2, Qwen3.

It does not know which rows of a vocabulary a tokenizer uses: how many are text is the caller's to say.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from jaxtyping import Float
from torch import Tensor

from illume.core.device import generator
from illume.core.errors import ModelError
from illume.core.files import atomic_folder, replaceable, write_json
from illume.core.tensors import load_tensors, save_tensors
from illume.models.convert import EMBEDDING, HEAD, WEIGHTS, check_shapes, shapes
from illume.models.decoder import DecoderConfig, LinearScaling, Llama3Scaling
from illume.models.embedding import SplitRows
from illume.models.folder import distrusted, read_object
from illume.models.unified import Unified

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
_CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
_KNOWN = ("config.json", "model*.safetensors", "model.safetensors.index.json")  # what is written, and so replaced
# Old checkpoints carry their rotary frequencies; we compute them.
_COMPUTED = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")


def find_folder(name: str | Path) -> Path:
    """The folder of a published model: `name` itself, or, for a hub name, where its configuration and weights lie.

    ModelError where it is neither, or the hub is out of reach.
    """
    if Path(name).is_dir():
        return Path(name)
    with distrusted(name, "neither a folder nor a model that the hub gives"):
        return Path(snapshot_download(str(name), allow_patterns=["*.json", "*.safetensors"]))


def published_config(folder: str | Path) -> DecoderConfig:
    """The shape of the language model in a folder. ModelError where it does something our decoder does not."""
    path = Path(folder) / "config.json"
    plain = read_object(path)
    with distrusted(path, "not the shape of a language model"):
        return decoder_config(plain, str(path))


def decoder_config(plain: Mapping[str, Any], where: str) -> DecoderConfig:
    """A published config.json as ours."""
    family = plain.get("model_type")
    if family not in FAMILIES:
        raise ModelError(f"{where}: model_type {family!r}; the language models read here are {', '.join(FAMILIES)}")
    _refuse(plain, where)
    heads = plain["num_attention_heads"]
    theta, scaling = _rope(plain, where)
    return DecoderConfig(
        width=plain["hidden_size"],
        layers=plain["num_hidden_layers"],
        heads=heads,
        kv_heads=plain.get("num_key_value_heads") or heads,
        head_dim=plain.get("head_dim") or plain["hidden_size"] // heads,
        hidden=plain["intermediate_size"],
        rope_theta=theta,
        rope_scaling=scaling,
        norm_eps=plain.get("rms_norm_eps", 1e-6),
        qkv_bias=family == "qwen2",
        qk_norm=family == "qwen3",
        tied=plain.get("tie_word_embeddings", False),
    )


def _refuse(plain: Mapping[str, Any], where: str) -> None:
    slides = plain["model_type"] == "mistral" or plain.get("use_sliding_window")
    foreign = {
        "hidden_act": plain.get("hidden_act", "silu") not in ("silu", "swish"),
        "attention_bias": plain.get("attention_bias", False),
        "mlp_bias": plain.get("mlp_bias", False),
        "sliding_window": slides and plain.get("sliding_window") is not None,  # here a position sees all before it
        "quantization_config": plain.get("quantization_config") is not None,
    }
    for name, refused in foreign.items():
        if refused:
            raise ModelError(f"{where}: {name} = {plain.get(name)!r} is not something this decoder does")


def _rope(plain: Mapping[str, Any], where: str) -> tuple[float, LinearScaling | Llama3Scaling | None]:
    """Base and scaling, as written since transformers 5 (`rope_parameters`) or before (`rope_scaling`)."""
    rope = plain.get("rope_parameters") or plain.get("rope_scaling") or {}
    theta = float(rope.get("rope_theta") or plain.get("rope_theta") or 10000.0)
    match rope.get("rope_type", rope.get("type", "default")):
        case "default":
            return theta, None
        case "linear":
            return theta, LinearScaling(factor=float(rope["factor"]))
        case "llama3":
            return theta, Llama3Scaling(
                factor=float(rope["factor"]),
                low_freq_factor=float(rope["low_freq_factor"]),
                high_freq_factor=float(rope["high_freq_factor"]),
                original_length=rope["original_max_position_embeddings"],
            )
        case other:
            raise ModelError(f"{where}: rotary positions of type {other!r}; read here are default, linear and llama3")


def load_language_model(folder: str | Path, model: Unified, seed: int = 0) -> None:
    """Give `model` the decoder and the text rows of a published checkpoint; its decoder must not stand on `meta`.

    The vocabulary grows (or loses padding) to the model's: rows the checkpoint lacks, all vision rows among them, are
    drawn like its own, from their mean and deviation, keyed by `seed`. ModelError names tensors that do not fit.
    """
    tensors = _read(Path(folder))
    if model.config.decoder.tied:
        tensors.pop(HEAD, None)  # some tied checkpoints hold the rows twice
    expected = {f"model.{name}": tuple(tensor.shape) for name, tensor in model.decoder.state_dict().items()}
    rows = tensors[EMBEDDING].shape[0] if EMBEDDING in tensors else 0
    outer = (EMBEDDING,) if model.config.decoder.tied else (EMBEDDING, HEAD)
    check_shapes(shapes(tensors), expected | dict.fromkeys(outer, (rows, model.config.decoder.width)), str(folder))
    model.decoder.load_state_dict({name.removeprefix("model."): tensors[name] for name in expected})
    _grow(model.embedding, tensors[EMBEDDING], seed)
    _grow(model.head, tensors[outer[-1]], seed)


@torch.no_grad()
def _grow(part: SplitRows, published: Float[Tensor, "v d"], seed: int) -> None:
    text_rows = part.text.shape[0]
    kept = published[:text_rows].float()
    mean, std = kept.mean(dim=0), kept.std(dim=0)
    drawn = torch.randn(
        text_rows - len(kept) + part.vision.shape[0], len(mean), generator=generator("cpu", "grow", seed)
    )
    new = mean + std * drawn
    part.text.copy_(torch.cat([kept, new[: text_rows - len(kept)]]))
    part.vision.copy_(new[text_rows - len(kept) :])


def check_weights(folder: Path) -> None:
    """ModelError where a folder has no weights that are read."""
    if not any((folder / name).exists() for name in (WEIGHTS, WEIGHTS + ".index.json")):
        raise ModelError(f"{folder} has no {WEIGHTS} (pickled .bin weights are not read: convert them first)")


def _read(folder: Path) -> dict[str, Tensor]:
    check_weights(folder)
    tensors = load_tensors(folder / WEIGHTS)
    return {name: tensor for name, tensor in tensors.items() if not _COMPUTED.fullmatch(name)}


def save_language_model(
    folder: str | Path, model: Unified, *, vision_rows: bool = False, max_shard_bytes: int = 5_000_000_000
) -> None:
    """Write the language model alone, as transformers' AutoModelForCausalLM reads it: the inverse of loading.

    With `vision_rows` the vocabulary is the whole one, codes and markers too, and so untied; without, text alone.
    ModelError for a decoder that no published family has, and where something else would be replaced, a tokenizer too.
    """
    tensors = language_tensors(model, vision_rows=vision_rows)
    plain = config_to_publish(model.config.decoder, len(tensors[EMBEDDING]), tied=HEAD not in tensors)
    plain["dtype"] = str(tensors[EMBEDDING].dtype).removeprefix("torch.")
    with atomic_folder(replaceable(folder, "a language model", _KNOWN, "config.json", ModelError)) as inside:
        write_json(inside / "config.json", plain)
        save_tensors(inside / WEIGHTS, tensors, max_shard_bytes=max_shard_bytes)


def language_tensors(model: Unified, *, vision_rows: bool = False) -> dict[str, Tensor]:
    """The decoder and its rows under the published names. A tied head is left out, as it is in published files."""
    tensors = {f"model.{name}": tensor.detach() for name, tensor in model.decoder.state_dict().items()}
    for name, part in ((EMBEDDING, model.embedding), (HEAD, model.head)):
        tensors[name] = (torch.cat([part.text, part.vision_rows()]) if vision_rows else part.text).detach()
    if model.config.decoder.tied and not vision_rows:
        del tensors[HEAD]
    return tensors


def config_to_publish(config: DecoderConfig, vocabulary: int, *, tied: bool) -> dict[str, Any]:
    """Our shape as a published config.json, which `decoder_config` reads back. ModelError where no family is so."""
    if config.qkv_bias and config.qk_norm:
        raise ModelError("no published family has both biases (Qwen2's) and norms (Qwen3's) on queries and keys")
    family = "qwen2" if config.qkv_bias else "qwen3" if config.qk_norm else "llama"
    return {
        "model_type": family,
        "architectures": [_CLASSES[family]],
        "vocab_size": vocabulary,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.hidden,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_parameters": _published_rope(config),
        "tie_word_embeddings": tied,
        "bos_token_id": None,  # the tokenizer's to say
        "eos_token_id": None,
    }


def _published_rope(config: DecoderConfig) -> dict[str, Any]:
    match config.rope_scaling:
        case None:
            return {"rope_type": "default", "rope_theta": config.rope_theta}
        case LinearScaling(factor=factor):
            return {"rope_type": "linear", "rope_theta": config.rope_theta, "factor": factor}
        case Llama3Scaling() as scaling:
            return {
                "rope_type": "llama3",
                "rope_theta": config.rope_theta,
                "factor": scaling.factor,
                "low_freq_factor": scaling.low_freq_factor,
                "high_freq_factor": scaling.high_freq_factor,
                "original_max_position_embeddings": scaling.original_length,
            }
