"""Features to pixels by a published Stable Diffusion whose UNet sees the features beside the noisy latent.

It does not know where the features come from, reads no text, and draws no random numbers but from the generators it is
given.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.utils.torch_utils import randn_tensor
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from illume.core.config import from_dict, to_dict
from illume.core.errors import ModelError
from illume.core.files import write_json
from illume.models.folder import read_config, save_network
from illume.models.pixel_decoder import FORMAT_VERSION, Generators, Noise, grid_of


@dataclass(frozen=True)
class StableDiffusionShape:
    """The sizes of a Stable Diffusion; the defaults are those of 1.5's published config.json files."""

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers: int = 2
    heads: int = 8
    text_width: int = 768
    groups: int = 32
    latents: int = 4
    vae_channels: tuple[int, ...] = (128, 256, 512, 512)


@dataclass(frozen=True)
class StableDiffusionDecoderConfig:
    """A Stable Diffusion 1.x or 2.x by folder or hub name.

    `shape` gives its sizes, so that it can be built and shown without its weights; a model that is loaded has its own.
    `drop`: how often an image trains without features, so that guidance has something to compare with.
    """

    name: str
    kind: Literal["stable_diffusion"] = "stable_diffusion"
    shape: StableDiffusionShape = StableDiffusionShape()
    drop: float = 0.1
    steps: int = 25


class Published(NamedTuple):
    """What is taken from a Stable Diffusion: UNet2DConditionModel, AutoencoderKL, DDIMScheduler, which diffusers does
    not type. The text encoder stays behind."""

    unet: Any
    vae: Any
    scheduler: Any


