"""Law 9, vision encoder: the adapter's features are transformers' own, without the leading tokens; a spec and the
weights make the same module again, no key unused."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

from illume.core.errors import ModelError
from illume.models.vision_encoder import (
    PretrainedEncoderConfig,
    Tap,
    VisionEncoder,
    build_encoder,
    encoder_from_spec,
)

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
}
DINO = {key: value for key, value in SIZES.items() if key != "intermediate_size"} | {"mlp_ratio": 2}
MEAN, STD = (0.48, 0.45, 0.40), (0.27, 0.26, 0.28)
# model class, configuration class, sizes, leading tokens that are no patch
MODELS = {
    "siglip": ("SiglipVisionModel", "SiglipVisionConfig", SIZES, 0),
    "clip": ("CLIPVisionModel", "CLIPVisionConfig", SIZES, 1),
    "dinov2": ("Dinov2Model", "Dinov2Config", DINO, 1),
    "dinov2 with registers": ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", DINO, 5),
}


def reference_model(name: str) -> tuple[PreTrainedModel, int]:
    model, config, sizes, leading = MODELS[name]
    torch.manual_seed(0)
    built = getattr(transformers, model)(getattr(transformers, config)(**sizes))
    for parameter in built.parameters():  # no zeros or ones where a mistake would hide
        torch.nn.init.normal_(parameter, std=0.3)
    return built.eval(), leading


def saved(model: PreTrainedModel, folder: Path) -> PretrainedEncoderConfig:
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN, "image_std": STD}))
    return PretrainedEncoderConfig(name=str(folder), taps=(Tap(), Tap(layer=-2)))


def expected(model: PreTrainedModel, leading: int, pixels: Tensor, layer: int) -> Tensor:
    """Written out once more, from [-1, 1] to the patches' features."""
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    output = model(pixel_values=((pixels + 1) / 2 - mean) / std, output_hidden_states=True)
    hidden = output.last_hidden_state if layer == -1 else output.hidden_states[layer]
    return hidden[:, leading:]


def check_parity(encoder: VisionEncoder, model: PreTrainedModel, leading: int) -> None:
    """Measured: 2e-6, from attention written out here and fused there."""
    pixels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        for tap, (features, grid) in zip(encoder.taps, encoder(pixels), strict=True):
            assert grid == (4, 4)
            torch.testing.assert_close(features, expected(model, leading, pixels, tap.layer), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_the_adapter_agrees_with_transformers(name: str, tmp_path: Path) -> None:
    model, leading = reference_model(name)
    check_parity(build_encoder(saved(model, tmp_path)).eval(), model, leading)


def test_the_vision_half_of_a_two_tower_model_is_found(tmp_path: Path) -> None:
    torch.manual_seed(0)
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.SiglipConfig(text_config=text | {"vocab_size": 8}, vision_config=SIZES)
    whole = transformers.SiglipModel(config).eval()
    check_parity(build_encoder(saved(whole, tmp_path)).eval(), whole.vision_model, 0)


@pytest.mark.parametrize("name", MODELS)
def test_spec_and_weights_make_the_module_again(name: str, tmp_path: Path) -> None:
    model, leading = reference_model(name)
    encoder = build_encoder(saved(model, tmp_path)).eval()
    again = encoder_from_spec(json.loads(json.dumps(encoder.spec()))).eval()
    again.load_state_dict(encoder.state_dict(), strict=True)
    assert again.spec() == encoder.spec()
    check_parity(again, model, leading)


@pytest.mark.parametrize("broken", ["statistics", "tap"])
def test_the_parity_check_catches(broken: str, tmp_path: Path) -> None:
    model, leading = reference_model("clip")
    encoder = build_encoder(saved(model, tmp_path)).eval()
    if broken == "statistics":
        encoder.shift.zero_()
    else:
        encoder.taps = (Tap(layer=-1), Tap(layer=-1))
        model.config.output_hidden_states = True
        leading = 0
    with pytest.raises(AssertionError):
        check_parity(encoder, model, leading)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    transformers.BertConfig(hidden_size=16).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="bert"):
        build_encoder(PretrainedEncoderConfig(name=str(tmp_path)))
