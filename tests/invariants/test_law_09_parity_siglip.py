"""Law 9, our SigLIP: transformers reads its configuration and weights, no key unused, and gives the same features."""

import pytest
import torch
from torch import Tensor
from transformers import SiglipVisionConfig, SiglipVisionModel

from illume.core.errors import ModelError
from illume.models.siglip import SiglipShape, SiglipVision, plain_shape, shape_of

SHAPE = SiglipShape(16, 4, 16, 24, 3, 2)
SQUARE, WIDE = (16, 16), (16, 24)


def network(shape: SiglipShape = SHAPE) -> SiglipVision:
    """No zeros or ones where a mistake would hide."""
    torch.manual_seed(0)
    made = SiglipVision(shape).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def theirs(ours: SiglipVision) -> SiglipVisionModel:
    model = SiglipVisionModel(SiglipVisionConfig(**_arguments(ours.config)))
    model.load_state_dict(ours.state_dict(), strict=True)
    return model.eval()


@torch.no_grad()
def check_parity(ours: SiglipVision, reference: SiglipVisionModel, size: tuple[int, int] = SQUARE) -> None:
    """Measured: 2e-6 on features of size 5."""
    pixels = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    expected = reference(pixel_values=pixels, output_hidden_states=True, interpolate_pos_encoding=size != SQUARE)
    found = ours(pixels)

    def check(one: Tensor, other: Tensor) -> None:
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)

    check(found.last_hidden_state, expected.last_hidden_state)
    for one, other in zip(found.hidden_states, expected.hidden_states, strict=True):
        check(one, other)


@pytest.mark.parametrize("size", [SQUARE, WIDE])
@pytest.mark.parametrize("act", ["gelu_pytorch_tanh", "gelu"])
def test_our_siglip_is_theirs(act: str, size: tuple[int, int]) -> None:
    ours = network(SiglipShape(16, 4, 16, 24, 3, 2, hidden_act=act))
    check_parity(ours, theirs(ours), size)


@pytest.mark.parametrize("broken", ["scale", "places", "gelu"])
def test_the_parity_check_catches(broken: str) -> None:
    ours = network()
    reference = theirs(ours)
    layer = ours.encoder.layers[0]
    if broken == "scale":
        layer.self_attn.q_proj.weight.data *= 1.01
    elif broken == "places":
        ours.embeddings.position_embedding.weight.data = ours.embeddings.position_embedding.weight.flip(0)
    else:
        layer.mlp.approximation = "none"
    with pytest.raises(AssertionError):
        check_parity(ours, reference)


def test_a_shape_comes_back_from_a_configuration_of_theirs() -> None:
    assert shape_of(plain_shape(SHAPE)) == SHAPE
    assert shape_of(theirs(network()).config.to_dict()) == SHAPE


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(ModelError, match="'relu' is not known"):
        shape_of(plain_shape(SHAPE) | {"hidden_act": "relu"})
    with pytest.raises(ModelError, match="without 'patch_size'"):
        shape_of({key: value for key, value in plain_shape(SHAPE).items() if key != "patch_size"})
    with pytest.raises(ModelError, match="attention_dropout"):
        shape_of(plain_shape(SHAPE) | {"attention_dropout": 0.1})
    with pytest.raises(ModelError, match="not a multiple of 3 heads"):
        SiglipShape(16, 4, 16, 24, 3, 3)


def test_it_starts_as_theirs_does_but_for_layers_that_are_the_identity() -> None:
    """The deviations of weights at the start, where they are not zero."""
    torch.manual_seed(0)
    wide = SiglipShape(64, 8, 128, 256, 2, 4)
    ours, reference = SiglipVision(wide), SiglipVisionModel(SiglipVisionConfig(**_arguments(wide)))
    silent = ("out_proj", "fc2", "bias")
    for (name, one), (_, other) in zip(sorted(_weights(ours)), sorted(_weights(reference)), strict=True):
        if any(word in name for word in silent):
            assert not one.any(), name
        else:
            assert float(one.std()) == pytest.approx(float(other.std()), rel=0.05, abs=1e-6), name


def _arguments(shape: SiglipShape) -> dict[str, object]:
    return {key: value for key, value in plain_shape(shape).items() if key != "model_type"}


def _weights(module: torch.nn.Module) -> list[tuple[str, Tensor]]:
    return [(name, value.detach()) for name, value in module.named_parameters() if "norm" not in name]
