"""A whole run with LoRA leaves a plain model, and beside it what LoRA trained, which makes that model from its base."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.tiny_recipe import tiny_pico
from illume.core.errors import CheckpointError
from illume.core.tensors import load_tensors
from illume.models.convert import load_unified
from illume.models.lora import load_lora, merge_lora
from illume.models.unified import Unified
from illume.recipes import parts
from illume.recipes.recipe import Recipe
from illume.recipes.run import run


def test_a_run_with_lora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bases: list[dict[str, torch.Tensor]] = []
    build = parts.language_model

    def keep_a_copy(recipe: Recipe, *arguments: Any) -> Unified:
        model = build(recipe, *arguments)
        bases.append({name: value.clone() for name, value in model.state_dict().items()})
        return model

    monkeypatch.setattr(parts, "language_model", keep_a_copy)
    out = tmp_path / "run"
    run(tiny_pico(out, "lora.rank=2", "lora.targets=[q_proj, up_proj]"))
    assert {file.name for file in (out / "lora").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "trained_beside.safetensors",
    }
    finished = load_unified(out / "model")
    assert not any("lora_" in name for name in load_tensors(out / "model" / "model.safetensors"))

    base = load_unified(out / "model")  # its shape, with the weights that training began with
    text = {name: value for name, value in bases[0].items() if name in base.state_dict() and "lora_" not in name}
    base.load_state_dict(text, strict=False)
    load_lora(out / "lora", base)
    merge_lora(base.decoder)
    for name, value in finished.state_dict().items():
        torch.testing.assert_close(base.state_dict()[name], value, atol=0, rtol=0, msg=name)


def test_a_run_without_lora_has_none(run_folder: Path) -> None:
    assert not (run_folder / "lora").exists()
    with pytest.raises(CheckpointError, match=r"adapter_config\.json"):
        load_lora(run_folder / "model", load_unified(run_folder / "model"))
