"""Stable Diffusion 1.5, 2.1 and XL as pixel decoders: tiny random folders of each kind, as diffusers saves them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler, UNet2DConditionModel
from torch import Tensor

from fixtures.tiny_model_folder import SIZE, tiny_parts
from illume.api import Illume
from illume.core.config import override
from illume.core.errors import ConfigError, ModelError
from illume.data.collate import ImageBatch
from illume.models.diffusers_parts import SHAPES, StableDiffusionShape, check_parts, random_parts, widened
from illume.models.painting import load_pixel_decoder, shaped_pixel_decoder
from illume.models.stable_diffusion import StableDiffusionDecoderConfig, StableDiffusionPixelDecoder
from illume.recipes.catalog import resolve
from illume.recipes.data import enlarged
from illume.recipes.recipe import WorldData
from illume.train.pixel_objective import PixelObjective
from illume.train.stage import Rule, Stage
from illume.train.trainer import fit

SMALL = {"channels": (8, 16), "layers": 1, "groups": 4, "vae_channels": (4, 8), "text_width": 8}
KINDS = {
    "1.5": StableDiffusionShape(**SMALL, heads=2, transformers=(1, 0)),
    "2.1": replace(SHAPES["2.1"], **SMALL, heads=(1, 2), transformers=(1, 0)),
    "xl": replace(SHAPES["xl"], **SMALL, heads=(1, 2), transformers=(0, 2), added_width=6, time_width=4),
}
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
SCHEDULERS = {
    "1.5": lambda: PNDMScheduler(**NOISE, skip_prk_steps=True),
    "2.1": lambda: DDIMScheduler(**NOISE, prediction_type="v_prediction", clip_sample=False),
    "xl": lambda: EulerDiscreteScheduler(**NOISE, timestep_spacing="leading"),  # says nothing of clipping
}
# UNet and VAE, as the published weights count.
COUNTS = {"1.5": 859_520_964, "2.1": 865_910_724, "xl": 2_567_463_684}
DIMS = (5,)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def published(kind: str, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    parts = random_parts(KINDS[kind])
    parts.unet.save_pretrained(tmp_path / "unet")
    parts.vae.save_pretrained(tmp_path / "vae")
    SCHEDULERS[kind]().save_pretrained(tmp_path / "scheduler")
    return tmp_path


def decoder_of(
    published: Path, kind: str, upscale: int = 1, dims: tuple[int, ...] = DIMS
) -> StableDiffusionPixelDecoder:
    config = StableDiffusionDecoderConfig(str(published), shape=KINDS[kind], steps=2, upscale=upscale)
    return StableDiffusionPixelDecoder.start(config, dims)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def features(rows: int = 2) -> tuple[Tensor]:
    return (torch.randn(rows, 4, 5, generator=seeded(1)),)


def pixels(rows: int = 2, side: int = 8) -> Tensor:
    return torch.rand(rows, 3, side, side, generator=seeded(2)) * 2 - 1


def check_starts_as_published(decoder: StableDiffusionPixelDecoder, published: Path, kind: str) -> None:
    """Whatever the features: an empty text of 77 words and, for XL, pooled text, sizes and crops of zeros."""
    unet = UNet2DConditionModel.from_pretrained(published / "unet", low_cpu_mem_usage=False).eval()
    latents, times = torch.randn(2, 4, 4, 4, generator=seeded(3)), torch.tensor([10, 900])
    added = {"text_embeds": torch.zeros(2, 6), "time_ids": torch.zeros(2, 6)} if kind == "xl" else None
    with torch.no_grad():
        wanted = unet(latents, times, torch.zeros(2, 77, 8), added_cond_kwargs=added).sample
        found = decoder(latents, times, features(), torch.ones(2))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_it_starts_as_the_published_one_and_learns_to_look(published: Path, kind: str) -> None:
    decoder = decoder_of(published, kind)
    check_starts_as_published(decoder, published, kind)
    noise = decoder.noise((2, 3, 8, 8), seeded())
    decoder.loss(pixels(), features(), noise._replace(keep=torch.ones(2))).backward()
    gradient = decoder.unet.conv_in.weight.grad
    assert gradient is not None
    assert gradient[:, 4:].abs().sum() > 0
    assert all(parameter.grad is None for parameter in decoder.vae.parameters())


def test_the_check_of_the_start_catches_a_text_that_is_not_zero(
    published: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = decoder_of(published, kind)
    monkeypatch.setattr(Tensor, "new_zeros", lambda self, *shape: torch.ones(shape))
    with pytest.raises(AssertionError):
        check_starts_as_published(decoder, published, kind)


def test_each_predicts_what_it_was_trained_to(published: Path, kind: str) -> None:
    scheduler = decoder_of(published, kind).scheduler
    assert scheduler.config.prediction_type == ("v_prediction" if kind == "2.1" else "epsilon")
    assert scheduler.config.clip_sample is False
    assert decoder_of(published, kind).vae.config.scaling_factor == (0.13025 if kind == "xl" else 0.18215)


def test_saved_in_diffusers_layout_it_draws_as_before(published: Path, kind: str, tmp_path: Path) -> None:
    decoder = decoder_of(published, kind, upscale=2).eval()
    with torch.no_grad():
        decoder.unet.conv_in.weight[:, 4:] += 0.1
    decoder.save(tmp_path / "saved")
    again = load_pixel_decoder(tmp_path / "saved")
    assert UNet2DConditionModel.load_config(tmp_path / "saved" / "unet")["in_channels"] == 9
    drawn = [one.draw(features(), (16, 16), 2, seeded()) for one in (decoder, again)]
    assert drawn[0].shape == (2, 3, 16, 16)
    assert torch.equal(drawn[0], drawn[1])
    assert again.upscale == 2


class _Repeated:
    """The same pictures, over and over."""

    def batches(self, step: int) -> list[ImageBatch]:
        return [ImageBatch(pixels(4, 16), ("",) * 4, tuple("0123"))]


def test_the_loop_trains_it_with_averaged_weights(published: Path, kind: str) -> None:
    """Large pictures, whose shrunk copies the tokenizer reads; what is exported are the averages."""
    tokenizer = tiny_parts().tokenizer
    decoder = decoder_of(published, kind, upscale=2, dims=tokenizer.dims)
    frozen = decoder.vae.state_dict()["encoder.conv_in.weight"].clone()
    before = decoder.unet.conv_in.weight.detach().clone()
    stage = Stage(
        "pixels", 3, 4, (Rule(r"pixel_decoder\.unet\..*", 1e-3), Rule(r"pixel_decoder\.vae\..*", 0.0)), ema=0.9
    )
    state = fit(PixelObjective(decoder, tokenizer), _Repeated(), stage, folder=None, device=torch.device("cpu"))
    assert state.ema is not None
    assert not torch.equal(decoder.unet.conv_in.weight, before)
    assert torch.equal(decoder.unet.conv_in.weight, state.ema.averages["pixel_decoder.unet.conv_in.weight"])
    assert torch.equal(decoder.vae.state_dict()["encoder.conv_in.weight"], frozen)


def test_a_model_with_it_shows_large_pictures_and_looks_at_small_ones(published: Path, kind: str) -> None:
    parts = tiny_parts()
    painter = decoder_of(published, kind, upscale=2, dims=parts.tokenizer.dims).eval().requires_grad_(False)
    model = Illume(replace(parts, pixel_decoder=painter))
    source = np.zeros((*SIZE, 3), np.uint8)
    assert {model.draw("x")[0].size, model.edit(source, "y")[0].size, model.reconstruct(source).size} == {(16, 16)}
    assert all(isinstance(part, str) or part.size in (SIZE, (16, 16)) for part in model.chat("draw", mode="auto"))


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_those_published(name: str) -> None:
    """And 9 weights a feature and output channel more for the features."""
    with torch.device("meta"):
        decoder = shaped_pixel_decoder(StableDiffusionDecoderConfig("nowhere", shape=SHAPES[name]), (1152,))
    counts = {part: sum(p.numel() for p in module.parameters()) for part, module in decoder.named_children()}
    assert counts == {"unet": COUNTS[name] + 9 * 1152 * 320, "vae": 83_653_863}


def test_what_is_not_known_is_refused() -> None:
    parts = random_parts(KINDS["1.5"])
    parts = parts._replace(unet=widened(parts.unet, 5))
    parts.unet.register_to_config(addition_embed_type="image_hint")
    with pytest.raises(ModelError, match="wants 'image_hint'; known are the text of Stable Diffusion"):
        check_parts(parts, DIMS)
    with pytest.raises(ValueError, match="upscale must be at least 1"):
        StableDiffusionDecoderConfig("x", upscale=0)
    with pytest.raises(ConfigError, match="transformers has 4 entries, channels 3"):
        override(StableDiffusionDecoderConfig("x"), ["shape.channels=[320, 640, 1280]"])


def test_a_recipe_opens_its_data_larger_for_it() -> None:
    recipe = enlarged(resolve("pico"), 2)
    assert isinstance(recipe.data, WorldData)
    assert (recipe.image_size, recipe.data.world.size) == (64, 64)
    assert enlarged(resolve("own", ["data=x"]), 2).image_size == 96
