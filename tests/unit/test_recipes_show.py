"""What `illume show` says: recipes, models and records, for programs and for people, without weights or network."""

import json
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from fixtures.tiny_model_folder import tiny_parts
from illume.core.config import dump_yaml, from_dict
from illume.core.errors import DataError, UsageError
from illume.generate.folder import save_parts
from illume.recipes.pico import pico
from illume.recipes.recipe import Recipe
from illume.recipes.show import describe
from illume.vocab.layout import VocabLayout

RECORDS = (
    {"task": "draw", "images": ["a.png"], "text": "a [red] circle"},
    {"task": "caption", "images": ["a.png"], "text": "it is {red}"},
    {"task": "text", "text": "nothing to see"},
)


def printed(text: RenderableType, colour: bool = False) -> str:
    console = Console(width=120, force_terminal=colour, color_system="standard" if colour else None)
    with console.capture() as capture:
        console.print(text)
    return capture.get()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    save_parts(run / "model", tiny_parts())
    return run


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["pico", "illume_7b"])
def test_a_recipe_is_its_configuration_and_its_tables(name: str) -> None:
    found = describe(name, ["seed=7"])
    assert from_dict(Recipe, found.data["recipe"]).seed == 7
    assert {"tokenizer", "pixel_decoder", "stage1", "stage2", "stage3"} <= found.data["stages"].keys()
    page = printed(found.text)
    for row in found.data["stages"]["stage1"]:
        assert row["rule"] in page
        assert f"{row['parameters']:,}" in page
    assert f"{sum(found.data['parameters'].values()):,}" in page
    json.dumps(found.data)


def test_tied_rows_are_counted_once() -> None:
    untied, tied = (describe("pico", [f"decoder.shape.tied={tied}"]).data for tied in ("false", "true"))
    rows = untied["vocabulary"]["text"][1] * 256
    assert sum(untied["parameters"].values()) - sum(tied["parameters"].values()) == rows


def test_a_recipe_is_found_by_file_too(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(dump_yaml(pico()), encoding="utf-8")
    (tmp_path / "mine.py").write_text("from illume.recipes.pico import pico as mine\n", encoding="utf-8")
    by_name = describe("pico").data
    assert describe(str(tmp_path / "config.yaml")).data == by_name
    assert describe(f"{tmp_path / 'mine.py'}:mine").data == by_name


def test_a_model_is_told_by_its_own_files(model: Path) -> None:
    found = describe(str(model))
    assert found.data == describe(str(model / "model")).data
    parts = tiny_parts()
    counts = found.data["parameters"]
    rows = counts.pop("embed_tokens") + counts.pop("lm_head")
    inner = sum(p.numel() for name, p in parts.model.named_parameters() if not name.startswith(("embedding", "head")))
    assert rows == 2 * parts.layout.size * parts.model.config.decoder.width
    assert sum(count for name, count in counts.items() if "/" not in name and name != "pixel_decoder") == inner
    assert counts["pixel_decoder/unet"] == sum(p.numel() for p in parts.pixel_decoder.unet.parameters())
    assert counts["vision_tokenizer/encoder"] == counts["vision_encoder"]
    assert found.data["vocabulary"]["slot"] == [parts.layout.slot, parts.layout.slot + 1]
    page = printed(found.text)
    assert "vision_encoder" in page
    assert "max_length: 128" in page


def check_records(data: dict[str, object], texts: list[str]) -> None:
    """Pieces and ids agree on loss, roles are told, and texts stand as they were written."""
    sequences = data["records"]
    assert isinstance(sequences, list)
    assert len(sequences) == len(texts)
    for sequence, text in zip(sequences, texts, strict=True):
        assert len(sequence["ids"]) == len(sequence["loss_mask"])
        assert any(piece["loss"] for piece in sequence["pieces"]) == any(sequence["loss_mask"])
        assert all(piece["role"] == "assistant" for piece in sequence["pieces"] if piece["loss"])
        assert text in "".join(piece["words"] for piece in sequence["pieces"])


def test_records_are_shown_as_sequences_of_a_stand_in(records: Path) -> None:
    found = describe(str(records))
    check_records(found.data, ["a [red] circle", "it is {red}", "nothing to see"])
    drawn, seen, _ = found.data["records"]
    assert "[level0: " + " ".join(["0"] * 16) + "]" in [piece["words"] for piece in drawn["pieces"]]
    assert "[16 slots]" in [piece["words"] for piece in seen["pieces"]]
    page = printed(found.text)
    assert "stand-in" in page
    assert f"{records}:1: draw" in page.replace("\n", "")
    assert "a [red] circle" in page
    assert "\x1b[" in printed(found.text, colour=True)


def test_the_check_of_records_catches_loss_on_a_user() -> None:
    piece = {"words": "hi", "loss": True, "role": "user"}
    with pytest.raises(AssertionError):
        check_records({"records": [{"ids": [1], "loss_mask": [True], "pieces": [piece]}]}, ["hi"])


def test_records_are_shown_in_a_models_vocabulary(records: Path, model: Path) -> None:
    found = describe(str(records), [f"model={model}"], limit=1)
    check_records(found.data, ["a [red] circle"])
    assert "stand-in" not in printed(found.text)
    layout = from_dict(VocabLayout, json.loads((model / "model" / "config.json").read_text())["vocabulary"])
    assert sum(layout.region(id) == "level0" for id in found.data["records"][0]["ids"]) == 16


def test_an_image_folder_is_shown_as_captions_and_drawings(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"never opened")
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,a red circle\n", encoding="utf-8")
    found = describe(str(tmp_path))
    assert [record["task"] for record in found.data["records"]] == ["caption", "draw"]
    check_records(found.data, ["a red circle"] * 2)


def test_what_is_wrong_is_said(records: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no recipe is called 'picoo'.*pico"):
        describe("picoo")
    with pytest.raises(UsageError, match="takes no overrides: seed=3"):
        describe(str(model), ["seed=3"])
    with pytest.raises(UsageError, match="records take model=MODEL and nothing else, not seed=3"):
        describe(str(records), ["seed=3"])
    with pytest.raises(DataError, match="there is no such file"):
        describe(str(tmp_path / "nowhere.jsonl"))
    records.write_text('{"task": "sing"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"records.jsonl:1: unknown task 'sing'"):
        describe(str(records))
