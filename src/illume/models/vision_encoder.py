"""Pixels to features: one adapter over vision models, published ones of transformers or a small SigLIP of ours.

It does not know what the features are used for, nor how images are loaded or resized.
"""

import inspect
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from illume.core.errors import ModelError
from illume.models.qwen_vision import feature_width, is_qwen, merged_width, read_qwen
from illume.models.siglip import MODEL_TYPE as SIGLIP
from illume.models.siglip import SiglipShape, SiglipVision, plain_shape, shape_of

Grid = tuple[int, int]


@dataclass(frozen=True)
class Tap:
    """Where features are taken from: one tap, one level.

    `layer` -1 is the model's own output, after its last norm if it has one; other values index its hidden states (0:
    the embeddings; -2: the last layer but one, LLaVA's choice). `merge` m joins m x m neighbours into one wide feature;
    "model" has them joined by the model's own merger (Qwen2-VL's: 2 x 2, to its language model's width).
    """

    layer: int = -1
    merge: int | Literal["model"] = 1

    def __post_init__(self) -> None:
        if self.merge == "model" and self.layer != -1:
            raise ValueError(f"a model's own merger takes its last layer (-1), not layer {self.layer}")
        if isinstance(self.merge, int) and self.merge < 1:
            raise ValueError(f"merge joins 1 or more neighbours a side, not {self.merge}")


@dataclass(frozen=True)
class EncoderConfig:
    """A SigLIP vision transformer (Zhai et al. 2023) by its sizes, to be trained from nothing. Sizes in pixels."""

    kind: Literal["small"] = "small"
    image_size: int = 32
    patch: int = 8
    width: int = 128
    layers: int = 3
    heads: int = 4
    hidden: int = 512
    taps: tuple[Tap, ...] = (Tap(),)


@dataclass(frozen=True)
class PretrainedEncoderConfig:
    """A vision model of transformers, by folder or hub name.

    `shape` gives the sizes of one of SigLIP's kind, so that it can be built and shown without its weights; a model that
    is loaded has its own.
    """

    name: str
    kind: Literal["pretrained"] = "pretrained"
    taps: tuple[Tap, ...] = (Tap(),)
    shape: EncoderConfig | None = None


@dataclass(frozen=True)
class PixelStatistics:
    """Mean and deviation, a channel, of pixels in [0, 1] as a model was trained on them."""

    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)


