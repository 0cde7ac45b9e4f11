"""The vision models of transformers that are read here: by folder or hub name, or by configuration.

It does not know which of their features are wanted. Who needs none of them does not import this module: transformers
takes longer to import than a picture to draw.
"""

import importlib
from pathlib import Path
from typing import Any

import transformers
from torch import nn
from transformers import AutoConfig, PreTrainedModel
from transformers.utils import cached_file

from illume.core.errors import ModelError
from illume.models.folder import distrusted, read_object
from illume.models.layers import LONGEST_WRITTEN_OUT
from illume.models.qwen_vision import QWEN_MODELS, WHERE_IN_WHOLE, is_qwen
from illume.models.siglip import MODEL_TYPE as SIGLIP
from illume.models.siglip import SiglipVision, shape_of

# By model type, its module and class. All but Qwen's take an image as `pixel_values` b 3 h w. SigLIP 2 of a fixed
# resolution is published as SigLIP.
VISION_MODELS = {
    "clip_vision_model": ("", "CLIPVisionModel"),
    SIGLIP: ("", "SiglipVisionModel"),
    "dinov2": ("", "Dinov2Model"),
    "dinov2_with_registers": ("", "Dinov2WithRegistersModel"),
    "dinov3_vit": ("", "DINOv3ViTModel"),
    **QWEN_MODELS,
}

Colours = tuple[float, float, float]


def load_network(name: str) -> nn.Module:
    """A vision model, or the vision part of a larger one, from a folder or the hub, with its weights.

    ModelError where it is none that is read here, or lacks weights; pickles are not opened.
    """
    with distrusted(name, "no vision model that transformers reads, with weights in safetensors"):
        return _load_network(name)


def _load_network(name: str) -> nn.Module:
    whole = AutoConfig.from_pretrained(name)
    vision = getattr(whole, "vision_config", whole)
    asked: dict[str, Any] = {"use_safetensors": True}
    if vision.model_type == SIGLIP:
        asked["vision_use_head"] = False  # nothing here reads SigLIP's pooling head
    if is_qwen(vision):
        asked |= {"config": vision, "key_mapping": {WHERE_IN_WHOLE: ""}}
    loaded: Any = vision_model(vision.model_type, name).from_pretrained(name, output_loading_info=True, **asked)
    model, report = loaded
    lacking = sorted(report["missing_keys"])
    if lacking:  # transformers would go on with random ones
        raise ModelError(f"{name} lacks {len(lacking)} weights of a {vision.model_type!r}: {lacking[0]}, ...")
    return ours(model) if vision.model_type == SIGLIP else with_attention(model)


def ours(model: PreTrainedModel) -> SiglipVision:
    """The same SigLIP as the network that is written out here."""
    own = SiglipVision(shape_of(model.config.to_dict())).to(model.dtype)
    own.load_state_dict(model.state_dict())
    return own


def random_network(model_type: str, plain: dict[str, Any], where: str) -> PreTrainedModel:
    """A vision model of this configuration, its weights still random. ModelError if it is none that is read here."""
    return with_attention(vision_model(model_type, where)(AutoConfig.for_model(model_type, **plain)))


def pixel_statistics(name: str) -> tuple[Colours, Colours]:
    """Mean and deviation by which a published model's pixels are normalised: its preprocessor_config.json says them, or
    its processor_config.json. ModelError where neither does."""
    for file, inside in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
        with distrusted(name, f"{file} cannot be found"):
            path = cached_file(name, file, _raise_exceptions_for_missing_entries=False)
        plain = {} if path is None else read_object(Path(path))
        plain = plain if inside is None else plain.get(inside, {})
        if "image_mean" in plain and "image_std" in plain:
            return colours(plain["image_mean"], f"{path}: image_mean"), colours(
                plain["image_std"], f"{path}: image_std"
            )
    raise ModelError(
        f"{name} has no preprocessor_config.json with image_mean and image_std, which say how its pixels are normalised"
    )


def colours(value: object, where: str) -> Colours:
    """Three numbers, one a channel. ModelError for anything else."""
    match value:
        case [int() | float() as red, int() | float() as green, int() | float() as blue]:
            return float(red), float(green), float(blue)
        case _:
            raise ModelError(f"{where}: expected three numbers, one a channel, not {value!r:.80}")


def vision_model(model_type: str, where: str) -> type[PreTrainedModel]:
    """The transformers class of a model type. ModelError if the adapter does not understand it."""
    if model_type not in VISION_MODELS:
        raise ModelError(f"{where} holds a {model_type!r}; the vision models read here are {', '.join(VISION_MODELS)}")
    module, name = VISION_MODELS[model_type]
    inside = importlib.import_module(f"transformers.{module}") if module else transformers
    found: type[PreTrainedModel] = getattr(inside, name)
    return found


def with_attention(model: PreTrainedModel) -> PreTrainedModel:
    """The same model with attention written out where that is faster: few positions (see layers.attention)."""
    size = getattr(model.config, "image_size", None)  # Qwen's have none: any size is theirs
    positions = LONGEST_WRITTEN_OUT + 1 if size is None else (int(size) // int(model.config.patch_size)) ** 2
    model.set_attn_implementation("eager" if positions <= LONGEST_WRITTEN_OUT else "sdpa")
    return model
