"""What is held out of a mixture is never in training: no image of it, no text that has none, by whatever way."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fixtures.own_data import conversation, make_every_kind, picture, write_lines, write_pictures
from illume.core.config import override
from illume.core.errors import ConfigError, DataError
from illume.data import held_out
from illume.data.collection import OpenCollection
from illume.data.examples import texts_of
from illume.data.held_out import parted
from illume.data.kinds import open_kind
from illume.data.records import Record
from illume.data.sources import Images
from illume.recipes.catalog import RECIPES
from illume.recipes.data import OpenData, open_data
from illume.recipes.folder import part_hashes
from illume.recipes.own import own
from illume.recipes.recipe import Recipe
from illume.recipes.score import recipe_hash

COUNT = 40


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of every kind; chats, talks and chains of edits are about the same pictures, by other names too."""
    path = tmp_path_factory.mktemp("own")
    make_every_kind(path, 12)
    names = write_pictures(path / "many", COUNT)
    talks = [conversation(f"many/{n}", "<image>\nWhat?", f"It is {i % 3}") for n in names for i in range(3)]
    write_lines(path / "talks.jsonl", talks)
    edits = [
        {"task": "edit", "images": [names[i], names[(7 * i + 1) % COUNT]], "instruction": f"{i}"} for i in range(9)
    ]
    masked = [{"task": "inpaint", "images": [n, names[0]], "mask": [i, 0, 9, 9]} for n in names[:9] for i in (1, 2)]
    captions = [{"task": "caption", "images": [n], "text": f"words {i}"} for n in names[20:] for i in range(2)]
    write_lines(path / "many" / "mine.jsonl", [*edits, *masked, *captions])
    chats = [{"messages": [{"role": "user", "content": f"Say {i % 30}"}, {"role": "assistant", "content": "Yes"}]}
             for i in range(90)]  # fmt: skip
    write_lines(path / "chats.jsonl", chats)
    return path


def mixture(root: Path, *overrides: str) -> Recipe:
    paths = {"pics": "folder", "tars": "webdataset", "talks": "talks.jsonl", "mine": "many/mine.jsonl",
             "chats": "chats.jsonl"}  # fmt: skip
    sources = [f"data.sources.{name}.path={root / path}" for name, path in paths.items()]
    size = ["image_size=32", "encoder.image_size=32", f"out={root / 'out'}"]
    return override(own(), ["data.kind=mixed", *size, *sources, "data.held_out=0.2", *overrides])


def records(root: Path, *overrides: str) -> Recipe:
    data = ["data.kind=records", f"data.sources.mine={root / 'many' / 'mine.jsonl'}", "data.shown=[mine]"]
    mixed = [f"stages.{stage}.mixture={{mine: 1.0}}" for stage in range(3)]
    return override(own(), [*data, *mixed, "image_size=32", "data.held_out=0.2", *overrides])


def files(images: Images, keys: Any) -> set[str]:
    """The files behind keys, by the file system's own identity; members of tars by tar and name."""
    stored, file = images.stored, images.file  # type: ignore[attr-defined]
    places = [stored.place(file(key)) for key in keys]
    return {str(Path(place).stat().st_ino) if Path(place).exists() else place for place in places}


def shown_in_training(data: OpenData, recipe: Recipe) -> Iterator[str]:
    """Every file and every text of a record without images that any part of training can reach."""
    for source in (*data.sources.values(), *data.shown.values()):
        yield from files(source.images, source.images.keys())
        for index in range(len(source)):
            record = source.record(index)
            yield from files(source.images, record.images) if record.images else texts_of(record)
    for images in data.images(recipe.stages):
        yield from files(getattr(images, "_images", images), images.keys())


def held(data: OpenData) -> set[str]:
    assert data.parted is not None
    found: set[str] = set()
    for opened in data.parted.held_out.values():
        for record in opened.records:
            found |= files(opened.images, record.images) if record.images else {next(texts_of(record))}
    return found


def check_never_in_training(recipe: Recipe) -> None:
    data = open_data(recipe)
    assert len(held(data)) > 5
    assert held(data).isdisjoint(shown_in_training(data, recipe))


@pytest.mark.parametrize("fraction", [0.1, 0.3])
@pytest.mark.parametrize("make", [mixture, records])
def test_what_is_held_out_is_never_in_training(make: Any, fraction: float, root: Path) -> None:
    check_never_in_training(make(root, f"data.held_out={fraction}"))


