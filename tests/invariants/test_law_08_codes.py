"""Law 8: codes -> features -> codes is the identity at every quantiser, after training as before; and a tokenizer's two
halves are those of its training pass: what it rebuilds of an image is what `decode(encode(image))` gives."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from illume.models.convolutional import ConvolutionalDecoderConfig
from illume.models.quantizer import (
    VQ,
    ProductVQConfig,
    Quantizer,
    QuantizerConfig,
    SimVQConfig,
    VQConfig,
    build_quantizer,
    to_levels,
)
from illume.models.reconstruction import ReconstructionConfig, ReconstructionTokenizer
from illume.models.tokenizer import LevelConfig, TokenizerConfig, VisionTokenizer
from illume.models.vision_encoder import EncoderConfig, Tap, build_encoder

CONFIGS: dict[str, QuantizerConfig] = {
    "vq": VQConfig(num_codes=24, dim=5, reservoir=64, revive_every=2),
    "vq in L2": VQConfig(num_codes=24, dim=5, unit_norm=False, reservoir=64, revive_every=2),
    "product": ProductVQConfig(groups=(VQConfig(num_codes=4, dim=3), VQConfig(num_codes=5, dim=2))),
    "simvq": SimVQConfig(num_codes=24, dim=5),
}


def check_identity(quantizer: Quantizer) -> None:
    codes = torch.arange(quantizer.num_codes).reshape(2, -1)
    assert torch.equal(quantizer.encode(quantizer.decode(codes)), codes)


def check_halves(tokenizer: VisionTokenizer, pixels: Tensor) -> None:
    """The same arithmetic on the same numbers, hence equality to the bit."""
    codes = tokenizer.encode(pixels)
    for found, rebuilt, level in zip(codes, tokenizer.decode(codes), tokenizer(pixels), strict=True):
        assert torch.equal(found.flatten(1), level.quantizer.codes)
        assert torch.equal(rebuilt, level.rebuilt)


def few_features(dim: int) -> Tensor:
    """Features as flat pictures give them: most of them equal, which is what makes twins of codes."""
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(40, dim, generator=generator)
    return torch.cat([features, features[:1].expand(24, -1)]).reshape(4, 16, dim)


def trained(config: QuantizerConfig) -> Quantizer:
    quantizer = build_quantizer(config)
    for step in range(1, 21):
        quantizer.loss(few_features(quantizer.dim))
        quantizer.after_step(step, 20)
    return quantizer


@pytest.mark.parametrize("make", [build_quantizer, trained])
@pytest.mark.parametrize("name", CONFIGS)
def test_codes_to_features_to_codes_is_the_identity(name: str, make: Callable[[QuantizerConfig], Quantizer]) -> None:
    check_identity(make(CONFIGS[name]))


def test_the_identity_check_catches_twin_codes() -> None:
    quantizer = build_quantizer(CONFIGS["vq"])
    assert isinstance(quantizer, VQ)
    quantizer.codebook[7] = quantizer.codebook[3]
    with pytest.raises(AssertionError):
        check_identity(quantizer)


def test_the_identity_check_catches_swapped_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    quantizer = build_quantizer(CONFIGS["product"])
    monkeypatch.setattr(
        "illume.models.quantizer.to_levels",
        lambda codes, sizes: tuple(digit.clamp_max(3) for digit in to_levels(codes, sizes)[::-1]),
    )
    with pytest.raises(AssertionError):
        check_identity(quantizer)


def check_halves_of_reconstruction(tokenizer: ReconstructionTokenizer, pixels: Tensor) -> None:
    (codes,), passed = tokenizer.encode(pixels), tokenizer(pixels)
    assert torch.equal(codes.flatten(1), passed.codes)
    assert torch.equal(tokenizer.decode((codes,))[0], passed.quantised)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_reconstruction_tokenizer_gives_back_what_its_training_pass_gives(name: str) -> None:
    tokenizer = reconstruction(CONFIGS[name])
    with torch.no_grad():
        check_halves_of_reconstruction(tokenizer, torch.rand(3, 3, 8, 12) * 2 - 1)


def test_the_check_catches_a_reconstruction_tokenizer_that_reads_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    encode = ReconstructionTokenizer.encode
    monkeypatch.setattr(ReconstructionTokenizer, "encode", lambda self, x: tuple(c.mT for c in encode(self, x)))
    with torch.no_grad(), pytest.raises(AssertionError):
        check_halves_of_reconstruction(reconstruction(CONFIGS["vq"]), torch.rand(3, 3, 16, 16) * 2 - 1)


def reconstruction(quantizer: QuantizerConfig) -> ReconstructionTokenizer:
    torch.manual_seed(0)
    network = ConvolutionalDecoderConfig(channels=(8, 16), groups=4)
    tokenizer = ReconstructionTokenizer(ReconstructionConfig(quantizer=quantizer, network=network))
    for step in range(1, 5):
        tokenizer(torch.rand(8, 3, 16, 16) * 2 - 1)
        tokenizer.after_step(step, 4)
    return tokenizer.eval()


@pytest.fixture(scope="module")
def tokenizer() -> VisionTokenizer:
    """Two unequal levels: 2x2 wide features of the end, 4x4 of the middle."""
    torch.manual_seed(0)
    taps = (Tap(merge=2), Tap(layer=1))
    encoder = build_encoder(EncoderConfig(image_size=16, patch=4, width=8, layers=2, heads=2, hidden=16, taps=taps))
    levels = tuple(LevelConfig(CONFIGS[name], width=8, heads=2, hidden=16) for name in ("vq", "product"))
    tokenizer = VisionTokenizer(TokenizerConfig(levels), encoder)
    for step in range(1, 5):
        tokenizer(torch.rand(4, 3, 16, 16) * 2 - 1)
        tokenizer.after_step(step, 4)
    return tokenizer.eval()


def test_a_tokenizer_rebuilds_what_its_training_pass_rebuilds(tokenizer: VisionTokenizer) -> None:
    with torch.no_grad():
        check_halves(tokenizer, torch.rand(3, 3, 16, 16) * 2 - 1)


def test_the_halves_check_catches_a_decoder_without_positions(
    tokenizer: VisionTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = VisionTokenizer.decode
    monkeypatch.setattr(VisionTokenizer, "decode", lambda self, codes: decode(self, tuple(c.mT for c in codes)))
    with torch.no_grad(), pytest.raises(AssertionError):
        check_halves(tokenizer, torch.rand(3, 3, 16, 16) * 2 - 1)
