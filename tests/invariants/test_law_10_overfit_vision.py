"""Law 10, vision: each objective drives four samples to near-zero loss (the pixel decoder with fixed noise)."""

import pytest
import torch
from torch import nn

from illume.data.collate import ImageBatch
from illume.models.convolutional import ConvolutionalDecoderConfig, ConvolutionalPixelDecoder
from illume.models.pixel_decoder import DiffusionDecoderConfig, DiffusionPixelDecoder
from illume.models.quantizer import ProductVQConfig, QuantizerConfig, QuantizerLoss, SimVQConfig, VQConfig
from illume.models.reconstruction import ReconstructionConfig, ReconstructionTokenizer
from illume.models.tokenizer import LevelConfig, TokenizerConfig, VisionTokenizer
from illume.models.vision_encoder import EncoderConfig, VisionEncoder, build_encoder
from illume.train.encoder_objective import ContrastConfig, EncoderObjective
from illume.train.objective import HasAfterStep, Objective
from illume.train.pixel_objective import PixelObjective
from illume.train.reconstruction_objective import ReconstructionObjective
from illume.train.tokenizer_objective import TokenizerObjective

GROUP = VQConfig(num_codes=8, dim=4, reservoir=64, revive_every=5)
QUANTIZERS: dict[str, QuantizerConfig] = {
    "vq": VQConfig(num_codes=32, dim=8, reservoir=64, revive_every=5),
    "product": ProductVQConfig(groups=(GROUP, GROUP)),
    "simvq": SimVQConfig(num_codes=64, dim=8),
}


def four() -> ImageBatch:
    """Four images of 2x2 flat patches."""
    colours = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(5)) * 2 - 1
    pixels = colours.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    return ImageBatch(pixels, ("a", "b", "ab", "ba"), tuple("0123"))


def encoder() -> VisionEncoder:
    torch.manual_seed(0)
    return build_encoder(EncoderConfig(image_size=8, patch=4, width=32, layers=2, heads=2, hidden=64))


def tokenizer(quantizer: QuantizerConfig) -> VisionTokenizer:
    return VisionTokenizer(TokenizerConfig((LevelConfig(quantizer, width=32, heads=2, hidden=64),)), encoder())


def final_loss(objective: Objective, steps: int, rate: float = 5e-3) -> float:
    parameters = [p for module in objective.modules().values() for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=rate)
    value = float("inf")
    for step in range(1, steps + 1):
        optimizer.param_groups[0]["lr"] = rate * min(1.0, 3 * (1 - step / (steps + 1)))
        loss = objective.loss(four()).value
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if isinstance(objective, HasAfterStep):
            objective.after_step(step)
        value = float(loss.detach())
    return value


def check_overfits(objective: Objective, steps: int, limit: float) -> None:
    assert final_loss(objective, steps) < limit


def encoder_objective() -> EncoderObjective:
    config = ContrastConfig(text_size=2, context=4, width=16, heads=2, hidden=32, dim=16)
    return EncoderObjective(encoder(), config, lambda caption: ["ab".index(letter) for letter in caption])


def fixed_noise_objective() -> PixelObjective:
    config = DiffusionDecoderConfig(channels=(32,), condition=8, cells=2, groups=4, drop=0.0)
    objective = PixelObjective(DiffusionPixelDecoder(config, (32,)), tokenizer(QUANTIZERS["vq"]))
    objective.after_step = lambda step: None  # type: ignore[method-assign]  # the step keys the noise
    return objective


def test_the_encoder_overfits() -> None:
    check_overfits(encoder_objective(), 200, 0.06)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_the_tokenizer_overfits(name: str) -> None:
    check_overfits(TokenizerObjective(tokenizer(QUANTIZERS[name]), 120), 120, 0.05)


def test_the_pixel_decoder_overfits() -> None:
    check_overfits(fixed_noise_objective(), 120, 0.02)


def painted(quantizer: QuantizerConfig, steps: int) -> ReconstructionObjective:
    """A reconstruction tokenizer with the decoder that is trained with it."""
    torch.manual_seed(0)
    network = ConvolutionalDecoderConfig(channels=(16, 32), groups=4)
    tokenizer = ReconstructionTokenizer(ReconstructionConfig(quantizer=quantizer, network=network))
    return ReconstructionObjective(tokenizer, ConvolutionalPixelDecoder(network, tokenizer.dims), steps)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_the_reconstruction_tokenizer_overfits(name: str) -> None:
    check_overfits(painted(QUANTIZERS[name], 150), 150, 0.08)


def test_the_check_catches_a_gradient_that_stops_at_the_codes() -> None:
    objective = painted(QUANTIZERS["simvq"], 60)
    loss = objective.tokenizer.quantizer.loss

    def stopped(features: torch.Tensor) -> QuantizerLoss:
        found = loss(features)
        return found._replace(quantised=found.quantised.detach(), loss=found.loss.detach() * 0)

    objective.tokenizer.quantizer.loss = stopped  # type: ignore[method-assign]
    objective.tokenizer.network.requires_grad_(False)
    nn.init.zeros_(objective.tokenizer.network.layers[1].weight)
    with pytest.raises(AssertionError):
        check_overfits(objective, 60, 0.08)


def test_the_convolutional_decoder_overfits_to_features() -> None:
    network = ConvolutionalDecoderConfig(channels=(16, 32), groups=4)
    objective = PixelObjective(ConvolutionalPixelDecoder(network, (32,)), tokenizer(QUANTIZERS["vq"]))
    check_overfits(objective, 120, 0.05)


def test_the_check_catches_an_encoder_whose_text_is_hidden() -> None:
    objective = encoder_objective()
    objective.tokenize = lambda caption: [0]
    objective.contrast.from_image.requires_grad_(False)
    nn.init.zeros_(objective.contrast.from_image.weight)
    with pytest.raises(AssertionError):
        check_overfits(objective, 100, 0.06)


def test_the_check_catches_a_codebook_that_collapsed() -> None:
    objective = TokenizerObjective(tokenizer(VQConfig(num_codes=1, dim=8, reservoir=64)), 60)
    with pytest.raises(AssertionError):
        check_overfits(objective, 60, 0.05)


def test_the_check_catches_a_pixel_decoder_that_cannot_see() -> None:
    objective = fixed_noise_objective()
    nn.init.zeros_(objective.decoder.unet.conv_out.weight)
    objective.decoder.unet.conv_out.requires_grad_(False)
    with pytest.raises(AssertionError):
        check_overfits(objective, 50, 0.02)
