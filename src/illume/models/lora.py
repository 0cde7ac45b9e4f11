"""Low-rank adaptation (LoRA, Hu et al. 2021) of a language model, on disk in peft's layout.

It knows neither rules nor stages: which parameters move is the training's to say.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from illume.core.config import from_dict
from illume.core.errors import ModelError
from illume.core.files import atomic_folder, read_json, replaceable, write_json
from illume.core.tensors import load_tensors, save_tensors
from illume.models.convert import check_shapes, shapes
from illume.models.folder import distrusted
from illume.models.unified import Unified

CONFIG, WEIGHTS, BESIDE = "adapter_config.json", "adapter_model.safetensors", "trained_beside.safetensors"
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_PREFIX = "base_model.model.model."  # peft's two wrappers, then the decoder's place in a published model
_FACTORS = ("lora_A", "lora_B")
# What peft may ask for and this module does not do, with the values that ask for nothing.
_FOREIGN: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "modules_to_save": (None, []),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
    **dict.fromkeys(("use_rslora", "use_dora", "lora_bias", "fan_in_fan_out"), (None, False)),
}


@dataclass(frozen=True)
class LoRAConfig:
    """W + alpha / rank * B A in place of W, in the decoder's projections whose last name is among `targets`.

    `lr` is the rate of A and B, in every stage that would move the decoder. `dropout` is of what enters A.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = PROJECTIONS
    lr: float = 2e-4

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0:
            raise ValueError(f"rank ({self.rank}) is at least 1 and alpha ({self.alpha}) above 0")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is at least 0 and below 1, not {self.dropout}")
        foreign = sorted(set(self.targets) - set(PROJECTIONS))
        if foreign or not self.targets:
            raise ValueError(f"targets are among {', '.join(PROJECTIONS)}, not {', '.join(foreign) or 'none'}")

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


