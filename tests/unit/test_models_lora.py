"""LoRA agrees with peft's own, starts as nothing, merges, survives its folder; what is not done is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from fixtures.peft_adapter.make import SHAPE, fill
from illume.core.config import from_dict, to_dict
from illume.core.errors import ModelError
from illume.models import lora as lora_module
from illume.models.lora import (
    PROJECTIONS,
    LoRAConfig,
    add_lora,
    load_lora,
    lora_layers,
    lora_tensors,
    merge_lora,
    peft_config,
    save_lora,
)
from illume.models.published import load_language_model, published_config, save_language_model
from illume.models.unified import Unified, UnifiedConfig
from illume.models.vision_encoder import EncoderConfig, build_encoder

PEFT = Path(__file__).parent.parent / "fixtures" / "peft_adapter"
TEXT, VISION, CODES = 24, 12, (26, 34)
IDS = torch.arange(TEXT)[None]
ENCODER = EncoderConfig(image_size=8, patch=4, width=8, layers=1, heads=2, hidden=16)


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    model = Qwen2ForCausalLM(Qwen2Config(**SHAPE))
    fill(model)
    model.save_pretrained(folder)
    return folder


def base_model(folder: Path) -> Unified:
    torch.manual_seed(0)
    config = UnifiedConfig(published_config(folder), TEXT, VISION, (CODES,), max_grid=2)
    model = Unified(config, build_encoder(ENCODER))
    load_language_model(folder, model)
    return model.eval()


def awake(model: Unified, **changes: Any) -> Unified:
    """With LoRA that does something, and all that is trained beside it moved."""
    add_lora(model.decoder, LoRAConfig(**{"rank": 3, "alpha": 5.0, **changes}))
    torch.manual_seed(1)
    with torch.no_grad():
        for layer in lora_layers(model.decoder).values():
            layer.lora_B.normal_(std=0.3)
        for part in (model.adapter, model.places):
            for parameter in part.parameters():
                parameter.add_(torch.randn_like(parameter))
        model.embedding.vision.add_(1.0)
        model.head.vision.mul_(2.0)
    return model


@torch.no_grad()
def logits(model: Unified, ids: torch.Tensor = IDS) -> torch.Tensor:
    positions = torch.arange(ids.shape[1]).expand(*ids.shape)
    return model.head.logits(model(ids, positions, places=torch.full((*ids.shape, 3), -1)))


ALL = torch.arange(TEXT + VISION)[None]


def check_agrees_with_peft(folder: Path) -> None:
    """An adapter that peft wrote gives the logits that peft gave; measured: 5e-7 on logits of size 2."""
    model = base_model(folder)
    load_lora(PEFT, model)
    theirs = load_file(PEFT / "logits.safetensors")["logits"]
    torch.testing.assert_close(logits(model)[..., :TEXT], theirs, atol=5e-6, rtol=0)


def test_an_adapter_of_peft_is_read(base_folder: Path) -> None:
    check_agrees_with_peft(base_folder)


@pytest.mark.parametrize("fault", ["scale", "order"])
def test_the_check_catches(base_folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    if fault == "scale":
        monkeypatch.setattr(LoRAConfig, "scale", property(lambda self: self.alpha))
    else:
        monkeypatch.setattr(lora_module, "_FACTORS", ("lora_B", "lora_A"))
        monkeypatch.setattr(lora_module, "check_shapes", lambda *_: None)
        original = lora_module.load_tensors

        def shifted(path: Path) -> dict[str, torch.Tensor]:
            """The layers' factors the other way round."""
            tensors = original(path)
            other = {"layers.0.": "layers.1.", "layers.1.": "layers.0."}
            place = {name: next(o for o in other if o in name) for name in tensors}
            return {name.replace(place[name], other[place[name]]): tensor for name, tensor in tensors.items()}

        monkeypatch.setattr(lora_module, "load_tensors", shifted)
    with pytest.raises(AssertionError):
        check_agrees_with_peft(base_folder)


def test_what_is_written_is_what_peft_writes(base_folder: Path, tmp_path: Path) -> None:
    model = base_model(base_folder)
    load_lora(PEFT, model)
    save_lora(tmp_path / "lora", model)
    ours, theirs = (load_file(folder / "adapter_model.safetensors") for folder in (tmp_path / "lora", PEFT))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    plain, told = (json.loads((folder / "adapter_config.json").read_text()) for folder in (tmp_path / "lora", PEFT))
    plain["target_modules"], told["target_modules"] = sorted(plain["target_modules"]), sorted(told["target_modules"])
    assert {name: told[name] for name in plain} == plain


