"""A published model that a recipe starts from is looked for before anything is trained."""

from pathlib import Path

import pytest

from fixtures.tiny_recipe import tiny_pico
from illume.core.errors import ModelError
from illume.recipes import run as run_module
from illume.recipes.run import run

SHAPE = "{width: 32, layers: 2, heads: 2, kv_heads: 1, head_dim: 16, hidden: 48}"
NAMED = {
    "decoder": f"decoder={{kind: pretrained, name: %s, text_rows: 300, shape: {SHAPE}}}",
    "pixel_decoder": "pixel_decoder={kind: stable_diffusion, name: %s}",
}


@pytest.mark.parametrize("part", NAMED)
def test_a_missing_model_is_told_before_training(part: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("no/such-model", str(tmp_path / "empty")):
        with pytest.raises(ModelError, match=name.split("/")[-1]):
            run(tiny_pico(tmp_path / "run", NAMED[part] % name))
        assert not (tmp_path / "run" / "checkpoints").exists()


def test_without_looking_it_is_told_too_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "find_published", lambda recipe: None)
    with pytest.raises(ModelError, match="no/such-model"):
        run(tiny_pico(tmp_path / "run", NAMED["pixel_decoder"] % "no/such-model"))
    assert (tmp_path / "run" / "checkpoints").exists()
