"""The pixel decoder made of a Stable Diffusion, a tiny random one: widening, learning, drawing, folders, errors."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from fixtures.tiny_model_folder import tiny_parts
from illume.core.config import from_dict, to_dict
from illume.core.errors import ModelError
from illume.data.collate import ImageBatch
from illume.models.diffusers_parts import StableDiffusionShape, check_published, random_parts, read_published, widened
from illume.models.painting import build_pixel_decoder, load_pixel_decoder, shaped_pixel_decoder
from illume.models.pixel_decoder import DiffusionDecoderConfig, DiffusionPixelDecoder, Noise
from illume.models.stable_diffusion import StableDiffusionDecoderConfig, StableDiffusionPixelDecoder
from illume.train.pixel_objective import PixelObjective

SHAPE = StableDiffusionShape(
    channels=(16, 32), layers=1, heads=2, text_width=8, groups=4, latents=4, vae_channels=(4, 8), transformers=(1, 0)
)
DIMS = (6, 5)
SIZE = (8, 12)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion as diffusers saves it, with the scheduler that 1.5 comes with."""
    folder = tmp_path_factory.mktemp("stable_diffusion")
    torch.manual_seed(0)
    parts = random_parts(SHAPE)
    parts.unet.save_pretrained(folder / "unet")
    parts.vae.save_pretrained(folder / "vae")
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    plain = {
        "_class_name": "PNDMScheduler",
        "_diffusers_version": "0.6.0",
        "skip_prk_steps": True,
        "clip_sample": False,
    }
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(
        json.dumps(plain | schedule | {"num_train_timesteps": 1000, "set_alpha_to_one": False})
    )
    return folder


@pytest.fixture
def decoder(published: Path) -> StableDiffusionPixelDecoder:
    config = StableDiffusionDecoderConfig(str(published), shape=SHAPE, steps=3)
    made = build_pixel_decoder(config, DIMS)
    assert isinstance(made, StableDiffusionPixelDecoder)
    return made.eval()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def features(rows: int = 2) -> tuple[Tensor, Tensor]:
    """2x3 features of 6 numbers, 4x6 of 5: both of the proportions of the image."""
    return torch.randn(rows, 6, 6, generator=seeded(1)), torch.randn(rows, 24, 5, generator=seeded(2))


def latents(rows: int = 2) -> Tensor:
    return torch.randn(rows, 4, 4, 6, generator=seeded(3))


