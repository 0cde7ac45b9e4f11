"""The vision tokenizer: levels, what is trained, saving and loading, errors."""

import json
from pathlib import Path

import pytest
import torch

from illume.core.config import from_dict, to_dict
from illume.core.errors import ConfigError, ModelError
from illume.models.quantizer import ProductVQConfig, SimVQConfig, VQConfig
from illume.models.tokenizer import LevelConfig, TokenizerConfig, VisionTokenizer, grid_positions, normalised
from illume.models.vision_encoder import EncoderConfig, Tap, build_encoder

ENCODER = EncoderConfig(image_size=16, patch=4, width=8, layers=2, heads=2, hidden=16, taps=(Tap(merge=2), Tap(1)))
GROUP = VQConfig(num_codes=3, dim=2, reservoir=16)
CONFIG = TokenizerConfig(
    levels=(
        LevelConfig(VQConfig(num_codes=12, dim=4, reservoir=64), width=8, heads=2, hidden=16),
        LevelConfig(ProductVQConfig(groups=(GROUP, GROUP)), width=12, heads=3, hidden=24, blocks_in=0),
    )
)


@pytest.fixture
def tokenizer() -> VisionTokenizer:
    torch.manual_seed(0)
    return VisionTokenizer(CONFIG, build_encoder(ENCODER))


def pixels(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_a_config_survives_the_round_trip() -> None:
    assert from_dict(TokenizerConfig, to_dict(CONFIG)) == CONFIG


def test_two_unequal_levels_of_an_image_that_is_not_square(tokenizer: VisionTokenizer) -> None:
    codes = tokenizer.encode(pixels(3, 3, 16, 24))
    assert [tuple(level.shape) for level in codes] == [(3, 2, 3), (3, 4, 6)]
    assert tokenizer.grids((16, 24)) == ((2, 3), (4, 6))
    assert tokenizer.num_codes == (12, 9)
    assert all(int(level.max()) < number for level, number in zip(codes, tokenizer.num_codes, strict=True))
    assert [tuple(level.shape) for level in tokenizer.decode(codes)] == [(3, 6, 32), (3, 24, 8)]
    assert [tuple(vectors.shape) for vectors in tokenizer.code_vectors()] == [
        (12, 4),
        (9, 4 + 3 + 3),
    ]  # a product code says which entries it joins, too


def test_everything_but_the_encoder_gets_a_gradient(tokenizer: VisionTokenizer) -> None:
    for name, parameter in tokenizer.named_parameters():
        if not name.startswith("encoder."):
            torch.nn.init.normal_(parameter, std=0.2)
    levels = tokenizer(pixels(2, 3, 16, 16))
    torch.stack(
        [(level.rebuilt - level.target).square().mean() + level.quantizer.loss for level in levels]
    ).sum().backward()
    for name, parameter in tokenizer.named_parameters():
        assert (parameter.grad is None) == name.startswith("encoder."), name


def test_training_leaves_the_encoder_in_evaluation_mode(tokenizer: VisionTokenizer) -> None:
    tokenizer.train()
    assert tokenizer.levels.training
    assert not any(module.training for module in tokenizer.encoder.modules())


def test_targets_are_normalised(tokenizer: VisionTokenizer) -> None:
    for features, _ in tokenizer.targets(pixels(2, 3, 16, 16)):
        torch.testing.assert_close(features.mean(-1), torch.zeros(features.shape[:2]), atol=1e-5, rtol=0)
    features = torch.randn(2, 3, 64)
    torch.testing.assert_close(normalised(features * 7 + 3), normalised(features), atol=1e-3, rtol=0)


def test_each_place_of_a_grid_has_its_own_position() -> None:
    positions = grid_positions((3, 5), torch.zeros(1, 15, 16))
    assert positions.shape == (15, 16)
    assert len(positions.unique(dim=0)) == 15
    by_place = positions.reshape(3, 5, 16)
    assert torch.equal(by_place[0, 2, :8], by_place[0, 4, :8])  # one row
    assert torch.equal(by_place[0, 2, 8:], by_place[2, 2, 8:])  # one column


def test_a_saved_tokenizer_loads_as_it_was(tokenizer: VisionTokenizer, tmp_path: Path) -> None:
    for step in range(1, 3):
        tokenizer(pixels(2, 3, 16, 16))
        tokenizer.after_step(step, 2)
    tokenizer.eval().save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    again = VisionTokenizer.load(tmp_path)
    assert again.config == CONFIG
    assert not any(parameter.requires_grad for parameter in again.encoder.parameters())
    for one, other in zip(tokenizer.encode(pixels(2, 3, 16, 16)), again.encode(pixels(2, 3, 16, 16)), strict=True):
        assert torch.equal(one, other)


def test_a_folder_that_does_not_fit_is_refused(tokenizer: VisionTokenizer, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        VisionTokenizer.load(tmp_path / "nowhere")
    tokenizer.save(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(written | {"format_version": 99}))
    with pytest.raises(ModelError, match="format_version 99"):
        VisionTokenizer.load(tmp_path)
    written["tokenizer"]["levels"][0]["blocks_out"] = 3
    (tmp_path / "config.json").write_text(json.dumps(written))
    with pytest.raises(ModelError, match=r"disagree about levels\.0\.blocks_out\.2"):
        VisionTokenizer.load(tmp_path)


def test_levels_and_outputs_must_agree(tokenizer: VisionTokenizer) -> None:
    with pytest.raises(ModelError, match="1 levels for an encoder with 2 outputs"):
        VisionTokenizer(TokenizerConfig(), build_encoder(ENCODER))
    with pytest.raises(ModelError, match="1 grids of codes for 2 levels"):
        tokenizer.decode(tokenizer.encode(pixels(1, 3, 16, 16))[:1])
    with pytest.raises(ConfigError, match="multiple of 4"):
        from_dict(LevelConfig, {"width": 6})


def test_any_quantiser_fits_a_level() -> None:
    simvq = LevelConfig(SimVQConfig(num_codes=7, dim=3), width=8, heads=2, hidden=16)
    encoder = build_encoder(EncoderConfig(image_size=8, patch=4, width=8, layers=1, heads=2, hidden=8))
    tokenizer = VisionTokenizer(TokenizerConfig((simvq,)), encoder)
    assert tokenizer.num_codes == (7,)
    assert tokenizer.encode(pixels(1, 3, 8, 8))[0].shape == (1, 2, 2)