class LoRALinear(nn.Linear):
    """A linear map with a low-rank one beside it. Its weight keeps its name, so rules and key maps still find it."""

    def __init__(self, base: nn.Linear, config: LoRAConfig) -> None:
        super().__init__(base.in_features, base.out_features, bias=base.bias is not None, device="meta")
        self.weight, self.bias = base.weight, base.bias
        self.config = config
        on, dtype = base.weight.device, torch.float32  # trained, so in full precision, whatever the base's
        self.lora_A = nn.Parameter(torch.empty(config.rank, base.in_features, device=on, dtype=dtype))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, config.rank, device=on, dtype=dtype))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.train(base.training)

    def forward(self, x: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        inner = F.dropout(x, self.config.dropout, self.training)
        added = F.linear(F.linear(inner, self.lora_A.to(x.dtype)), self.lora_B.to(x.dtype))
        return F.linear(x, self.weight, self.bias) + self.config.scale * added

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The plain map that does the same; the product is added in float32."""
        plain = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        whole = self.weight.float() + self.config.scale * (self.lora_B.float() @ self.lora_A.float())
        plain.weight, plain.bias = nn.Parameter(whole.to(self.weight.dtype)), self.bias
        return plain.train(self.training)


def add_lora(decoder: nn.Module, config: LoRAConfig) -> None:
    """Put low-rank maps beside the projections that `config` names; the function stays the same at first."""
    if lora_layers(decoder):
        raise ModelError("this decoder has LoRA already: merge it before adding another")
    found = [name for name, module in decoder.named_modules() if isinstance(module, nn.Linear)]
    for name in found:
        if name.rsplit(".", 1)[-1] in config.targets:
            _replace(decoder, name, LoRALinear(_linear(decoder, name), config))


def lora_layers(decoder: nn.Module) -> dict[str, LoRALinear]:
    """The adapted projections by name."""
    return {name: module for name, module in decoder.named_modules() if isinstance(module, LoRALinear)}


def merge_lora(decoder: nn.Module) -> None:
    """Add every low-rank map to its weight and forget it; without LoRA, nothing."""
    for name, layer in lora_layers(decoder).items():
        _replace(decoder, name, layer.merged())


def save_lora(folder: str | Path, model: Unified, *, base: str | None = None, encoder: bool = False) -> None:
    """Write what LoRA trained: A and B as peft does, and beside them what is trained whole.

    That is the adapter, the vision rows of embedding and head (codes folded), the 2-D places, and, with `encoder`, the
    vision encoder. `base` names the language model they belong to. ModelError where there is no LoRA, and where
    something else than one would be replaced.
    """
    layers = lora_layers(model.decoder)
    if not layers:
        raise ModelError("this model has no LoRA to save: it was merged, or never added")
    with atomic_folder(replaceable(folder, "a LoRA", (CONFIG, WEIGHTS, BESIDE), CONFIG, ModelError)) as inside:
        write_json(inside / CONFIG, peft_config(next(iter(layers.values())).config, base))
        save_tensors(inside / WEIGHTS, lora_tensors(model.decoder))
        save_tensors(inside / BESIDE, _beside(model, encoder))


def load_lora(folder: str | Path, model: Unified) -> None:
    """Add the LoRA of a folder to its base model, with what was trained beside it where the folder has that.

    A folder of peft's own will do. ModelError names what it asks for that is not done here, or tensors that don't fit.
    """
    folder = Path(folder)
    plain = read_json(folder / CONFIG)
    tensors = load_tensors(folder / WEIGHTS)
    config = config_of_peft(plain, tensors, str(folder))
    add_lora(model.decoder, config)
    try:
        check_shapes(shapes(tensors), shapes(lora_tensors(model.decoder)), str(folder))
        beside = _checked_beside(folder, model)
    except ModelError:
        for name, layer in lora_layers(model.decoder).items():
            _replace(model.decoder, name, _without(layer))
        raise
    with torch.no_grad():
        for name, layer in lora_layers(model.decoder).items():
            layer.lora_A.copy_(tensors[f"{_PREFIX}{name}.lora_A.weight"])
            layer.lora_B.copy_(tensors[f"{_PREFIX}{name}.lora_B.weight"])
        if beside:
            model.fold()
            state = model.state_dict()
            for name, tensor in beside.items():
                state[name].copy_(tensor)


def lora_tensors(decoder: nn.Module) -> dict[str, Tensor]:
    """A and B of every adapted projection under peft's names."""
    return {
        f"{_PREFIX}{name}.{factor}.weight": getattr(layer, factor).detach()
        for name, layer in lora_layers(decoder).items()
        for factor in _FACTORS
    }


def peft_config(config: LoRAConfig, base: str | None) -> dict[str, Any]:
    """adapter_config.json; what is left out is what peft takes for granted."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": list(config.targets),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "modules_to_save": None,
    }


def config_of_peft(plain: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str) -> LoRAConfig:
    """An adapter_config.json as ours. The targets are those that have tensors: peft may name them by patterns."""
    if plain.get("peft_type") != "LORA":
        raise ModelError(f"{where}/{CONFIG}: peft_type {plain.get('peft_type')!r}; only LORA is read here")
    for name, nothing in _FOREIGN.items():
        if name in plain and plain[name] not in nothing:
            raise ModelError(f"{where}/{CONFIG}: {name} = {plain[name]!r} is not something this LoRA does")
    named = {name.removesuffix(".weight").rsplit(".", 2)[-2] for name in tensors if ".lora_" in name}
    targets = [name for name in PROJECTIONS if name in named] or sorted(named)
    with distrusted(f"{where}/{CONFIG}", "not the shape of a LoRA"):
        sizes = {"rank": plain["r"], "alpha": plain["lora_alpha"], "dropout": plain.get("lora_dropout", 0.0)}
        return from_dict(LoRAConfig, sizes | {"targets": targets}, f"{where}/{CONFIG}")


def _beside(model: Unified, encoder: bool) -> dict[str, Tensor]:
    """What is trained whole beside LoRA, by the names of a folded model's state."""
    rows = {"embedding.vision": model.embedding.vision_rows(), "head.vision": model.head.vision_rows()}
    whole = ("adapter.", "places.", "vision_encoder.") if encoder else ("adapter.", "places.")
    rest = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(whole)}
    return {name: tensor.detach() for name, tensor in (rows | rest).items()}


def _checked_beside(folder: Path, model: Unified) -> dict[str, Tensor]:
    if not (folder / BESIDE).exists():
        return {}
    tensors = load_tensors(folder / BESIDE)
    encoder = any(name.startswith("vision_encoder.") for name in tensors)
    check_shapes(shapes(tensors), shapes(_beside(model, encoder)), f"{folder}/{BESIDE}")
    return tensors


def _without(layer: LoRALinear) -> nn.Linear:
    plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
    plain.weight, plain.bias = layer.weight, layer.bias
    return plain.train(layer.training)


def _linear(decoder: nn.Module, name: str) -> nn.Linear:
    module = decoder.get_submodule(name)
    assert isinstance(module, nn.Linear)
    return module


def _replace(decoder: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(decoder.get_submodule(parent), last, module)
