"""Features to pixels by a published Stable Diffusion whose UNet sees the features beside the noisy latent.

It does not know where the features come from, reads no text, and draws no random numbers but from the generators it is
given.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from illume.core.errors import ModelError
from illume.models.diffusers_parts import (
    NUM_SIZES,
    Published,
    StableDiffusionShape,
    check_parts,
    random_parts,
    read_published,
    widened,
)
from illume.models.folder import save_network
from illume.models.pixel_decoder import Generators, Noise, PixelDecoder, guided, normal, read_decoder_config, resized


@dataclass(frozen=True)
class StableDiffusionDecoderConfig:
    """A Stable Diffusion 1.x, 2.x or XL by folder or hub name.

    `shape` gives its sizes, so that it can be built and shown without its weights; a model that is loaded has its own.
    `drop`: how often an image trains without features, so that guidance has something to compare with. `upscale` 2
    paints images of twice the side of those that the features were read from, and is trained on such.
    """

    name: str
    kind: Literal["stable_diffusion"] = "stable_diffusion"
    shape: StableDiffusionShape = StableDiffusionShape()
    drop: float = 0.1
    steps: int = 25
    upscale: int = 1

    def __post_init__(self) -> None:
        if self.upscale < 1:
            raise ValueError(f"upscale must be at least 1, not {self.upscale}")


class StableDiffusionPixelDecoder(PixelDecoder):
    """Latent diffusion conditioned by concatenation: features resized to the latent's grid are channels beside it.

    ILLUME (section 3.1) paints the features of its tokenizer with Stable Diffusion; concatenation, the text of zeros
    and the doubled size are ILLUME+'s. The VAE is frozen, and in float32 always (XL's overflows in float16). Noise
    levels are even over the scheduler's times, as the UNet was trained.
    """

    def __init__(self, config: StableDiffusionDecoderConfig, dims: tuple[int, ...], parts: Published) -> None:
        """`parts.unet` takes the latent's channels and, after them, `sum(dims)` more."""
        super().__init__(config, dims)
        self.unet = parts.unet
        self.vae = parts.vae.requires_grad_(False)
        self.scheduler = parts.scheduler
        check_parts(parts, dims)

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
    def upscale(self) -> int:
        return int(self.config.upscale)

    @property
    def stride(self) -> int:
        """The side of what a latent stands on, in pixels."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    def noise(self, shape: tuple[int, int, int, int], generator: torch.Generator) -> Noise:
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
        return self.unet(x, times, encoder_hidden_states=text, added_cond_kwargs=self._unsaid(x)).sample.float()

    def condition(
        self, features: tuple[Float[Tensor, "b _ _"], ...], size: tuple[int, int]
    ) -> Float[Tensor, "b c h w"]:
        """The features of all levels as channels at this resolution."""
        return torch.cat([resized(grid, size) for grid in self.grids(features, size)], dim=1)

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
        with in_float32(pixels.device):
            return self.vae.encode(pixels.float()).latent_dist.mode() * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "b c i j"]) -> Float[Tensor, "b 3 h w"]:
        """The images of scaled latents, in [-1, 1]."""
        with in_float32(latents.device):
            return self.vae.decode(latents.float() / self.vae.config.scaling_factor).sample.clamp(-1, 1)

    @torch.no_grad()
    def draw(
        self,
        features: tuple[Float[Tensor, "b _ _"], ...],
        size: tuple[int, int],
        steps: int,
        generator: Generators,
        guidance: float = 1.0,
    ) -> Float[Tensor, "b 3 h w"]:
        """DDIM steps from noise to latents, and from these the images."""
        rows = features[0].shape[0]
        x = normal((rows, *self._latent_shape(size)), generator).to(features[0].device)
        scheduler = type(self.scheduler).from_config(self.scheduler.config)  # one of its own: it counts the steps
        scheduler.set_timesteps(steps, device=x.device)
        for time in scheduler.timesteps:
            predict = partial(self, x, time.expand(rows), features)
            x = scheduler.step(guided(predict, rows, guidance, x.device), time, x).prev_sample
        return self.decode(x)

    def save(self, folder: str | Path) -> None:
        """Write a diffusers folder (unet/, vae/, scheduler/) and our config.json."""
        folder = Path(folder)
        self.save_config(folder)
        save_network(folder / "unet", self.unet)
        save_network(folder / "vae", self.vae)
        self.scheduler.save_pretrained(folder / "scheduler")

    @classmethod
    def load(cls, folder: str | Path) -> "StableDiffusionPixelDecoder":
        config, dims = read_decoder_config(folder, StableDiffusionDecoderConfig)
        return cls(config, dims, read_published(folder)).eval()

    def _unsaid(self, x: Tensor) -> dict[str, Tensor] | None:
        """XL's pooled text and its sizes and crops, all zero: what conditions this decoder are features alone."""
        config = self.unet.config
        if config.addition_embed_type is None:
            return None
        width = config.projection_class_embeddings_input_dim - NUM_SIZES * config.addition_time_embed_dim
        return {"text_embeds": x.new_zeros(len(x), width), "time_ids": x.new_zeros(len(x), NUM_SIZES)}

    def _times(self, level: Float[Tensor, " b"]) -> Int[Tensor, " b"]:
        number = self.scheduler.config.num_train_timesteps
        return (level * number).long().clamp(max=number - 1)

    def _latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        if size[0] % self.stride or size[1] % self.stride:
            raise ModelError(f"{size[0]}x{size[1]} pixels do not divide into latents of {self.stride} pixels a side")
        return self.vae.config.latent_channels, size[0] // self.stride, size[1] // self.stride


@contextmanager
def in_float32(device: torch.device) -> Iterator[None]:
    """No autocast inside, whatever stands around it."""
    with torch.autocast(device.type, enabled=False):
        yield
