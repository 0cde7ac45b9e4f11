"""Published vision models that are missing, damaged or pickled are refused in words, whatever their readers raise."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPVisionConfig, CLIPVisionModel

from illume.core.errors import ModelError
from illume.models import pretrained_vision
from illume.models.folder import distrusted
from illume.models.vision_encoder import PretrainedEncoderConfig, build_encoder

SIZES = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 8}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    CLIPVisionModel(CLIPVisionConfig(**SIZES, patch_size=4)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    return folder


@pytest.fixture
def folder(clip: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clip, tmp_path / "clip"))


def build(name: object) -> None:
    build_encoder(PretrainedEncoderConfig(name=str(name)))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no configuration": lambda folder: (folder / "config.json").unlink(),
    "no JSON": lambda folder: (folder / "config.json").write_text("{"),
    "a list": lambda folder: (folder / "config.json").write_text("[]"),
    "deep": lambda folder: (folder / "config.json").write_text("[" * 100_000),
    "unknown type": lambda folder: (folder / "config.json").write_text('{"model_type": "nothing"}'),
    "no sizes": lambda folder: (folder / "config.json").write_text(
        json.dumps({"model_type": "clip_vision_model", "num_attention_heads": 0})
    ),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "junk weights": lambda folder: (folder / "model.safetensors").write_bytes(b"junk" * 10),
    "empty weights": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "no statistics": lambda folder: (folder / "preprocessor_config.json").write_text("[]"),
    "two channels": lambda folder: (folder / "preprocessor_config.json").write_text(
        '{"image_mean": [0, 0], "image_std": [1, 1]}'
    ),
    "deep statistics": lambda folder: (folder / "preprocessor_config.json").write_text("[" * 100_000),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_encoder_is_refused_in_words(damage: str, folder: Path) -> None:
    build(folder)
    DAMAGE[damage](folder)
    with pytest.raises(ModelError, match="clip"):
        build(folder)


@pytest.mark.parametrize("name", ["no/such-model", "no such model!", "a/b/c", "missing"])
def test_an_encoder_that_is_nowhere_is_refused_in_words(name: str) -> None:
    with pytest.raises(ModelError, match="no vision model"):
        build(name)


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.sprung,)


def test_pickled_weights_are_not_opened(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")  # as good as any, but a pickle
    (folder / "model.safetensors").unlink()
    opened: list[object] = []
    monkeypatch.setattr(torch, "load", lambda *given, **settings: opened.append(given))
    with pytest.raises(ModelError, match="safetensors"):
        build(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(ModelError, match="safetensors"):
        build(folder)
    assert not opened
    assert not (tmp_path / "sprung").exists()


def test_the_check_sees_an_error_that_is_let_through(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    DAMAGE["junk weights"](folder)
    monkeypatch.setattr(pretrained_vision, "load_network", pretrained_vision._load_network)
    with pytest.raises(Exception, match="header") as caught:
        build(folder)
    assert not isinstance(caught.value, ModelError)


def test_distrust_names_the_place_and_lets_a_person_stop() -> None:
    with pytest.raises(ModelError, match=r"here: no model: KeyError: 'a'"), distrusted("here", "no model"):
        raise KeyError("a")
    with pytest.raises(KeyboardInterrupt), distrusted("here", "no model"):
        raise KeyboardInterrupt
