"""A run packed to be given away: half precision, what made it, what it says; and the names of what comes along."""

import json
from pathlib import Path

import pytest
import torch

import illume
from fixtures.documents import lacks_weights
from fixtures.packed import make_run
from illume.core.config import load_yaml
from illume.core.errors import ConfigError, ModelError
from illume.core.tensors import load_tensors, save_tensors
from illume.generate.named import BUILT_IN, built_in, model_folder
from illume.recipes.catalog import RECIPES
from illume.recipes.courses import Settings
from illume.recipes.enhance import enhance
from illume.recipes.pack import PROMPTS, PROVENANCE, _called, halved, pack, read_packed, read_provenance, says
from illume.recipes.recipe import Recipe
from illume.recipes.score import recipe_hash
from illume.recipes.show import describe


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("packing") / "run")


@pytest.fixture(scope="module")
def packed(run: Path) -> Path:
    pack(run, run.with_name("weights"))
    return run.with_name("weights")


@pytest.fixture
def comes_along(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if the packed model came with ILLUME as `nano`; the folder to be in is empty."""
    monkeypatch.setitem(BUILT_IN, "nano", packed)
    monkeypatch.chdir(tmp_path)
    return packed


def test_every_weight_is_the_run_s_in_half_precision(run: Path, packed: Path) -> None:
    files = sorted(file.relative_to(packed) for file in packed.rglob("*.safetensors"))
    assert files == sorted(file.relative_to(run / "model") for file in (run / "model").rglob("*.safetensors"))
    for file in files:
        there, here = load_tensors(run / "model" / file), load_tensors(packed / file)
        assert {one.dtype for one in here.values()} <= {torch.float16, torch.bool}
        for name, tensor in there.items():
            assert torch.equal(here[name], tensor.half() if tensor.is_floating_point() else tensor), name


def test_the_rest_of_the_folder_is_the_run_s(run: Path, packed: Path) -> None:
    inside = {str(file.relative_to(packed)) for file in packed.rglob("*") if file.is_file()}
    assert inside == {str(f.relative_to(run / "model")) for f in (run / "model").rglob("*") if f.is_file()} | {
        PROVENANCE
    }
    assert (packed / "config.json").read_bytes() == (run / "model" / "config.json").read_bytes()
    assert 'illume.load("weights")' in (packed / "README.md").read_text(encoding="utf-8")
    assert load_yaml(packed / "recipe.yaml", Recipe).out == "runs/pico", "nobody else has the folder of the run"
    assert str(run) not in (packed / PROVENANCE).read_text(encoding="utf-8")


def test_the_provenance_says_what_made_it(run: Path, packed: Path) -> None:
    made = read_provenance(packed)
    card = json.loads((run / "scorecard.json").read_text(encoding="utf-8"))
    assert made["scorecard"] == card
    assert (made["config_hash"], made["seed"], made["version"]) == (card["config_hash"], 0, illume.__version__)
    assert made["config_hash"] == recipe_hash(load_yaml(packed / "recipe.yaml", Recipe))
    assert made["command"] == "illume train recipe.yaml", "a tiny pico is not the built-in one"
    assert [said["prompt"] for said in made["says"]] == list(PROMPTS)


@pytest.mark.parametrize("name", RECIPES)
def test_a_built_in_recipe_is_called_by_its_name(name: str) -> None:
    try:
        recipe = RECIPES[name]()
    except ConfigError:
        pytest.skip("whole only with overrides")
    assert _called(recipe) == name


def test_it_is_loaded_in_the_dtype_asked_for_and_codes_keep_their_meaning(packed: Path) -> None:
    model = illume.load(packed, device="cpu", dtype="bfloat16")
    assert {one.dtype for one in model.parts.model.parameters()} == {torch.bfloat16}
    assert {one.dtype for one in model.parts.pixel_decoder.parameters()} == {torch.float32}
    (quantizer,) = model.parts.tokenizer.quantizers
    codes = torch.arange(quantizer.num_codes)[None]
    assert torch.equal(quantizer.encode(quantizer.decode(codes)), codes)


def test_what_it_says_is_what_it_will_say(packed: Path) -> None:
    assert says(read_packed(packed)) == read_provenance(packed)["says"]


def test_packing_again_replaces_what_was_packed_and_nothing_else(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(run, out)
    pack(run, out)
    (out / "left.txt").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").touch()
    for folder, name in ((out, "left.txt"), (tmp_path / "mine", "diary.txt")):
        with pytest.raises(ModelError, match=f"holds {name}, which is no part of a packed model"):
            pack(run, folder)
        assert (folder / name).exists()


def test_what_cannot_be_packed_is_refused(tmp_path: Path) -> None:
    run, out = make_run(tmp_path / "run"), tmp_path / "out"
    card = json.loads((run / "scorecard.json").read_text())
    (run / "scorecard.json").write_text(json.dumps(card | {"config_hash": "0" * 12}))
    with pytest.raises(ModelError, match="of another recipe"):
        pack(run, out)
    (run / "scorecard.json").unlink()
    with pytest.raises(ModelError, match="only a finished run"):
        pack(run, out)
    with pytest.raises(ModelError, match=r"recipe\.yaml is missing"):
        pack(tmp_path, out)
    assert not out.exists()


def test_a_weight_too_large_for_half_precision_is_refused(tmp_path: Path) -> None:
    run, out = make_run(tmp_path / "run"), tmp_path / "out"
    file = run / "model" / "model.safetensors"
    weights = load_tensors(file)
    weights["model.norm.weight"][3] = 70_000.0
    save_tensors(file, weights)
    with pytest.raises(ModelError, match=r"model\.safetensors: model\.norm\.weight is not finite, or too large"):
        pack(run, out)
    assert not out.exists()
    assert halved({"step": torch.tensor(70_000)}, "x")["step"] == 70_000, "whole numbers stay what they are"


def test_its_name_loads_it(comes_along: Path) -> None:
    model = illume.load("nano", device="cpu")
    assert model.folder == comes_along
    assert model.draw("a red circle")[0].size == (8, 8)
    session = model.session()
    session.draw("a red circle")
    session.save("held")
    assert len(illume.load_session("held", "nano").turns) == 1


def test_a_folder_of_that_name_goes_first(comes_along: Path, run: Path) -> None:
    Path("nano").symlink_to(run)
    assert illume.load("nano", device="cpu").folder == Path("nano/model")
    assert describe("nano").data["kind"] == "model"


def test_a_name_of_nothing_is_told_what_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nanno: neither a folder nor a model that comes with ILLUME \(nano\)"):
        illume.load("nanno")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(BUILT_IN, "nano", tmp_path / "nowhere")
    assert built_in("nano") is None
    with pytest.raises(ModelError, match="did not come with this copy of ILLUME; train them: illume train nano"):
        model_folder("nano")


def test_show_tells_of_the_recipe_and_of_the_model(comes_along: Path) -> None:
    shown = describe("nano").data
    assert shown["kind"] == "recipe"
    assert shown["weights"]["folder"] == str(comes_along)
    assert shown["weights"]["scores"]["draw"] == 0.5
    assert "weights" not in describe("nano", ["stages.0.steps=3"]).data, "another recipe"
    assert "weights" not in describe("pico").data
    assert describe(str(comes_along)).data["kind"] == "model"


def test_records_are_shown_in_its_vocabulary(comes_along: Path) -> None:
    Path("records.jsonl").touch()
    assert str(comes_along) in describe("records.jsonl", ["model=nano"], limit=0).data["vocabulary"]


def test_its_rounds_need_a_place(comes_along: Path) -> None:
    with pytest.raises(ConfigError, match="--out FOLDER"):
        enhance("nano", Settings("world", "oracle"))


def test_pages_are_checked_as_soon_as_there_are_weights(comes_along: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asks = ("illume draw nano 'a red circle'", 'model = illume.load("nano")', "illume score nano score.num_items=3")
    others = ("illume train nano", "illume show nano", "illume draw runs/nano x", 'illume.load("runs/demo/model")')
    assert not any(map(lacks_weights, asks))
    monkeypatch.setitem(BUILT_IN, "nano", comes_along / "nowhere")
    assert [lacks_weights(text) for text in (*asks, *others)] == [True] * 3 + [False] * 4
