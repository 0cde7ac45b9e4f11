"""Law 9, pixel decoder: its UNet and its steps are diffusers' own; diffusers reads the folder, no key unused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DModel
from torch import Tensor

from illume.core.errors import CheckpointError, ModelError
from illume.models.pixel_decoder import TIME_SCALE, DiffusionDecoderConfig, DiffusionPixelDecoder, normal
from illume.models.unet import UNet

CONFIG = DiffusionDecoderConfig(channels=(8, 12, 16), condition=4, cells=2, groups=4, layers=2)
SIZE = (16, 24)


def awake(module: torch.nn.Module) -> None:
    """No zeros or ones where a mistake would hide."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)


@pytest.fixture
def decoder() -> DiffusionPixelDecoder:
    decoder = DiffusionPixelDecoder(CONFIG, (6,)).eval()
    awake(decoder)
    return decoder


def noisy(channels: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, channels, 8, 12, generator=generator), torch.tensor([17.0, 903.5])


def theirs(folder: Path) -> UNet2DModel:
    """As diffusers reads it; it would go on without a weight, or with one too many."""
    loaded = UNet2DModel.from_pretrained(folder / "unet", output_loading_info=True, low_cpu_mem_usage=False)
    assert not any(loaded[1][key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return loaded[0].eval()


@torch.no_grad()
def check_unet(ours: Callable[[Tensor, Tensor], Tensor], reference: UNet2DModel) -> None:
    """Measured: no difference at all."""
    x, time = noisy(reference.config.in_channels)
    torch.testing.assert_close(ours(x, time), reference(x, time).sample, atol=1e-5, rtol=1e-5)


def test_the_unet_is_diffusers_from_the_folder_that_it_saves(decoder: DiffusionPixelDecoder, tmp_path: Path) -> None:
    decoder.save(tmp_path)
    check_unet(decoder.unet, theirs(tmp_path))


@pytest.mark.parametrize("broken", ["time", "order", "groups"])
def test_the_parity_check_catches(broken: str, decoder: DiffusionPixelDecoder, tmp_path: Path) -> None:
    decoder.save(tmp_path)
    other = decoder.unet
    if broken == "order":
        other.mid_block.resnets[0], other.mid_block.resnets[1] = other.mid_block.resnets[1], other.mid_block.resnets[0]
    elif broken == "groups":
        other.conv_norm_out.num_groups = 2
    reference = theirs(tmp_path)
    with pytest.raises(AssertionError):
        check_unet((lambda x, time: other(x, time / TIME_SCALE)) if broken == "time" else other, reference)


def test_what_diffusers_saves_is_read(decoder: DiffusionPixelDecoder, tmp_path: Path) -> None:
    """As folders were written before the UNet was ours: more keys in the configuration, the same meaning."""
    decoder.save(tmp_path)
    reference = theirs(tmp_path)
    awake(reference)
    reference.save_pretrained(tmp_path / "unet")
    FlowMatchEulerDiscreteScheduler(num_train_timesteps=TIME_SCALE).save_pretrained(tmp_path / "scheduler")
    check_unet(DiffusionPixelDecoder.load(tmp_path).unet, reference)


def test_it_starts_as_theirs_does() -> None:
    torch.manual_seed(3)
    ours = UNet(7, 3, (8, 12), 1, 4).state_dict()
    torch.manual_seed(3)
    reference = UNet2DModel(
        in_channels=7,
        out_channels=3,
        block_out_channels=(8, 12),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=4,
        add_attention=False,
    ).state_dict()
    assert ours.keys() == reference.keys()
    assert all(torch.equal(ours[name], reference[name]) for name in ours)


@torch.no_grad()
def drawn_by_their_steps(decoder: DiffusionPixelDecoder, features: tuple[Tensor], steps: int) -> Tensor:
    x = normal((2, 3, *SIZE), torch.Generator().manual_seed(5))
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=TIME_SCALE)
    scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)])
    for time in scheduler.timesteps:
        level = (time / TIME_SCALE).expand(2)
        velocity = (x - decoder(x, level, features, torch.ones(2))) / level[:, None, None, None]
        x = scheduler.step(velocity, time, x).prev_sample
    return x.clamp(-1, 1)


@pytest.mark.parametrize("steps", [1, 6])
def test_the_steps_are_those_of_their_scheduler(steps: int, decoder: DiffusionPixelDecoder) -> None:
    """Measured: 2e-6 on values up to 1."""
    features = (torch.randn(2, 24, 6, generator=torch.Generator().manual_seed(2)),)
    ours = decoder.draw(features, SIZE, steps, torch.Generator().manual_seed(5))
    torch.testing.assert_close(ours, drawn_by_their_steps(decoder, features, steps), atol=1e-4, rtol=0)
    assert not torch.allclose(ours, drawn_by_their_steps(decoder, features, steps + 1), atol=1e-3)


def test_a_folder_of_another_network_is_refused(decoder: DiffusionPixelDecoder, tmp_path: Path) -> None:
    decoder.save(tmp_path)
    for file, key, value in (
        ("unet/config.json", "add_attention", True),
        ("unet/config.json", "norm_num_groups", 2),
        ("scheduler/scheduler_config.json", "shift", 3.0),
    ):
        text = (tmp_path / file).read_text(encoding="utf-8")
        (tmp_path / file).write_text(json.dumps(json.loads(text) | {key: value}), encoding="utf-8")
        with pytest.raises(ModelError, match=rf"{key} is {value}"):
            DiffusionPixelDecoder.load(tmp_path)
        (tmp_path / file).write_text(text, encoding="utf-8")
    (tmp_path / "unet" / "config.json").unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        DiffusionPixelDecoder.load(tmp_path)
