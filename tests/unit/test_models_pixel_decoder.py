"""The pixel decoder: the direction of time, weights, guidance, several levels, saving and loading, errors."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from illume.core.config import from_dict, to_dict
from illume.core.errors import ModelError
from illume.models.pixel_decoder import (
    DiffusionDecoderConfig,
    DiffusionPixelDecoder,
    Noise,
    draw_noise,
    flow_weight,
    grid_of,
    mixed,
)

CONFIG = DiffusionDecoderConfig(channels=(8, 16), condition=4, cells=2, groups=4)
SIZE = (8, 12)


@pytest.fixture
def decoder() -> DiffusionPixelDecoder:
    """Two levels: 2x3 features of 6 numbers, 4x6 of 5."""
    torch.manual_seed(0)
    return DiffusionPixelDecoder(CONFIG, (6, 5)).eval()


def features(rows: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, 6, 6, generator=generator), torch.randn(rows, 24, 5, generator=generator)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_config_survives_the_round_trip() -> None:
    assert from_dict(DiffusionDecoderConfig, to_dict(CONFIG)) == CONFIG


def test_the_image_is_at_level_0_and_the_noise_at_level_1() -> None:
    pixels, noise = torch.ones(3, 3, 2, 2), torch.zeros(3, 3, 2, 2)
    assert mixed(pixels, noise, torch.tensor([0.0, 0.5, 1.0]))[:, 0, 0, 0].tolist() == [1, 0.5, 0]


def test_the_weight_is_that_of_the_velocity_and_bounded() -> None:
    assert torch.allclose(flow_weight(torch.tensor([1.0, 0.5, 1e-4]), 5.0), torch.tensor([1.0, 4.0, 5.0]))


def test_a_network_that_knows_the_image_draws_it_in_any_number_of_steps(
    decoder: DiffusionPixelDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = torch.rand(2, 3, *SIZE) * 2 - 1
    seen: list[float] = []

    def oracle(self: object, x: Tensor, level: Tensor, *_: object) -> Tensor:
        seen.append(float(level[0]))
        return image

    monkeypatch.setattr(DiffusionPixelDecoder, "forward", oracle)
    for steps in (1, 6):
        torch.testing.assert_close(decoder.draw(features(), SIZE, steps, seeded()), image, atol=1e-5, rtol=0)
    assert seen == pytest.approx([1, *(1 - i / 6 for i in range(6))])


def test_drawing_is_a_function_of_the_generator(decoder: DiffusionPixelDecoder) -> None:
    one = decoder.draw(features(), SIZE, 2, seeded())
    assert one.shape == (2, 3, *SIZE)
    assert one.abs().max() <= 1
    assert torch.equal(one, decoder.draw(features(), SIZE, 2, seeded()))
    assert not torch.equal(one, decoder.draw(features(), SIZE, 2, seeded(1)))


def test_guidance_at_scale_1_is_none_and_at_0_ignores_the_features(decoder: DiffusionPixelDecoder) -> None:
    plain = decoder.draw(features(), SIZE, 2, seeded(), guidance=1.0)
    nearly = decoder.draw(features(), SIZE, 2, seeded(), guidance=1.0 + 1e-6)
    torch.testing.assert_close(plain, nearly, atol=1e-4, rtol=0)
    blind = decoder.draw(features(), SIZE, 2, seeded(), guidance=0.0)
    others = tuple(-level for level in features())
    torch.testing.assert_close(blind, decoder.draw(others, SIZE, 2, seeded(), guidance=0.0))
    assert not torch.allclose(plain, decoder.draw(others, SIZE, 2, seeded()))


def test_dropped_features_are_not_seen(decoder: DiffusionPixelDecoder) -> None:
    pixels = torch.rand(2, 3, *SIZE)
    noise = draw_noise((2, 3, *SIZE), 0.0, seeded())
    others = tuple(-level for level in features())
    hidden = Noise(noise.pixels, noise.level, torch.zeros(2))
    assert torch.equal(decoder.loss(pixels, features(), hidden), decoder.loss(pixels, others, hidden))
    assert not torch.equal(decoder.loss(pixels, features(), noise), decoder.loss(pixels, others, noise))


def test_every_feature_reaches_its_own_place(decoder: DiffusionPixelDecoder) -> None:
    first, second = features(1)
    changed = first.clone()
    changed[0, 4] += 1  # row 1, column 1 of 2x3
    one = decoder.condition((first, second), (4, 6))
    other = decoder.condition((changed, second), (4, 6))
    moved = (one != other).any(dim=1)[0]
    assert moved[2:, 2:4].all()
    assert int(moved.sum()) == 4


def test_noise_has_the_promised_distribution() -> None:
    noise = draw_noise((20_000, 3, 1, 1), 0.1, seeded())
    assert float(noise.keep.mean()) == pytest.approx(0.9, abs=0.01)
    logits = noise.level.logit()
    assert float(logits.mean()) == pytest.approx(0, abs=0.03)
    assert float(logits.std()) == pytest.approx(1, abs=0.03)


def test_a_saved_decoder_draws_as_before(decoder: DiffusionPixelDecoder, tmp_path: Path) -> None:
    decoder.save(tmp_path)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {
        "config.json",
        "model.safetensors",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    }
    again = DiffusionPixelDecoder.load(tmp_path)
    assert (again.config, again.dims) == (decoder.config, decoder.dims)
    assert torch.equal(again.draw(features(), SIZE, 2, seeded()), decoder.draw(features(), SIZE, 2, seeded()))


@pytest.mark.parametrize(
    ("number", "size", "grid"), [(16, (32, 32), (4, 4)), (6, (8, 12), (2, 3)), (81, (256, 256), (9, 9))]
)
def test_grids_follow_the_image(number: int, size: tuple[int, int], grid: tuple[int, int]) -> None:
    assert grid_of(number, size) == grid


def test_what_does_not_fit_is_refused(decoder: DiffusionPixelDecoder, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="7 features do not make a grid"):
        grid_of(7, (32, 32))
    with pytest.raises(ModelError, match="features of 1 levels for a pixel decoder of 2"):
        decoder.draw(features()[:1], SIZE, 1, seeded())
    with pytest.raises(ModelError, match="cannot be read"):
        DiffusionPixelDecoder.load(tmp_path)