def silent(levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(torch.zeros_like(level) for level in levels)


def original_prediction(published: Path, words: int) -> Tensor:
    unet = UNet2DConditionModel.from_pretrained(published / "unet", low_cpu_mem_usage=False).eval()
    text = torch.zeros(2, words, SHAPE.text_width)
    return unet(latents(), torch.tensor([10, 900]), encoder_hidden_states=text).sample


def check_starts_as_published(decoder: StableDiffusionPixelDecoder, published: Path) -> None:
    """Features or none, the widened UNet predicts what the published one does of an empty text of 77 words."""
    with torch.no_grad():
        wanted = original_prediction(published, words=77)
        for levels in (features(), silent(features())):
            found = decoder(latents(), torch.tensor([10, 900]), levels, torch.ones(2))
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_the_widened_unet_starts_as_the_published_one(decoder: StableDiffusionPixelDecoder, published: Path) -> None:
    check_starts_as_published(decoder, published)


def test_the_check_of_the_start_catches_channels_that_count(
    decoder: StableDiffusionPixelDecoder, published: Path
) -> None:
    with torch.no_grad():
        decoder.unet.conv_in.weight[:, 4:] += 0.1
    with pytest.raises(AssertionError):
        check_starts_as_published(decoder, published)


def fixed_noise(decoder: StableDiffusionPixelDecoder, rows: int) -> Noise:
    return decoder.noise((rows, 3, *SIZE), seeded())._replace(keep=torch.ones(rows))


def overfitted(decoder: StableDiffusionPixelDecoder, steps: int) -> tuple[float, float]:
    """The loss of four samples with fixed noise before and after training the UNet on them."""
    pixels = torch.rand(4, 3, *SIZE, generator=seeded(4)) * 2 - 1
    noise = fixed_noise(decoder, 4)
    optimizer = torch.optim.AdamW(decoder.unet.parameters(), lr=5e-3)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = decoder.loss(pixels, features(4), noise)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses[0], losses[-1]


def test_four_samples_with_fixed_noise_are_learnt(decoder: StableDiffusionPixelDecoder) -> None:
    first, last = overfitted(decoder, steps=40)
    assert last < 0.2 * first
    assert all(parameter.grad is None for parameter in decoder.vae.parameters())


def test_the_objective_of_pixel_decoders_drives_it(published: Path) -> None:
    tokenizer = tiny_parts().tokenizer
    config = StableDiffusionDecoderConfig(str(published), shape=SHAPE)
    objective = PixelObjective(build_pixel_decoder(config, tokenizer.dims), tokenizer)
    batch = ImageBatch(torch.rand(2, 3, 8, 8, generator=seeded()) * 2 - 1, ("one", "two"), ("0", "1"))
    first = objective.loss(batch).value
    assert torch.equal(first, objective.loss(batch).value)
    objective.after_step(1)
    assert not torch.equal(first, objective.loss(batch).value)


def test_the_features_are_learnt_from(decoder: StableDiffusionPixelDecoder) -> None:
    pixels, noise = torch.rand(2, 3, *SIZE), fixed_noise(decoder, 2)
    decoder.loss(pixels, features(), noise).backward()
    assert decoder.unet.conv_in.weight.grad[:, 4:].abs().sum() > 0


def test_dropped_features_are_not_seen(decoder: StableDiffusionPixelDecoder) -> None:
    with torch.no_grad():
        decoder.unet.conv_in.weight[:, 4:] += 0.1
    pixels, noise = torch.rand(2, 3, *SIZE), fixed_noise(decoder, 2)
    hidden = noise._replace(keep=torch.zeros(2))
    others = tuple(-level for level in features())
    assert torch.equal(decoder.loss(pixels, features(), hidden), decoder.loss(pixels, others, hidden))
    assert not torch.equal(decoder.loss(pixels, features(), noise), decoder.loss(pixels, others, noise))


def test_noise_is_even_over_the_times_and_of_the_latents_shape(decoder: StableDiffusionPixelDecoder) -> None:
    noise = decoder.noise((20_000, 3, 2, 2), seeded())
    assert noise.pixels.shape == (20_000, 4, 1, 1)
    assert float(noise.keep.mean()) == pytest.approx(0.9, abs=0.01)
    deciles = torch.histc(noise.level, bins=10, min=0, max=1) / 20_000
    assert deciles.tolist() == pytest.approx([0.1] * 10, abs=0.01)
    assert decoder._times(torch.tensor([0.0, 0.5, 1.0])).tolist() == [0, 500, 999]


def test_the_velocity_is_predicted_where_the_unet_was_trained_so(decoder: StableDiffusionPixelDecoder) -> None:
    pixels, noise = torch.rand(2, 3, *SIZE), fixed_noise(decoder, 2)
    by_noise = decoder.loss(pixels, features(), noise)
    decoder.scheduler.register_to_config(prediction_type="v_prediction")
    assert not torch.allclose(decoder.loss(pixels, features(), noise), by_noise)


def test_drawing_has_the_size_and_is_a_function_of_the_generator(decoder: StableDiffusionPixelDecoder) -> None:
    one = decoder.draw(features(), SIZE, 3, seeded())
    assert one.shape == (2, 3, *SIZE)
    assert one.abs().max() <= 1
    assert torch.equal(one, decoder.draw(features(), SIZE, 3, seeded()))
    assert not torch.equal(one, decoder.draw(features(), SIZE, 3, seeded(1)))


def test_guidance_compares_with_hidden_features(decoder: StableDiffusionPixelDecoder) -> None:
    with torch.no_grad():
        decoder.unet.conv_in.weight[:, 4:] += 0.1
    others = tuple(-level for level in features())
    blind = decoder.draw(features(), SIZE, 2, seeded(), guidance=0.0)
    torch.testing.assert_close(blind, decoder.draw(others, SIZE, 2, seeded(), guidance=0.0))
    plain = decoder.draw(features(), SIZE, 2, seeded())
    torch.testing.assert_close(plain, decoder.draw(features(), SIZE, 2, seeded(), guidance=1 + 1e-6), atol=1e-4, rtol=0)
    assert not torch.allclose(plain, decoder.draw(features(), SIZE, 2, seeded(), guidance=3.0))


def test_a_saved_decoder_draws_as_before(decoder: StableDiffusionPixelDecoder, tmp_path: Path) -> None:
    with torch.no_grad():
        decoder.unet.conv_in.weight[:, 4:] += 0.1
    decoder.save(tmp_path)
    assert not list(tmp_path.rglob("*.bin"))
    again = load_pixel_decoder(tmp_path)
    assert isinstance(again, StableDiffusionPixelDecoder)
    assert (again.config, again.dims) == (decoder.config, decoder.dims)
    assert torch.equal(again.draw(features(), SIZE, 2, seeded()), decoder.draw(features(), SIZE, 2, seeded()))


def test_a_folder_says_which_decoder_it_holds(tmp_path: Path) -> None:
    config = DiffusionDecoderConfig(channels=(8, 16), condition=4, cells=2, groups=4)
    made = build_pixel_decoder(config, DIMS)
    assert isinstance(made, DiffusionPixelDecoder)
    made.save(tmp_path)
    assert isinstance(load_pixel_decoder(tmp_path), DiffusionPixelDecoder)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"kind": "diffusion"', '"kind": "oil"'))
    with pytest.raises(ModelError, match="of kind 'oil'; known are diffusion, stable_diffusion"):
        load_pixel_decoder(tmp_path)


def test_the_published_sizes_of_stable_diffusion_1_5() -> None:
    """859,520,964 and 83,653,863 parameters, and 9 weights a feature and output channel more for the features."""
    with torch.device("meta"):
        decoder = shaped_pixel_decoder(StableDiffusionDecoderConfig("nowhere"), (1152,))
    counts = {name: sum(p.numel() for p in module.parameters()) for name, module in decoder.named_children()}
    assert counts == {"unet": 859_520_964 + 9 * 1152 * 320, "vae": 83_653_863}
    assert {parameter.device.type for parameter in decoder.parameters()} == {"meta"}


def test_a_config_survives_the_round_trip() -> None:
    config = StableDiffusionDecoderConfig("somewhere", shape=SHAPE)
    assert from_dict(StableDiffusionDecoderConfig, to_dict(config)) == config


def test_what_does_not_fit_is_refused(decoder: StableDiffusionPixelDecoder, published: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="7x12 pixels do not divide into latents of 2 pixels"):
        decoder.draw(features(), (7, 12), 1, seeded())
    with pytest.raises(ModelError, match="features of 1 levels for a pixel decoder of 2"):
        decoder.draw(features()[:1], SIZE, 1, seeded())
    with pytest.raises(ModelError, match="no Stable Diffusion could be loaded"):
        read_published(tmp_path)
    for name in (tmp_path, "no/such", "no such thing!"):
        with pytest.raises(ModelError, match="no Stable Diffusion that diffusers reads"):
            check_published(name)
    check_published(published)
    parts = read_published(published)
    with pytest.raises(ModelError, match="a UNet of 4 channels for 4 and features of"):
        StableDiffusionPixelDecoder(decoder.config, DIMS, parts)
    parts.scheduler.register_to_config(prediction_type="sample")
    with pytest.raises(ModelError, match="prediction_type 'sample'"):
        StableDiffusionPixelDecoder(decoder.config, DIMS, parts._replace(unet=widened(parts.unet, sum(DIMS))))
