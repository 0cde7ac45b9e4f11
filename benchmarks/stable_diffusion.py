"""Trains the Stable Diffusion pixel decoder, a tiny one made here, on pictures of the world: does it learn to look?

    python -m benchmarks.stable_diffusion [--steps 300] [--upscale 1] [--smoke]

No published weights: a VAE of a few thousand numbers learns the pictures first, then a random UNet, widened for the
features, learns to paint. The features stand in for a tokenizer's: the mean colours of 8x8 squares. Measured on
pictures that training never shows. Ends in one line of JSON.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from illume.core.device import generator
from illume.data.collate import to_pixels
from illume.data.world_source import WorldImages
from illume.models.diffusers_parts import Published, StableDiffusionShape, random_parts
from illume.models.pixel_decoder import Noise
from illume.models.stable_diffusion import StableDiffusionDecoderConfig, StableDiffusionPixelDecoder
from illume.train.ema import EMA
from illume.world.scene import PICO

SHAPE = StableDiffusionShape(
    channels=(32, 64), layers=1, heads=2, text_width=8, groups=8, vae_channels=(16, 32), transformers=(1, 0)
)
BATCH, HELD_OUT, SQUARES = 16, 48, 8


def pictures(number: int, split: str) -> Tensor:
    """Pixels of scenes, 32 pixels a side."""
    images = WorldImages(PICO, split, number)
    keys = images.keys()[:number]
    return to_pixels([images.image(key) for key in keys], keys, images.size)


def features(pixels: Tensor) -> tuple[Tensor]:
    """The mean colours of squares, row-major."""
    return (rearrange(F.adaptive_avg_pool2d(pixels, SQUARES), "b c r q -> b (r q) c"),)


def some(pixels: Tensor, step: int) -> Tensor:
    return pixels[torch.randint(len(pixels), (BATCH,), generator=generator("cpu", "pictures", step))]


def published(folder: Path, pixels: Tensor, steps: int) -> float:
    """A Stable Diffusion folder whose VAE knows these pictures and whose UNet knows nothing; the VAE's last error."""
    torch.manual_seed(0)
    parts = random_parts(SHAPE)
    optimizer = torch.optim.AdamW(parts.vae.parameters(), lr=2e-3)
    for step in range(steps):
        batch = some(pixels, step)
        found = parts.vae.encode(batch).latent_dist
        error = (parts.vae.decode(found.mode()).sample - batch).square().mean()
        (error + 1e-6 * found.kl().mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        parts.vae.register_to_config(scaling_factor=float(1 / parts.vae.encode(pixels[:64]).latent_dist.mode().std()))
    save(folder, parts)
    return float(error.detach())


def save(folder: Path, parts: Published) -> None:
    for name, part in parts._asdict().items():
        part.save_pretrained(folder / name)


def train(decoder: StableDiffusionPixelDecoder, pixels: Tensor, steps: int) -> None:
    """AdamW on the UNet, whose weights are the averaged ones at the end."""
    parameters = dict(decoder.unet.named_parameters())
    optimizer, ema = torch.optim.AdamW(parameters.values(), lr=2e-3), EMA(parameters, 0.98)
    for step in range(1, steps + 1):
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1.0, 2 * (1 - step / (steps + 1)))
        batch = some(pixels, step)
        noise = decoder.noise((BATCH, *batch.shape[1:]), generator("cpu", "noise", step))
        decoder.loss(batch, seen(decoder, batch), noise).backward()
        optimizer.step()
        optimizer.zero_grad()
        ema.update(step)
    ema.store()


def seen(decoder: StableDiffusionPixelDecoder, pixels: Tensor) -> tuple[Tensor]:
    return features(F.avg_pool2d(pixels, decoder.upscale))


@torch.no_grad()
def measured(decoder: StableDiffusionPixelDecoder, pixels: Tensor) -> dict[str, float]:
    """The loss with the pictures' own features and with another's; PSNR of what is painted, in dB."""
    own = seen(decoder, pixels)
    others = (own[0].roll(1, dims=0),)
    noise = decoder.noise((len(pixels), *pixels.shape[1:]), generator("cpu", "held out"))
    noise = Noise(noise.pixels, noise.level, torch.ones(len(pixels)))
    size = (pixels.shape[2], pixels.shape[3])
    painted = [decoder.draw(f, size, 10, generator("cpu", "paint")) for f in (own, others)]
    return {
        "loss": float(decoder.loss(pixels, own, noise)),
        "loss, another's features": float(decoder.loss(pixels, others, noise)),
        "psnr": psnr(painted[0], pixels),
        "psnr, another's features": psnr(painted[1], pixels),
    }


def psnr(one: Tensor, other: Tensor) -> float:
    return float(10 * torch.log10(4 / (one - other).square().mean(dim=(1, 2, 3))).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--upscale", type=int, default=1, choices=(1, 2))
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    steps, number = (3, 64) if arguments.smoke else (arguments.steps, 2048)
    shown, held_out = pictures(number, "train"), pictures(HELD_OUT, "test")
    with tempfile.TemporaryDirectory() as folder:
        error = published(Path(folder), shown, steps)
        config = StableDiffusionDecoderConfig(folder, shape=SHAPE, upscale=arguments.upscale)
        decoder = StableDiffusionPixelDecoder.start(config, (3,))
    before = measured(decoder, held_out)
    train(decoder, shown, steps)
    after = measured(decoder, held_out)
    ceiling = psnr(decoder.decode(decoder.encode(held_out)), held_out)
    for name, value in after.items():
        print(f"{name:28} {before[name]:8.3f} -> {value:8.3f}")
    print(f"{'psnr of the VAE alone':28} {ceiling:20.3f}")
    print(json.dumps({"steps": steps, "vae_error": error, "vae_psnr": ceiling, "before": before, "after": after}))


if __name__ == "__main__":
    main()