def test_peft_itself_reads_what_is_written(base_folder: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model = base_model(base_folder)
    awake(model, rank=2, targets=("k_proj", "up_proj"))
    save_lora(tmp_path / "lora", model)
    reference = Qwen2ForCausalLM.from_pretrained(base_folder)
    theirs = peft.PeftModel.from_pretrained(reference, tmp_path / "lora").eval()
    with torch.no_grad():
        torch.testing.assert_close(logits(model)[..., :TEXT], theirs(IDS).logits, atol=5e-6, rtol=0)


def test_it_starts_as_nothing_and_keeps_the_names(base_folder: Path) -> None:
    model = base_model(base_folder)
    before, names = logits(model), set(model.state_dict())
    add_lora(model.decoder, LoRAConfig(rank=3))
    assert torch.equal(logits(model), before)
    added = set(model.state_dict()) - names
    assert names <= set(model.state_dict())
    assert len(added) == 2 * 2 * len(PROJECTIONS)
    assert all(name.startswith("decoder.layers.") and name.endswith((".lora_A", ".lora_B")) for name in added)
    with pytest.raises(ModelError, match="already"):
        add_lora(model.decoder, LoRAConfig())


@pytest.mark.parametrize("targets", [PROJECTIONS, ("q_proj",), ("v_proj", "down_proj")])
def test_merged_it_does_the_same(base_folder: Path, targets: tuple[str, ...]) -> None:
    model = awake(base_model(base_folder), targets=targets)
    names = set(base_model(base_folder).state_dict())
    before = logits(model, ALL)
    merge_lora(model.decoder)
    assert set(model.state_dict()) == names
    assert not lora_layers(model.decoder)
    assert (logits(model, ALL) - before).abs().max() < 2e-5  # on logits of size 6; measured 4e-6
    assert (logits(base_model(base_folder), ALL) - before).abs().max() > 0.1


@pytest.mark.parametrize("encoder", [False, True])
def test_saved_and_loaded_it_is_the_same(base_folder: Path, tmp_path: Path, encoder: bool) -> None:
    model = awake(base_model(base_folder), targets=("q_proj", "up_proj"))
    if encoder:
        next(model.vision_encoder.parameters()).data.add_(1.0)
    save_lora(tmp_path / "lora", model, base="somewhere/base", encoder=encoder)
    again = base_model(base_folder)
    load_lora(tmp_path / "lora", again)
    state = again.state_dict()
    assert state.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(state[name], tensor), name
    assert json.loads((tmp_path / "lora" / "adapter_config.json").read_text())["base_model_name_or_path"]
    small = sum(file.stat().st_size for file in (tmp_path / "lora").glob("adapter_model*"))
    assert small < 2 * 4 * sum(tensor.numel() for tensor in lora_tensors(model.decoder).values())


def test_codes_with_vectors_are_folded_in_its_folder(base_folder: Path, tmp_path: Path) -> None:
    model = base_model(base_folder)
    model.set_code_vectors((torch.randn(CODES[1] - CODES[0], 5),))
    awake(model)
    save_lora(tmp_path / "lora", model)
    again = base_model(base_folder)
    load_lora(tmp_path / "lora", again)
    torch.testing.assert_close(logits(again, ALL), logits(model, ALL))
    assert model.embedding.code_projections


def test_dropout_is_of_training_alone(base_folder: Path) -> None:
    model = awake(base_model(base_folder), dropout=0.5)
    assert torch.equal(logits(model), logits(model))
    model.train()
    assert not torch.equal(logits(model), logits(model))


def test_a_base_in_bfloat16_keeps_its_factors_in_full(base_folder: Path) -> None:
    model = base_model(base_folder).bfloat16()
    add_lora(model.decoder, LoRAConfig(rank=2))
    layers = lora_layers(model.decoder).values()
    assert {layer.weight.dtype for layer in layers} == {torch.bfloat16}
    assert {layer.lora_A.dtype for layer in layers} == {torch.float32}
    assert logits(model).dtype == torch.bfloat16
    merge_lora(model.decoder)
    assert {parameter.dtype for parameter in model.decoder.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "only LORA"),
        ({"use_dora": True}, "use_dora = True"),
        ({"bias": "all"}, "bias = 'all'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern"),
        ({"r": 8}, r"of the wrong shape: .*q_proj\.lora_A"),
        ({"r": "many"}, "rank: expected int"),
        ({"r": None, "lora_alpha": []}, "rank: expected int"),
    ],
)
def test_what_is_not_done_here_is_refused(
    base_folder: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = tmp_path / "lora"
    shutil.copytree(PEFT, folder)
    plain = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(plain | changes))
    model = base_model(base_folder)
    before = model.state_dict()
    with pytest.raises(ModelError, match=message):
        load_lora(folder, model)
    assert model.state_dict().keys() == before.keys()  # the model is as it was


def test_without_lora_there_is_nothing_to_save(base_folder: Path, tmp_path: Path) -> None:
    model = base_model(base_folder)
    merge_lora(model.decoder)
    with pytest.raises(ModelError, match="no LoRA"):
        save_lora(tmp_path / "lora", model)
    assert not (tmp_path / "lora").exists()


def test_configurations() -> None:
    config = LoRAConfig(rank=4, alpha=8.0, targets=("q_proj",))
    assert from_dict(LoRAConfig, to_dict(config)) == config
    assert peft_config(config, None)["target_modules"] == ["q_proj"]
    for wrong in ({"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}, {"targets": ()}, {"targets": ("lm_head",)}):
        with pytest.raises(ValueError, match=r"rank|dropout|targets"):
            LoRAConfig(**wrong)  # type: ignore[arg-type]


def test_only_linear_maps_are_adapted() -> None:
    module = nn.ModuleDict({"q_proj": nn.Linear(4, 4), "other": nn.Linear(4, 4)})
    add_lora(module, LoRAConfig(rank=1))
    assert list(lora_layers(module)) == ["q_proj"]


def test_nothing_but_what_was_saved_is_replaced(base_folder: Path, tmp_path: Path) -> None:
    model = awake(base_model(base_folder))
    saves: dict[str, Callable[[Path], None]] = {
        "lora": lambda folder: save_lora(folder, model),
        "language": lambda folder: save_language_model(folder, base_model(base_folder)),
    }
    for name, save in saves.items():
        folder = tmp_path / name
        save(folder)
        save(folder)
        (folder / "tokenizer.json").write_text("mine")
        with pytest.raises(ModelError, match=r"holds tokenizer\.json, which is no part of"):
            save(folder)
        assert (folder / "tokenizer.json").read_text() == "mine"
