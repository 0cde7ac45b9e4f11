"""Data read in detail: what a conversation becomes, which pixels each frame shows, and that drawing keeps its size."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fixtures.sequences import tiny_text
from fixtures.tiny_recipe import tiny_own
from illume.core.config import override
from illume.core.errors import ConfigError, DataError
from illume.data.examples import Examples, Pictures
from illume.data.image_files import ImageFiles
from illume.data.loader import SequenceLoader
from illume.eval.tasks.records import OwnQuestions, questions_of
from illume.images import ops
from illume.images.slices import cut
from illume.recipes.data import OpenData, open_data
from illume.recipes.folder import naming
from illume.recipes.own import own
from illume.recipes.recipe import Recipe
from illume.recipes.run import run
from illume.recipes.score import recipe_hash
from illume.tasks.detail import overview_name, parse_name, slice_name
from illume.train.stage import Rule, Stage
from illume.vocab.layout import VocabLayout
from illume.vocab.messages import ImageFrame

BASE = 32
GRIDS = {"wide.png": (1, 3), "tall.png": (2, 1), "small.png": (0, 0)}
CODES = ((0,) * 16,)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("detail")
    for file, (rows, columns) in GRIDS.items():
        shape = (max(1, rows) * BASE, max(1, columns) * BASE, 3)
        pixels = np.random.default_rng(len(file) + columns).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(path / file)
    records = [{"task": "caption", "images": [file], "text": "a picture"} for file in GRIDS]
    records += [{"task": "chat", "images": ["wide.png", "tall.png"], "messages": [
        {"role": "user", "content": [{"type": "image", "index": 0}, {"type": "image", "index": 1},
                                     {"type": "text", "text": "which?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "both"}]}]}]  # fmt: skip
    records += [{"task": "edit", "images": ["wide.png", "tall.png"], "instruction": "turn it"}]
    records += [{"task": "draw", "images": ["wide.png"], "text": "a picture"}]
    (path / "all.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    captions = "".join(json.dumps(record) + "\n" for record in records[: len(GRIDS)])
    (path / "captions.jsonl").write_text(captions)
    return path


def sources(root: Path, *overrides: str) -> list[str]:
    files = [f"data.sources.{name}.path={root / name}.jsonl" for name in ("all", "captions")]
    return [
        "data.kind=mixed",
        *files,
        *(f"data.sources.{name}.kind=records" for name in ("all", "captions")),
        *overrides,
    ]


def recipe(root: Path, *overrides: str) -> Recipe:
    size = ["image_size=32", "encoder.image_size=32", f"out={root / 'out'}"]
    return override(own(), [*sources(root), *size, *overrides])


def opened(root: Path, slices: int = 9) -> OpenData:
    return open_data(recipe(root, f"data.sources.all.slices={slices}"))


def of_records(root: Path, *overrides: str) -> Recipe:
    """The same as `recipe`, by data of kind "records"."""
    names = f"data.sources={{all: {root / 'all.jsonl'}, captions: {root / 'captions.jsonl'}}}"
    size = ["image_size=32", "encoder.image_size=32", f"out={root / 'out'}"]
    return override(own(), ["data.kind=records", names, "data.shown=[captions]", *size, *overrides])


def examples() -> Examples:
    text = tiny_text()
    layout = VocabLayout(text.size, (32,), num_sizes=0, row_ends=False, level_markers=False)
    return Examples(layout, text, Pictures(ImageFrame(((4, 4),)), lambda key: CODES), drop=0.0)


def frames(data: OpenData, item: int) -> list[str]:
    """The names of the images that an item's slots show, in order."""
    return [run.image.removeprefix("all/") for run in examples().sample(data.sources["all"], item, 0).slots]


def in_slices(file: str) -> list[str]:
    rows, columns = GRIDS[file]
    return [overview_name(file), *(slice_name(file, r, c) for r in range(rows) for c in range(columns))]


def check_frames(data: OpenData) -> None:
    for item, file in enumerate(GRIDS):
        assert frames(data, item) == in_slices(file)
    assert frames(data, 3) == [*in_slices("wide.png"), *in_slices("tall.png")]
    assert frames(data, 4) == ["wide.png"]  # an edit: what draws is read at the base size
    assert frames(data, 5) == []


def test_what_is_only_read_is_read_in_slices(root: Path) -> None:
    check_frames(opened(root))


def test_records_are_read_in_slices_where_their_source_is(root: Path) -> None:
    check_frames(open_data(of_records(root, "data.slices.all=9")))
    assert frames(open_data(of_records(root, "data.slices.captions=9")), 0) == ["wide.png"]


def test_the_check_catches_fewer_slices_and_none(root: Path) -> None:
    for slices in (0, 2):
        with pytest.raises(AssertionError):
            check_frames(opened(root, slices))
        with pytest.raises(AssertionError):
            check_frames(open_data(of_records(root, f"data.slices.all={slices}")))
    assert frames(opened(root, 0), 0) == ["wide.png"]


