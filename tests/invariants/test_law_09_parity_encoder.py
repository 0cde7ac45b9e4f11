"""Law 9, vision encoder: the adapter's features are transformers' own, without the leading tokens; a spec and the
weights make the same module again, no key unused."""

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from illume.core.errors import ModelError
from illume.models import qwen_vision
from illume.models.pretrained_vision import vision_model
from illume.models.vision_encoder import (
    PretrainedEncoderConfig,
    Tap,
    VisionEncoder,
    build_encoder,
    encoder_from_spec,
    merged,
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
SQUARE, WIDE = (16, 16), (16, 24)
LAYERS = (-1, -2, 0)


@dataclass(frozen=True)
class Published:
    """A model type of transformers: its configuration class, tiny sizes, leading tokens that are no patch."""

    config: str
    sizes: dict[str, Any]
    leading: int


MODELS = {
    "siglip_vision_model": Published("SiglipVisionConfig", SIZES, 0),
    "clip_vision_model": Published("CLIPVisionConfig", SIZES, 1),
    "dinov2": Published("Dinov2Config", DINO, 1),
    "dinov2_with_registers": Published("Dinov2WithRegistersConfig", DINO, 5),
    "dinov3_vit": Published("DINOv3ViTConfig", SIZES | {"num_register_tokens": 4}, 5),
}


def reference_model(name: str) -> PreTrainedModel:
    published = MODELS[name]
    return awake(vision_model(name, "here")(getattr(transformers, published.config)(**published.sizes)))


def awake(model: PreTrainedModel) -> PreTrainedModel:
    torch.manual_seed(0)
    for parameter in model.parameters():  # no zeros or ones where a mistake would hide
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def saved(model: PreTrainedModel, folder: Path, *taps: Tap) -> PretrainedEncoderConfig:
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN, "image_std": STD}))
    return PretrainedEncoderConfig(name=str(folder), taps=taps or tuple(Tap(layer=layer) for layer in LAYERS))


def picture(size: tuple[int, int]) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def normalised(pixels: Tensor) -> Tensor:
    """Written out once more, from [-1, 1]."""
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    return ((pixels + 1) / 2 - mean) / std


def expected(model: PreTrainedModel, leading: int, pixels: Tensor, layer: int) -> Tensor:
    """The patches' features, by the model itself."""
    asks = {"interpolate_pos_encoding": True} if "clip" in model.config.model_type or leading == 0 else {}
    asks = asks if pixels.shape[2:] != SQUARE else {}
    output = model(pixel_values=normalised(pixels), output_hidden_states=True, **asks)
    hidden = output.last_hidden_state if layer == -1 else output.hidden_states[layer]
    return hidden[:, leading:]


