"""A model folder on a full disk, with pickles in it, or with a damaged part: nothing is lost, nothing is run."""

import json
import pickle
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import illume
from fixtures.full_disk import file_size_limit
from fixtures.tiny_model_folder import tiny_illume
from illume.core.errors import CheckpointError, IllumeError, ModelError
from illume.generate import folder as folder_module
from illume.models.pixel_decoder import DiffusionPixelDecoder as PixelDecoder
from illume.models.tokenizer import VisionTokenizer
from illume.vocab.text import HuggingFaceTokenizer

WEIGHTS = ("model", "vision_tokenizer/model", "pixel_decoder/model", "pixel_decoder/unet/diffusion_pytorch_model")
NAMES = ("pytorch_model.bin", "model.bin", "model.pt", "diffusion_pytorch_model.bin", "data.pkl")


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.sprung,)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_trap_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()


def test_pickles_beside_the_weights_are_not_opened(model_copy: Path, tmp_path: Path) -> None:
    for inside in (model_copy, *(path for path in model_copy.rglob("*") if path.is_dir())):
        for name in NAMES:
            (inside / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    prompt = "a red circle"
    assert illume.load(model_copy, dtype="float32").draw(prompt)[0].tobytes() == tiny_illume().draw(prompt)[0].tobytes()
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_pickle_in_place_of_weights_is_refused(model_copy: Path, weights: str, tmp_path: Path) -> None:
    true = model_copy / f"{weights}.safetensors"
    pickled = pickle.dumps(Trap(tmp_path / "sprung"))
    true.with_suffix(".bin").write_bytes(pickled)
    for content in (pickled, None):  # a pickle that calls itself safetensors; a pickle alone
        true.write_bytes(content) if content else true.unlink()
        with pytest.raises(IllumeError, match=r"model"):
            illume.load(model_copy, device="cpu")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("weights", WEIGHTS)
def test_torn_weights_are_refused(model_copy: Path, weights: str) -> None:
    path = model_copy / f"{weights}.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises((ModelError, CheckpointError), match="model"):
        illume.load(model_copy, device="cpu")


@pytest.mark.parametrize(
    ("part", "largest"), [(None, 50_000), (HuggingFaceTokenizer, 100), (VisionTokenizer, 9000), (PixelDecoder, 9000)]
)
def test_a_disk_that_fills_up_inside_a_part_leaves_the_old_folder(
    model_copy: Path, part: Any, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(model_copy)
    if part is not None:
        monkeypatch.setattr(part, "save", limited(part.save, largest))
    with nullcontext() if part else file_size_limit(largest), pytest.raises(CheckpointError, match="File too large"):
        tiny_illume().save(model_copy)
    assert contents(model_copy) == before
    assert [path.name for path in model_copy.parent.iterdir()] == ["model"]
    assert illume.load(model_copy, device="cpu").draw("x")


def limited(save: Callable[[Any, Path], None], largest: int) -> Callable[[Any, Path], None]:
    """The same save, on a disk that is full after so many bytes of a file."""

    def saved(part: Any, folder: Path) -> None:
        with file_size_limit(largest):
            save(part, folder)

    return saved


def test_others_may_read_the_weights_as_any_file(model_copy: Path) -> None:
    modes = {path.stat().st_mode for path in model_copy.rglob("*") if path.is_file()}
    assert len(modes) == 1


def test_nothing_but_a_model_is_replaced(model_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {name: tmp_path / name for name in ("letters", "settings", "notes", "inner")}
    for name in ("notes", "inner"):
        shutil.copytree(model_copy, places[name])
    for name, file in {
        "letters": "letter.txt", "settings": "config.json", "notes": "notes.md", "inner": "vision_tokenizer/own.py",
    }.items():  # fmt: skip
        path = places[name] / file
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    (places["settings"] / "main.py").touch()
    before = contents(tmp_path)
    for place in places.values():
        with pytest.raises(ModelError, match=f"{place.name}: holds .* which is no part of a model"):
            tiny_illume().save(place)
    monkeypatch.chdir(model_copy)
    with pytest.raises(ModelError, match="the folder you are in"):
        tiny_illume().save(model_copy)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("known", ["*", "*.txt"])
def test_the_law_of_saving_notices_a_list_of_names_that_is_too_wide(
    known: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "KNOWN", (*folder_module.KNOWN, known))
    for name in ("config.json", "letter.txt"):
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / name).touch()
    tiny_illume().save(tmp_path / "mine")
    assert not (tmp_path / "mine" / "letter.txt").exists()


def test_an_older_model_and_an_empty_folder_are_replaced(model_copy: Path, tmp_path: Path) -> None:
    (model_copy / "recipe.yaml").touch()  # as a run has it
    (tmp_path / "empty").mkdir()
    for place in (model_copy, tmp_path / "empty"):
        tiny_illume().save(place)
        assert not (place / "recipe.yaml").exists()
        assert illume.load(place, device="cpu").draw("x")


def test_a_folder_from_before_sessions_had_a_memory_is_read(model_copy: Path) -> None:
    config = json.loads((model_copy / "config.json").read_text())
    assert config["generation"].pop("memory") is None
    (model_copy / "config.json").write_text(json.dumps(config))
    assert illume.load(model_copy, device="cpu").session().memory is None
    (model_copy / "config.json").write_text(json.dumps(config | {"generation": config["generation"] | {"memory": -1}}))
    with pytest.raises(ModelError, match=r"generation: memory is a number of turns"):
        illume.load(model_copy, device="cpu")
