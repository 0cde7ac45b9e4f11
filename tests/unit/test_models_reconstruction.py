"""The reconstruction tokenizer and its convolutional painter: shapes, gradients, folders, errors."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from illume.core.config import from_dict, override, to_dict
from illume.core.errors import ConfigError, ModelError
from illume.models.convolutional import ConvolutionalDecoderConfig, ConvolutionalPixelDecoder, ResidualBlock
from illume.models.painting import build_pixel_decoder, load_pixel_decoder
from illume.models.quantizer import ProductVQConfig, SimVQConfig, VQConfig
from illume.models.reconstruction import ReconstructionConfig, ReconstructionTokenizer
from illume.models.tokenizer import LevelConfig, TokenizerConfig, VisionTokenizer
from illume.models.tokenizing import build_tokenizer, load_tokenizer, stored_grids
from illume.models.vision_encoder import EncoderConfig, build_encoder
from illume.recipes.catalog import resolve

GROUP = VQConfig(num_codes=3, dim=2, reservoir=16)
NETWORK = ConvolutionalDecoderConfig(channels=(4, 8), groups=2)
CONFIG = ReconstructionConfig(quantizer=ProductVQConfig(groups=(GROUP, GROUP)), network=NETWORK)
ENCODER = EncoderConfig(image_size=8, patch=4, width=8, layers=1, heads=2, hidden=8)


@pytest.fixture
def tokenizer() -> ReconstructionTokenizer:
    torch.manual_seed(0)
    return ReconstructionTokenizer(CONFIG)


@pytest.fixture
def decoder(tokenizer: ReconstructionTokenizer) -> ConvolutionalPixelDecoder:
    made = build_pixel_decoder(NETWORK, tokenizer.dims)
    assert isinstance(made, ConvolutionalPixelDecoder)
    return made


def pixels(rows: int = 2, size: tuple[int, int] = (8, 12)) -> Tensor:
    return torch.rand(rows, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_codes_stand_on_squares_of_the_stride(tokenizer: ReconstructionTokenizer) -> None:
    (codes,) = tokenizer.encode(pixels())
    assert (tuple(codes.shape), tokenizer.grids((8, 12)), tokenizer.strides) == ((2, 2, 3), ((2, 3),), (4,))
    assert (tokenizer.num_codes, tokenizer.dims) == ((9,), (4,))
    assert [tuple(level.shape) for level in tokenizer.decode((codes,))] == [(2, 6, 4)]
    assert tokenizer.code_vectors()[0].shape[0] == 9


def test_a_code_sees_where_it_stands(tokenizer: ReconstructionTokenizer) -> None:
    """Row-major: what changes in the lower right corner of an image changes the last vector, and not the first."""
    torch.nn.init.normal_(tokenizer.network.layers[1].weight)
    one, other = pixels(size=(32, 32)), pixels(size=(32, 32))
    other[:, :, -4:, -4:] = 1
    changed = (tokenizer.vectors(one) - tokenizer.vectors(other)).abs().amax(-1)[0]
    assert changed[-1] > 10 * changed[0]


def test_everything_learns_from_the_pixels(
    tokenizer: ReconstructionTokenizer, decoder: ConvolutionalPixelDecoder
) -> None:
    for module in (*tokenizer.modules(), *decoder.modules()):
        if isinstance(module, ResidualBlock):
            torch.nn.init.normal_(module.layers[-1].weight)  # it starts as the identity
    found = decoder((tokenizer(pixels()).quantised,), (8, 12))
    (found - pixels()).square().mean().backward()
    parameters = [*tokenizer.named_parameters(), *decoder.named_parameters()]
    assert [name for name, parameter in parameters if parameter.grad is None] == []


def test_painting_is_one_pass_without_chance(
    tokenizer: ReconstructionTokenizer, decoder: ConvolutionalPixelDecoder
) -> None:
    features = tokenizer.decode(tokenizer.encode(pixels()))
    one, other = (decoder.draw(features, (8, 12), 1, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert one.shape == (2, 3, 8, 12)
    assert torch.equal(one, other)
    assert decoder.steps == 1
    for steps, guidance in ((2, 1.0), (1, 1.5)):
        with pytest.raises(ModelError, match="in one pass, without guidance"):
            decoder.draw(features, (8, 12), steps, None, guidance)


def test_the_painter_takes_levels_of_any_grid() -> None:
    decoder = ConvolutionalPixelDecoder(NETWORK, (4, 5))
    features = (torch.zeros(1, 4, 4), torch.zeros(1, 16, 5))
    assert decoder.draw(features, (16, 16), 1, None).shape == (1, 3, 16, 16)
    with pytest.raises(ModelError, match="features of 1 levels for a pixel decoder of 2"):
        decoder.draw(features[:1], (16, 16), 1, None)
    with pytest.raises(ModelError, match="18x18 pixels do not divide into squares of 4 pixels"):
        decoder.draw(features, (18, 18), 1, None)


def test_saved_they_are_as_they_were(
    tokenizer: ReconstructionTokenizer, decoder: ConvolutionalPixelDecoder, tmp_path: Path
) -> None:
    for step in (1, 2):
        tokenizer(pixels())
        tokenizer.after_step(step, 2)
    tokenizer.eval().save(tmp_path / "tokenizer")
    decoder.save(tmp_path / "decoder")
    assert (
        sorted(path.name for path in tmp_path.rglob("*.*"))
        == ["config.json", "config.json"] + ["model.safetensors"] * 2
    )
    again, painter = load_tokenizer(tmp_path / "tokenizer"), load_pixel_decoder(tmp_path / "decoder")
    assert (type(again), again.config) == (ReconstructionTokenizer, CONFIG)
    codes = tokenizer.encode(pixels())
    assert torch.equal(again.encode(pixels())[0], codes[0])
    features = tokenizer.decode(codes)
    assert torch.equal(painter.draw(features, (8, 12), 1, None), decoder.draw(features, (8, 12), 1, None))
    assert stored_grids(tmp_path / "tokenizer", (8, 12)) == ((2, 3),)


def test_a_folder_says_which_tokenizer_it_holds(tmp_path: Path) -> None:
    """One of features says no kind: folders from before there was a choice are read as they were written."""
    level = LevelConfig(SimVQConfig(num_codes=7, dim=3), width=8, heads=2, hidden=16)
    made = build_tokenizer(TokenizerConfig((level,)), build_encoder(ENCODER))
    made.save(tmp_path)
    assert "kind" not in json.loads((tmp_path / "config.json").read_text())["tokenizer"]
    assert isinstance(load_tokenizer(tmp_path), VisionTokenizer)
    assert stored_grids(tmp_path, (8, 16)) == ((2, 4),)


def test_a_folder_that_does_not_fit_is_refused(
    tokenizer: ReconstructionTokenizer, decoder: ConvolutionalPixelDecoder, tmp_path: Path
) -> None:
    tokenizer.save(tmp_path)
    path = tmp_path / "config.json"
    written = path.read_text()
    path.write_text(written.replace('"reconstruction"', '"memory"'))
    with pytest.raises(ModelError, match="of kind 'memory'; known are reconstruction"):
        load_tokenizer(tmp_path)
    path.write_text(written.replace('"layers": 1', '"layers": 2'))
    with pytest.raises(ModelError, match=r"tensors and config\.json disagree"):
        load_tokenizer(tmp_path)
    decoder.save(tmp_path)
    path.write_text(path.read_text().replace('"layers": 1', '"layers": 2'))
    with pytest.raises(ModelError, match=r"tensors and config\.json disagree"):
        load_pixel_decoder(tmp_path)


def test_wrong_sizes_are_named(tokenizer: ReconstructionTokenizer) -> None:
    with pytest.raises(ModelError, match="10x8 pixels does not divide into strides of 4"):
        tokenizer.encode(pixels(size=(10, 8)))
    with pytest.raises(ModelError, match="0 grids of codes for 1 level"):
        tokenizer.decode(())


def test_a_config_survives_the_round_trip() -> None:
    assert from_dict(ReconstructionConfig, to_dict(CONFIG)) == CONFIG


def test_a_recipe_changes_its_tokenizer_by_overrides() -> None:
    """The one way and the other: what belonged to the kind that was replaced is gone."""
    wanted = ["tokenizer.kind=reconstruction", "tokenizer.network.layers=2", "pixel_decoder.kind=convolutional"]
    assert override(resolve("pico"), wanted).tokenizer == ReconstructionConfig(
        network=ConvolutionalDecoderConfig(layers=2)
    )
    with pytest.raises(ConfigError, match=r"trained with what paints it: pixel_decoder\.kind=convolutional"):
        resolve("pico", ["tokenizer.kind=reconstruction"])
    with pytest.raises(ConfigError, match="pixel_stage is missing"):
        resolve("pico", ["pixel_stage=null"])
    with pytest.raises(ConfigError, match=r"tokenizer\.kind: expected one of reconstruction"):
        resolve("pico", ["tokenizer.kind=memory"])
