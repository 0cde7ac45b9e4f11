"""The networks of a published Stable Diffusion (1.x, 2.x, XL), read from a diffusers folder or built by their sizes.

It does not know what conditions them. diffusers is imported where it is wanted: it takes longer than drawing a picture,
and other pixel decoders do without.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from illume.core.errors import ModelError
from illume.models.folder import distrusted

NUM_SIZES = 6  # XL is told heights, widths and crops: so many numbers


@dataclass(frozen=True)
class StableDiffusionShape:
    """The sizes of a Stable Diffusion; the defaults are those of 1.5's published config.json files.

    One entry of `channels` and `transformers` a resolution, finest first; `transformers` counts the layers of attention
    there (0: none). `heads` is diffusers' attention_head_dim: the number of heads, one for all or one a resolution.
    `added_width` is that of the pooled text that XL takes beside the text; 0: none.
    """

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers: int = 2
    heads: int | tuple[int, ...] = 8
    text_width: int = 768
    groups: int = 32
    latents: int = 4
    vae_channels: tuple[int, ...] = (128, 256, 512, 512)
    transformers: tuple[int, ...] = (1, 1, 1, 0)
    linear: bool = False
    added_width: int = 0
    time_width: int = 256
    prediction: Literal["epsilon", "v_prediction"] = "epsilon"
    scaling: float = 0.18215

    def __post_init__(self) -> None:
        if len(self.transformers) != len(self.channels):
            raise ValueError(f"transformers has {len(self.transformers)} entries, channels {len(self.channels)}")


SHAPES = {
    "1.5": StableDiffusionShape(),
    "2.1": StableDiffusionShape(heads=(5, 10, 20, 20), text_width=1024, linear=True, prediction="v_prediction"),
    "xl": StableDiffusionShape(
        channels=(320, 640, 1280),
        heads=(5, 10, 20),
        text_width=2048,
        transformers=(0, 2, 10),
        linear=True,
        added_width=1280,
        scaling=0.13025,
    ),
}


class Published(NamedTuple):
    """What is taken from a Stable Diffusion: UNet2DConditionModel, AutoencoderKL, DDIMScheduler, which diffusers does
    not type. The text encoders stay behind."""

    unet: Any
    vae: Any
    scheduler: Any


def read_published(name: str | Path) -> Published:
    """UNet, VAE and noise schedule of a diffusers folder or a hub name, in float32. ModelError where one is missing.

    Whatever sampler it comes with: the noise it was trained on is all that is taken of that.
    """
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    whole: dict[str, Any] = {"use_safetensors": True, "low_cpu_mem_usage": False, "torch_dtype": torch.float32}
    with distrusted(name, "no Stable Diffusion could be loaded, in safetensors"):
        return Published(
            UNet2DConditionModel.from_pretrained(name, subfolder="unet", **whole),
            AutoencoderKL.from_pretrained(name, subfolder="vae", **whole),
            DDIMScheduler.from_pretrained(name, subfolder="scheduler", clip_sample=False),  # latents exceed 1
        )


def check_published(name: str | Path) -> None:
    """ModelError where a diffusers folder or a hub name has no configurations of a UNet and a VAE; reads no weights."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    with distrusted(name, "no Stable Diffusion that diffusers reads"):
        UNet2DConditionModel.load_config(name, subfolder="unet")
        AutoencoderKL.load_config(name, subfolder="vae")


def random_parts(shape: StableDiffusionShape) -> Published:
    """UNet and VAE of these sizes with random weights, and the noise schedule of Stable Diffusion."""
    from diffusers import AutoencoderKL, DDIMScheduler

    vae = len(shape.vae_channels)
    autoencoder = AutoencoderKL(
        block_out_channels=shape.vae_channels,
        down_block_types=("DownEncoderBlock2D",) * vae,
        up_block_types=("UpDecoderBlock2D",) * vae,
        layers_per_block=shape.layers,
        latent_channels=shape.latents,
        norm_num_groups=shape.groups,
        scaling_factor=shape.scaling,
    )
    schedule: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    schedule |= {"prediction_type": shape.prediction, "set_alpha_to_one": False, "steps_offset": 1}
    return Published(_random_unet(shape), autoencoder, DDIMScheduler(**schedule, clip_sample=False))


def _random_unet(shape: StableDiffusionShape) -> Any:
    from diffusers import UNet2DConditionModel

    attends = [number > 0 for number in shape.transformers]
    added: dict[str, Any] = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": shape.time_width,
        "projection_class_embeddings_input_dim": shape.added_width + NUM_SIZES * shape.time_width,
    }
    return UNet2DConditionModel(
        in_channels=shape.latents,
        out_channels=shape.latents,
        block_out_channels=shape.channels,
        down_block_types=tuple("CrossAttnDownBlock2D" if yes else "DownBlock2D" for yes in attends),
        up_block_types=tuple("CrossAttnUpBlock2D" if yes else "UpBlock2D" for yes in attends[::-1]),
        transformer_layers_per_block=tuple(max(1, number) for number in shape.transformers),
        layers_per_block=shape.layers,
        attention_head_dim=shape.heads,  # diffusers' name for it in this class of models
        cross_attention_dim=shape.text_width,
        use_linear_projection=shape.linear,
        norm_num_groups=shape.groups,
        **(added if shape.added_width else {}),
    )


@torch.no_grad()
def widened(unet: Any, channels: int) -> Any:
    """The same UNet with more input channels, which count for nothing yet: their weights are zero."""
    old = unet.conv_in
    conv = nn.Conv2d(
        old.in_channels + channels,
        old.out_channels,
        old.kernel_size,
        padding=old.padding,
        device=old.weight.device,
        dtype=old.weight.dtype,
    )
    conv.weight.zero_()
    conv.weight[:, : old.in_channels] = old.weight
    conv.bias = old.bias
    unet.conv_in = conv
    unet.register_to_config(in_channels=conv.in_channels)
    return unet


def check_parts(parts: Published, dims: tuple[int, ...]) -> None:
    """ModelError for a UNet that wants what is not known here, or does not take features of these widths."""
    unet, vae, scheduler = (part.config for part in parts)
    if unet.addition_embed_type not in (None, "text_time") or unet.class_embed_type is not None:
        wanted = unet.addition_embed_type or unet.class_embed_type
        raise ModelError(f"this UNet wants {wanted!r}; known are the text of Stable Diffusion 1.x, 2.x and XL")
    if unet.in_channels != vae.latent_channels + sum(dims):
        raise ModelError(f"a UNet of {unet.in_channels} channels for {vae.latent_channels} and features of {dims}")
    if scheduler.prediction_type not in ("epsilon", "v_prediction"):
        raise ModelError(
            f"a scheduler of prediction_type {scheduler.prediction_type!r}: epsilon and v_prediction are known"
        )