class StableDiffusionPixelDecoder(nn.Module):
    """Latent diffusion conditioned by concatenation: features resized to the latent's grid are channels beside it.

    ILLUME (section 3.1) paints the features of its tokenizer with Stable Diffusion; concatenation and the empty text
    are ILLUME+'s. The VAE is frozen; noise levels are even over the scheduler's times, as the UNet was trained.
    """

    def __init__(self, config: StableDiffusionDecoderConfig, dims: tuple[int, ...], parts: Published) -> None:
        """`parts.unet` takes the latent's channels and, after them, `sum(dims)` more."""
        super().__init__()
        self.config = config
        self.dims = dims
        self.unet = parts.unet
        self.vae = parts.vae.requires_grad_(False)
        self.scheduler = parts.scheduler
        _refuse(parts, dims)

    @classmethod
    def start(cls, config: StableDiffusionDecoderConfig, dims: tuple[int, ...]) -> "StableDiffusionPixelDecoder":
        """From the published weights: it paints as they do until it has learnt to look at the features."""
        parts = read_published(config.name)
        return cls(config, dims, parts._replace(unet=widened(parts.unet, sum(dims))))

    @classmethod
    def shaped(cls, config: StableDiffusionDecoderConfig, dims: tuple[int, ...]) -> "StableDiffusionPixelDecoder":
        """Of `config.shape`, with random weights (on the meta device: with none)."""
        parts = random_parts(config.shape)
        return cls(config, dims, parts._replace(unet=widened(parts.unet, sum(dims))))

    @property
    def stride(self) -> int:
        """The side of what a latent stands on, in pixels."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    def noise(self, shape: tuple[int, int, int, int], generator: torch.Generator) -> Noise:
        """The chance that a batch of pixels of this shape needs in `loss`."""
        latents = torch.randn(shape[0], *self._latent_shape((shape[2], shape[3])), generator=generator)
        level = torch.rand(shape[0], generator=generator)
        keep = (torch.rand(shape[0], generator=generator) >= self.config.drop).float()
        return Noise(latents, level, keep)

    def forward(
        self,
        noisy: Float[Tensor, "b c h w"],
        times: Int[Tensor, " b"],
        features: tuple[Float[Tensor, "b _ _"], ...],
        keep: Float[Tensor, " b"],
    ) -> Float[Tensor, "b c h w"]:
        """What the UNet predicts of noisy latents; `keep` 0 hides an image's features from it."""
        condition = self.condition(features, (noisy.shape[2], noisy.shape[3])) * keep[:, None, None, None]
        x = torch.cat([noisy, condition.to(noisy.dtype)], dim=1)
        # one zero says as much as 77: attention over equal keys gives their value, whatever their number
        text = x.new_zeros(len(x), 1, self.unet.config.cross_attention_dim)
        return self.unet(x, times, encoder_hidden_states=text).sample.float()

    def condition(
        self, features: tuple[Float[Tensor, "b _ _"], ...], size: tuple[int, int]
    ) -> Float[Tensor, "b c h w"]:
        """The features of all levels as channels at this resolution."""
        if len(features) != len(self.dims):
            raise ModelError(f"features of {len(features)} levels for a pixel decoder of {len(self.dims)}")
        maps = []
        for level in features:
            rows, _ = grid_of(level.shape[1], size)
            grid = rearrange(level, "b (r q) d -> b d r q", r=rows)
            maps.append(F.interpolate(grid, size, mode="bilinear", align_corners=False))
        return torch.cat(maps, dim=1)

    def loss(
        self, pixels: Float[Tensor, "b 3 h w"], features: tuple[Float[Tensor, "b _ _"], ...], noise: Noise
    ) -> Float[Tensor, ""]:
        """The error of the predicted noise (or velocity, as the UNet was trained), a number of the latent."""
        latents, times = self.encode(pixels), self._times(noise.level)
        noisy = self.scheduler.add_noise(latents, noise.pixels, times)
        by_velocity = self.scheduler.config.prediction_type == "v_prediction"
        target = self.scheduler.get_velocity(latents, noise.pixels, times) if by_velocity else noise.pixels
        return (self(noisy, times, features, noise.keep) - target).square().mean()

    @torch.no_grad()
    def encode(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c i j"]:
        """The latents of images, scaled as the UNet knows them."""
        self._latent_shape((pixels.shape[2], pixels.shape[3]))
        return self.vae.encode(pixels).latent_dist.mode().float() * self.vae.config.scaling_factor

    @torch.no_grad()
    def draw(
        self,
        features: tuple[Float[Tensor, "b _ _"], ...],
        size: tuple[int, int],
        steps: int,
        generator: Generators,
        guidance: float = 1.0,
    ) -> Float[Tensor, "b 3 h w"]:
        """DDIM steps from noise (of generators on the CPU, so that devices agree) to images in [-1, 1]."""
        rows = features[0].shape[0]
        x = randn_tensor((rows, *self._latent_shape(size)), generator).to(features[0].device)
        scheduler: Any = DDIMScheduler.from_config(self.scheduler.config)
        scheduler.set_timesteps(steps, device=x.device)
        for time in scheduler.timesteps:
            x = scheduler.step(self._guided(x, time.expand(rows), features, guidance), time, x).prev_sample
        return self.vae.decode(x / self.vae.config.scaling_factor).sample.float().clamp(-1, 1)

    def save(self, folder: str | Path) -> None:
        """Write a diffusers folder (unet/, vae/, scheduler/) and our config.json."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_network(folder / "unet", self.unet)
        save_network(folder / "vae", self.vae)
        self.scheduler.save_pretrained(folder / "scheduler")
        plain = {"format_version": FORMAT_VERSION, "pixel_decoder": to_dict(self.config), "dims": list(self.dims)}
        write_json(folder / "config.json", plain)

    @classmethod
    def load(cls, folder: str | Path) -> "StableDiffusionPixelDecoder":
        """Read what `save` wrote. ModelError where the folder is not of this format."""
        plain = read_config(Path(folder) / "config.json", FORMAT_VERSION)
        config = from_dict(StableDiffusionDecoderConfig, plain["pixel_decoder"], where=f"{folder}/config.json")
        return cls(config, tuple(plain["dims"]), read_published(folder)).eval()

    def _guided(
        self, x: Tensor, times: Tensor, features: tuple[Tensor, ...], guidance: float
    ) -> Float[Tensor, "b c h w"]:
        told = self(x, times, features, torch.ones(len(x), device=x.device))
        if guidance == 1:
            return told
        untold = self(x, times, features, torch.zeros(len(x), device=x.device))
        return untold + guidance * (told - untold)

    def _times(self, level: Float[Tensor, " b"]) -> Int[Tensor, " b"]:
        number = self.scheduler.config.num_train_timesteps
        return (level * number).long().clamp(max=number - 1)

    def _latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        if size[0] % self.stride or size[1] % self.stride:
            raise ModelError(f"{size[0]}x{size[1]} pixels do not divide into latents of {self.stride} pixels a side")
        return self.vae.config.latent_channels, size[0] // self.stride, size[1] // self.stride


def read_published(name: str | Path) -> Published:
    """UNet, VAE and noise schedule of a diffusers folder or a hub name, in float32. ModelError where one is missing."""
    whole: dict[str, Any] = {"use_safetensors": True, "low_cpu_mem_usage": False, "torch_dtype": torch.float32}
    try:
        return Published(
            UNet2DConditionModel.from_pretrained(name, subfolder="unet", **whole),
            AutoencoderKL.from_pretrained(name, subfolder="vae", **whole),
            DDIMScheduler.from_pretrained(name, subfolder="scheduler"),
        )
    except OSError as error:
        raise ModelError(f"no Stable Diffusion could be loaded from {name}: {error}") from error


def random_parts(shape: StableDiffusionShape) -> Published:
    """UNet and VAE of these sizes with random weights, and the noise schedule of Stable Diffusion 1.5."""
    inner, vae = len(shape.channels) - 1, len(shape.vae_channels)
    unet = UNet2DConditionModel(
        in_channels=shape.latents,
        out_channels=shape.latents,
        block_out_channels=shape.channels,
        down_block_types=(*("CrossAttnDownBlock2D",) * inner, "DownBlock2D"),
        up_block_types=("UpBlock2D", *("CrossAttnUpBlock2D",) * inner),
        layers_per_block=shape.layers,
        attention_head_dim=shape.heads,  # diffusers' name for it in this class of models
        cross_attention_dim=shape.text_width,
        norm_num_groups=shape.groups,
    )
    autoencoder = AutoencoderKL(
        block_out_channels=shape.vae_channels,
        down_block_types=("DownEncoderBlock2D",) * vae,
        up_block_types=("UpDecoderBlock2D",) * vae,
        layers_per_block=shape.layers,
        latent_channels=shape.latents,
        norm_num_groups=shape.groups,
    )
    schedule: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    scheduler = DDIMScheduler(**schedule, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    return Published(unet, autoencoder, scheduler)


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


def _refuse(parts: Published, dims: tuple[int, ...]) -> None:
    unet, vae, scheduler = (part.config for part in parts)
    if unet.addition_embed_type is not None or unet.class_embed_type is not None:
        raise ModelError("this UNet wants more than a text (SDXL's sizes, say); Stable Diffusion 1.x and 2.x do not")
    if unet.in_channels != vae.latent_channels + sum(dims):
        raise ModelError(f"a UNet of {unet.in_channels} channels for {vae.latent_channels} and features of {dims}")
    if scheduler.prediction_type not in ("epsilon", "v_prediction"):
        raise ModelError(
            f"a scheduler of prediction_type {scheduler.prediction_type!r}: epsilon and v_prediction are known"
        )