class VisionEncoder(nn.Module):
    """A vision model whose leading extra positions (class token, registers) are dropped, so that a grid is left."""

    scale: Tensor
    shift: Tensor

    def __init__(self, model: Any, taps: tuple[Tap, ...], pixels: PixelStatistics) -> None:
        """`model`: one of ours or of transformers, a module either way."""
        super().__init__()
        own = any(tap.merge == "model" for tap in taps)
        if own and not is_qwen(model.config):
            raise ModelError(f"a {model.config.model_type!r} has no merger of its own: give the tap merge=1, 2, ...")
        if is_qwen(model.config) and not own:
            model.merger = nn.Identity()  # nobody reads what it gives
        self.model = model
        self.taps = taps
        self.pixels = pixels
        # ((pixels + 1) / 2 - mean) / std, in one multiplication and one addition
        mean, std = torch.tensor(pixels.mean), torch.tensor(pixels.std)
        self.register_buffer("scale", (0.5 / std)[:, None, None], persistent=False)
        self.register_buffer("shift", ((0.5 - mean) / std)[:, None, None], persistent=False)

    @property
    def patch(self) -> int:
        """The side of a patch, in pixels."""
        return int(self.model.config.patch_size)

    @property
    def dims(self) -> tuple[int, ...]:
        """The width of each level's features."""
        config = self.model.config
        width = feature_width(config) if is_qwen(config) else config.hidden_size
        return tuple(merged_width(config) if tap.merge == "model" else width * tap.merge**2 for tap in self.taps)

    @property
    def strides(self) -> tuple[int, ...]:
        """The side of what a feature stands on, in pixels, a level."""
        own = getattr(self.model.config, "spatial_merge_size", 1)
        return tuple(self.patch * (own if tap.merge == "model" else tap.merge) for tap in self.taps)

    def grids(self, size: tuple[int, int]) -> tuple[Grid, ...]:
        """The grid of each level for an image of (height, width) pixels. ModelError where it does not divide."""
        self._grid(size, self.patch * getattr(self.model.config, "spatial_merge_size", 1))
        return tuple(self._grid(size, stride) for stride in self.strides)

    def normalise(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """From [-1, 1] to what the model was trained on."""
        return pixels * self.scale + self.shift

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> tuple[tuple[Float[Tensor, "b _ _"], Grid], ...]:
        """The features of each level, row-major over its grid."""
        size = (pixels.shape[2], pixels.shape[3])
        grids = self.grids(size)
        patches = self._grid(size, self.patch)
        inner = any(tap.layer != -1 for tap in self.taps)
        output = self._read(self.normalise(pixels), inner)
        levels = []
        for tap, grid in zip(self.taps, grids, strict=True):
            if tap.merge == "model":
                levels.append((output.merged, grid))
                continue
            hidden = output.last_hidden_state if tap.layer == -1 else output.hidden_states[tap.layer]
            levels.append((merged(hidden[:, -patches[0] * patches[1] :], patches, tap.merge), grid))
        return tuple(levels)

    def _read(self, pixels: Float[Tensor, "b 3 h w"], inner: bool) -> Any:
        """The model's `last_hidden_state` and, if `inner`, its `hidden_states`."""
        if isinstance(self.model, SiglipVision):
            return self.model(pixels)
        if is_qwen(self.model.config):
            return read_qwen(self.model, pixels, inner)
        return self.model(pixel_values=pixels, output_hidden_states=inner, **_resizing(self.model, pixels.shape))

    def spec(self) -> dict[str, Any]:
        """All that is needed to build this module again, without weights, as plain data."""
        return {
            "transformers": plain_config(self.model),
            "taps": [asdict(tap) for tap in self.taps],
            "mean": list(self.pixels.mean),
            "std": list(self.pixels.std),
        }

    @staticmethod
    def _grid(size: tuple[int, int], stride: int) -> Grid:
        if size[0] % stride or size[1] % stride:
            raise ModelError(f"an image of {size[0]}x{size[1]} pixels does not divide into strides of {stride} pixels")
        return size[0] // stride, size[1] // stride


def build_encoder(config: EncoderConfig | PretrainedEncoderConfig) -> VisionEncoder:
    """A fresh encoder, or a pretrained one with its weights."""
    if isinstance(config, PretrainedEncoderConfig):
        return load_pretrained(config)
    return shaped_encoder(config)


def shaped_encoder(config: EncoderConfig | PretrainedEncoderConfig) -> VisionEncoder:
    """An encoder of these sizes, its weights still random. ModelError for a pretrained one of unknown sizes."""
    shape = config.shape if isinstance(config, PretrainedEncoderConfig) else config
    if shape is None:
        raise ModelError(f"the sizes of {config!r} are not known without its weights: say them in its `shape`")
    return VisionEncoder(small_model(shape), config.taps, PixelStatistics())


def small_model(config: EncoderConfig) -> SiglipVision:
    """A SigLIP vision model of these sizes."""
    return SiglipVision(
        SiglipShape(config.image_size, config.patch, config.width, config.hidden, config.layers, config.heads)
    )


def load_pretrained(config: PretrainedEncoderConfig) -> VisionEncoder:
    """A vision model, or the vision part of a larger one, from a folder or the hub, with its pixel statistics.

    ModelError where it is none that is read here, lacks weights, or does not say how its pixels are normalised.
    """
    from illume.models.pretrained_vision import load_network, pixel_statistics

    return VisionEncoder(load_network(config.name), config.taps, PixelStatistics(*pixel_statistics(config.name)))


def encoder_from_spec(spec: dict[str, Any]) -> VisionEncoder:
    """The module that `VisionEncoder.spec` describes, its weights still random. ModelError where it is none of ours."""
    plain = dict(spec["transformers"])
    model_type = plain.pop("model_type")
    model: nn.Module
    if model_type == SIGLIP:
        model = SiglipVision(shape_of(plain))
    else:
        from illume.models.pretrained_vision import random_network

        model = random_network(model_type, plain, "this folder")
    taps = tuple(Tap(**tap) for tap in spec["taps"])
    return VisionEncoder(model, taps, PixelStatistics(tuple(spec["mean"]), tuple(spec["std"])))


def plain_config(model: Any) -> dict[str, Any]:
    """A model's configuration as plain data, without what is only about the process that wrote it."""
    if isinstance(model, SiglipVision):
        return plain_shape(model.config)
    plain: dict[str, Any] = json.loads(model.config.to_json_string())
    return {k: v for k, v in plain.items() if k not in ("transformers_version", "architectures")}


def merged(features: Float[Tensor, "b n d"], grid: Grid, merge: int) -> Float[Tensor, "b m e"]:
    """Each merge x merge square of neighbours as one feature, vectors side by side; row-major before and after."""
    if merge == 1:
        return features
    return rearrange(
        features, "b (r i c j) d -> b (r c) (i j d)", r=grid[0] // merge, i=merge, c=grid[1] // merge, j=merge
    )


def _resizing(model: Any, shape: torch.Size) -> dict[str, bool]:
    """What to ask of the model so that it takes an image of another size than its own; some do so by themselves."""
    native = (model.config.image_size, model.config.image_size)
    asks = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
    return {"interpolate_pos_encoding": True} if asks and tuple(shape[2:]) != native else {}