def check_parity(encoder: VisionEncoder, model: PreTrainedModel, leading: int, size: tuple[int, int] = SQUARE) -> None:
    """Measured: 1.2e-6 on features of size 8, from attention written out here and fused there."""
    pixels = picture(size)
    with torch.no_grad():
        for layer, (features, grid) in zip(LAYERS, encoder(pixels), strict=True):
            assert grid == (size[0] // 4, size[1] // 4)
            torch.testing.assert_close(features, expected(model, leading, pixels, layer), atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("size", [SQUARE, WIDE])
@pytest.mark.parametrize("name", MODELS)
def test_the_adapter_agrees_with_transformers(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    model = reference_model(name)
    check_parity(build_encoder(saved(model, tmp_path)).eval(), model, MODELS[name].leading, size)


@pytest.mark.parametrize("family", ["Siglip", "CLIP"])
def test_the_vision_half_of_a_two_tower_model_is_found(family: str, tmp_path: Path) -> None:
    """SigLIP 2 of a fixed resolution is published so too, as SigLIP."""
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = getattr(transformers, f"{family}Config")(text_config=text | {"vocab_size": 8}, vision_config=SIZES)
    whole = awake(getattr(transformers, f"{family}Model")(config))
    check_parity(build_encoder(saved(whole, tmp_path)).eval(), whole.vision_model, 0 if family == "Siglip" else 1)


@pytest.mark.parametrize("name", MODELS)
def test_spec_and_weights_make_the_module_again(name: str, tmp_path: Path) -> None:
    model = reference_model(name)
    encoder = build_encoder(saved(model, tmp_path)).eval()
    again = encoder_from_spec(json.loads(json.dumps(encoder.spec()))).eval()
    again.load_state_dict(encoder.state_dict(), strict=True)
    assert again.spec() == encoder.spec()
    check_parity(again, model, MODELS[name].leading)


@pytest.mark.parametrize("broken", ["statistics", "tap", "class token kept"])
def test_the_parity_check_catches(broken: str, tmp_path: Path) -> None:
    model, leading = reference_model("clip_vision_model"), 1
    encoder = build_encoder(saved(model, tmp_path)).eval()
    if broken == "statistics":
        encoder.shift.zero_()
    elif broken == "tap":
        encoder.taps = (Tap(layer=-1), Tap(layer=-1), Tap(layer=0))
    else:
        leading = 0
    with pytest.raises(AssertionError):
        check_parity(encoder, model, leading)


# Qwen's vision transformers: patches in cells of 2 x 2, and in Qwen2.5-VL cells in windows (here of 2 x 2 cells).
QWEN_SIZES: dict[str, dict[str, Any]] = {
    "qwen2_vl": {"depth": 2, "embed_dim": 16, "hidden_size": 24, "num_heads": 2, "patch_size": 4, "mlp_ratio": 2},
    "qwen2_5_vl": {
        "depth": 3, "hidden_size": 16, "out_hidden_size": 24, "intermediate_size": 32, "num_heads": 2,
        "patch_size": 4, "window_size": 16, "fullatt_block_indexes": [1],
    },
}  # fmt: skip
LONG = (40, 24)  # 5 x 3 cells, so 3 x 2 windows, some of them cut
QWEN_TAPS = (Tap(), Tap(merge="model"), Tap(merge=2), Tap(layer=1))


def whole_qwen(name: str) -> PreTrainedModel:
    text = {
        "hidden_size": 24, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2, "vocab_size": 8, "bos_token_id": 0, "eos_token_id": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]},
    }  # fmt: skip
    family = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL"}[name]
    special = {"image_token_id": 5, "video_token_id": 6, "vision_start_token_id": 3, "vision_end_token_id": 4}
    config = getattr(transformers, f"{family}Config")(text_config=text, vision_config=QWEN_SIZES[name], **special)
    return awake(getattr(transformers, f"{family}ForConditionalGeneration")(config))


def their_patches(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Patches and grids as their own image processor makes them of one picture a row."""
    module = import_module("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    processor = module.Qwen2VLImageProcessorPil(
        do_resize=False, image_mean=MEAN, image_std=STD, patch_size=4, temporal_patch_size=2, merge_size=2
    )
    bytes_ = ((pixels + 1) * 127.5).round().to(torch.uint8)
    made = processor(images=list(bytes_.numpy()), input_data_format="channels_first", return_tensors="pt")
    return made["pixel_values"], made["image_grid_thw"]


def in_bytes(size: tuple[int, int]) -> Tensor:
    return ((picture(size) + 1) * 127.5).round() / 127.5 - 1


def check_qwen_parity(encoder: VisionEncoder, visual: PreTrainedModel, size: tuple[int, int]) -> None:
    """What the model's merger gives is theirs, from their own processor's patches; measured: 1.5e-6 on sizes of 8.

    Patches have no row-major order of theirs; so ours, brought back into cells, must give the same when merged again.
    """
    pixels = in_bytes(size)
    with torch.no_grad():
        patches, grids = their_patches(pixels)
        theirs = visual(patches, grids, output_hidden_states=True)
        (plain, grid), (joined, cells), (pairs, _), (_, _) = encoder(pixels)
        assert grid == (size[0] // 4, size[1] // 4)
        assert cells == (size[0] // 8, size[1] // 8)
        ours = rearrange(joined, "b n d -> (b n) d")
        torch.testing.assert_close(ours, theirs.pooler_output, atol=1e-5, rtol=1e-6)
        torch.testing.assert_close(pairs, merged(plain, grid, 2))
        again = visual.merger(rearrange(pairs, "b n (m d) -> (b n m) d", m=4))
        torch.testing.assert_close(again, theirs.pooler_output, atol=1e-5, rtol=1e-6)


def qwen_encoder(name: str, folder: Path, *taps: Tap) -> tuple[VisionEncoder, PreTrainedModel]:
    whole = whole_qwen(name)
    return build_encoder(saved(whole, folder, *(taps or QWEN_TAPS))).eval(), whole.model.visual


@pytest.mark.parametrize("size", [SQUARE, LONG])
@pytest.mark.parametrize("name", QWEN_SIZES)
def test_qwens_vision_transformer_agrees_with_transformers(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    encoder, visual = qwen_encoder(name, tmp_path)
    assert encoder.dims == (16, 24, 64, 16)
    assert encoder.strides == (4, 8, 8, 4)
    check_qwen_parity(encoder, visual, size)


@pytest.mark.parametrize("name", QWEN_SIZES)
def test_qwens_inner_layers_are_theirs(name: str, tmp_path: Path) -> None:
    """Layer 0 is the embedding of the patches alone, whose place is known."""
    encoder, visual = qwen_encoder(name, tmp_path, Tap(layer=0))
    pixels = in_bytes(LONG)
    with torch.no_grad():
        ((features, _),) = encoder(pixels)
        patch = normalised(pixels)[1, :, 12:16, 8:12]
        own = visual.patch_embed(patch[:, None].expand(-1, 2, -1, -1).reshape(1, -1))
    torch.testing.assert_close(features[1, 3 * 6 + 2], own[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", QWEN_SIZES)
def test_qwens_spec_and_weights_make_the_module_again(name: str, tmp_path: Path) -> None:
    encoder, visual = qwen_encoder(name, tmp_path)
    again = encoder_from_spec(json.loads(json.dumps(encoder.spec()))).eval()
    again.load_state_dict(encoder.state_dict(), strict=True)
    assert again.spec() == encoder.spec()
    check_qwen_parity(again, visual, LONG)


def test_a_merger_that_nobody_reads_is_left_out(tmp_path: Path) -> None:
    encoder, _ = qwen_encoder("qwen2_5_vl", tmp_path, Tap(), Tap(layer=-2, merge=2))
    assert not [name for name in encoder.state_dict() if "merger" in name]
    assert [grid for _, grid in encoder(picture(SQUARE))] == [(4, 4), (2, 2)]


def test_a_size_that_cuts_a_cell_is_refused(tmp_path: Path) -> None:
    encoder, _ = qwen_encoder("qwen2_vl", tmp_path, Tap())
    with pytest.raises(ModelError, match="20x16 pixels does not divide into strides of 8"):
        encoder.grids((20, 16))


@pytest.mark.parametrize("broken", ["row-major in", "row-major out", "windows forgotten"])
def test_the_parity_check_catches_another_order(broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, visual = qwen_encoder("qwen2_5_vl", tmp_path)
    order, calls = qwen_vision.patch_order, []

    def wrong(grid: tuple[int, int], merge: int, window: int | None = None) -> Tensor:
        calls.append(window)
        if broken == "windows forgotten":
            return order(grid, merge)
        plain = torch.arange(grid[0] * grid[1])
        return plain if (window is None) == (broken == "row-major in") else order(grid, merge, window)

    monkeypatch.setattr(qwen_vision, "patch_order", wrong)
    with pytest.raises(AssertionError):
        check_qwen_parity(encoder, visual, LONG)
    assert calls


@pytest.mark.parametrize("config", [transformers.BertConfig(hidden_size=16), transformers.Siglip2VisionConfig()])
def test_a_model_of_another_kind_is_refused(config: transformers.PretrainedConfig, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=rf"{config.model_type}'; the vision models read here are clip"):
        build_encoder(PretrainedEncoderConfig(name=str(tmp_path)))


def test_only_qwen_has_a_merger(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'clip_vision_model' has no merger"):
        build_encoder(saved(reference_model("clip_vision_model"), tmp_path, Tap(merge="model")))
    with pytest.raises(ValueError, match="last layer"):
        Tap(layer=-2, merge="model")


def test_missing_weights_and_statistics_are_told(tmp_path: Path) -> None:
    config = saved(reference_model("dinov2"), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    lacking = tensors.pop("layernorm.weight")
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights of a 'dinov2': layernorm\.weight"):
        build_encoder(config)
    save_file(tensors | {"layernorm.weight": lacking}, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match="how its pixels are normalised"):
        build_encoder(config)
    plain = {"image_processor": {"image_mean": MEAN, "image_std": STD}}  # as processors are saved since transformers 5
    (tmp_path / "processor_config.json").write_text(json.dumps(plain))
    assert build_encoder(config).pixels.mean == MEAN