def test_the_law_catches_other_records_of_a_held_out_image(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(opened: OpenCollection, fraction: float, seen: set[str]) -> list[Record]:
        return [record for record in opened.records if not held_out.is_held_out(record, opened, fraction)]

    monkeypatch.setattr(held_out, "_left", careless)
    with pytest.raises(AssertionError):
        check_never_in_training(mixture(root))


def test_the_law_catches_images_that_stay_when_their_records_go(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenCollection, "_images_of", lambda self, records: self.images)
    with pytest.raises(AssertionError):
        check_never_in_training(mixture(root))


def test_a_share_is_held_out_and_the_rest_trained_on(root: Path) -> None:
    data = open_data(mixture(root))
    assert data.parted is not None
    talks = {name: len(opened.records) for name, opened in data.parted.held_out.items()}
    assert 3 <= talks["talks"] <= 3 * COUNT * 0.4
    assert talks["talks"] % 3 == 0, "all records of an image go together"
    assert len(data.parted.train["chats"].records) + talks["chats"] == 90
    assert talks["chats"] % 3 == 0, "so do equal texts"
    assert set(data.sources) >= {"pics/draw", "tars/caption", "talks", "mine", "chats"}


def test_it_is_the_same_whatever_stands_beside_it_and_wherever(root: Path, tmp_path: Path) -> None:
    def names(path: Path) -> set[tuple[str, ...]]:
        opened = {"other name": OpenCollection(open_kind(path), 8, name="x")}
        return {tuple(r.images) for r in parted(opened, 0.3).held_out["other name"].records}

    write_pictures(tmp_path / "many", COUNT)
    (tmp_path / "many" / "mine.jsonl").write_text((root / "many" / "mine.jsonl").read_text())
    assert names(tmp_path / "many" / "mine.jsonl") == names(root / "many" / "mine.jsonl")


def test_a_mask_changes_nothing_about_a_picture(root: Path) -> None:
    opened = OpenCollection(open_kind(root / "many" / "mine.jsonl"), 8, name="x")
    sides: dict[str, set[bool]] = {}
    for record in opened.records:
        if record.mask is not None:
            sides.setdefault(record.images[0].split(" behind")[0], set()).add(held_out.is_held_out(record, opened, 0.5))
    assert {len(side) for side in sides.values()} == {1}
    assert len(sides) == 9


def test_what_cannot_be_parted_is_told(root: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(0))
    one = write_lines(tmp_path / "a.jsonl", [{"task": "caption", "images": ["a.png"], "text": "x"}])
    with pytest.raises(DataError, match=r"holds out none of 1 records"):
        open_data(records(root, f"data.sources={{a: {one}}}", "data.shown=[a]", "data.held_out=0.000001"))
    with pytest.raises(DataError, match=r"'a': with held_out=0.9999.* none of its 1 records is left"):
        open_data(records(root, f"data.sources={{a: {one}}}", "data.shown=[a]", "data.held_out=0.999999"))
    for wrong in ("1.0", "-0.1"):
        with pytest.raises(ConfigError, match="held_out"):
            records(root, f"data.held_out={wrong}")


def test_with_nothing_held_out_nothing_is_another(root: Path) -> None:
    whole = open_data(mixture(root, "data.held_out=0"))
    assert whole.parted is not None
    assert whole.parted.held_out == {}
    plain = OpenCollection(open_kind(root / "talks.jsonl"), 32, name="talks", how="contain")
    assert len(whole.sources["talks"]) == len(plain.records)


HASHES: Mapping[str, str] = {"illume_7b": "bab06a34f36e", "illume_7b_qwen": "cc9ad5306727"}
PARTS = {"encoder": "2a1ecc04cd66", "tokenizer": "f513e6f4209f", "pixel_decoder": "56e340f012e7",
         "stage1": "23255a9fb37a", "stage2": "f5160cc70cf9", "stage3": "f07a964bf71a"}  # fmt: skip


def test_recipes_of_before_keep_their_names() -> None:
    """By the hashes they had when nothing could be held out: runs that began then go on."""
    assert {name: recipe_hash(RECIPES[name]()) for name in HASHES} == HASHES
    assert part_hashes(RECIPES["illume_7b"]()) == PARTS
    changed = override(RECIPES["illume_7b"](), ["data.held_out=0.01"])
    assert recipe_hash(changed) != HASHES["illume_7b"]
    assert not set(part_hashes(changed).values()) & set(PARTS.values())


def test_the_check_catches_a_field_that_names_a_recipe_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("illume.recipes.folder.ADDED_TO_DATA", {})
    with pytest.raises(AssertionError):
        test_recipes_of_before_keep_their_names()


def test_a_mixture_of_before_keeps_its_name_too() -> None:
    old = json.loads('{"sources": {"a": {"path": "a"}}, "kind": "mixed"}')
    recipe = override(own(), ["data.kind=mixed", f"data.sources.a.path={old['sources']['a']['path']}"])
    assert recipe_hash(recipe) == recipe_hash(override(recipe, ["data.held_out=0"]))
    assert recipe_hash(recipe) != recipe_hash(override(recipe, ["data.held_out=0.06"]))