def test_each_frame_shows_its_own_pixels(root: Path) -> None:
    data = opened(root)
    stage = Stage("s", 1, 12, (Rule(".*", 1.0),), mixture={"all": 1.0})
    batch_size = {"batch_size": 12, "row_length": 400, "rows_per_batch": 64}
    (batch,) = SequenceLoader(data.mixture(stage), examples(), **batch_size).batches(0)  # type: ignore[arg-type]
    assert batch.images.shape[1:] == (3, BASE, BASE)
    seen = {key.removeprefix("all/"): n for n, key in enumerate(batch.image_keys)}
    assert {*in_slices("wide.png"), *in_slices("tall.png"), overview_name("small.png"), "wide.png"} == set(seen)
    for file in GRIDS:
        picture = ops.decode(root / file)
        for name in in_slices(file):
            named = parse_name(name)
            assert named is not None
            expected = ops.to_pixels(cut(picture, (BASE, BASE)).piece(named[1]))
            np.testing.assert_allclose(batch.images[seen[name]].numpy(), expected, atol=1e-6)
    assert len(batch.slot_index[0]) % 16 == 0


def test_names_are_read_back() -> None:
    for image in ("a.png", "x/a#1,2.png", "a#whole"):
        assert parse_name(overview_name(image)) == (image, None)
        assert parse_name(slice_name(image, 1, 12)) == (image, (1, 12))
    assert parse_name("a.png") is None


def test_a_file_that_is_called_like_a_slice_is_itself(tmp_path: Path) -> None:
    for name, value in (("a", 0), ("a#0,1", 255)):
        Image.new("RGB", (64, 32), (value,) * 3).save(tmp_path / name, "PNG")
    images = ImageFiles(tmp_path, ["a", "a#0,1"], 32, name="n", slices=9)
    assert images.image("n/a#0,1").min() == 255
    assert images.image("n/a#0,0").max() == 0
    with pytest.raises(DataError, match="no image"):
        ImageFiles(tmp_path, ["a"], 32, name="n").image("n/a#0,0")
    with pytest.raises(DataError, match="no image"):
        images.image("n/b#whole")


def test_codes_have_no_slices(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.sources\.all\.slices: images read as codes"):
        recipe(root, "data.sources.all.slices=9", "reading=codes")
    with pytest.raises(ConfigError, match="at most"):
        recipe(root, "data.sources.all.slices=-1")
    with pytest.raises(ConfigError, match=r"data\.slices\.all: images read as codes"):
        of_records(root, "data.slices.all=9", "reading=codes")
    for wrong, says in (("all=-1", "at most"), ("nobody=9", "no source 'nobody'")):
        with pytest.raises(ConfigError, match=says):
            of_records(root, f"data.slices.{wrong}")


def test_records_without_slices_are_named_as_before(root: Path) -> None:
    """Runs that began before there were any go on."""
    plain, none, some = (of_records(root, *more) for more in ((), ("data.slices.all=0",), ("data.slices.all=9",)))
    assert "slices" not in naming(plain)["data"]
    assert len({recipe_hash(one) for one in (plain, none, some)}) == 3, "0 said is another way to say none"


def test_held_out_questions_are_asked_in_detail(root: Path) -> None:
    lines = [{"task": "chat", "images": [file], "messages": [
        {"role": "user", "content": [{"type": "image", "index": 0}, {"type": "text", "text": "what?"}]},
        {"role": "assistant", "content": "noise"}]} for file in GRIDS]  # fmt: skip
    (root / "asked.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = f"data.sources={{asked: {root / 'asked.jsonl'}}}"
    parts = open_data(of_records(root, data, "data.shown=[asked]", "data.slices.asked=9", "data.held_out=0.5")).parted
    assert parts is not None
    (found,) = (q for q in questions_of(parts, 9)[:1])
    file = parts.held_out["asked"].images.file(parts.held_out["asked"].records[0].images[0])
    assert (found.slices, found.picture.shape) == (9, (BASE, BASE, 3))
    assert found.whole is not None
    assert np.array_equal(found.whole, np.asarray(Image.open(root / file)))

    class Keeping:
        def ask(self, pictures, texts, *, slices=0):
            self.asked = (slices, [picture.shape for picture in pictures])
            return [""] * len(texts)

    subject = Keeping()
    OwnQuestions([found]).answer(subject, [found])  # type: ignore[arg-type]
    assert subject.asked == (9, [found.whole.shape])


def test_a_few_steps_of_the_whole_recipe(root: Path, tmp_path: Path) -> None:
    """It trains on them; drawing stays at the base size, so its codes are those of the plain images."""
    stages = [f"stages.{number}.mixture={{all: 1.0}}" for number in range(3)]
    tiny = tiny_own(tmp_path / "run", root)
    card = run(override(tiny, [*sources(root, "data.sources.all.slices=9"), *stages]))
    assert card["seconds"]
