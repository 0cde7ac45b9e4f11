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
from illume.images import ops
from illume.images.slices import cut
from illume.recipes.data import OpenData, open_data
from illume.recipes.own import own
from illume.recipes.recipe import Recipe
from illume.recipes.run import run
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


def test_the_check_catches_fewer_slices_and_none(root: Path) -> None:
    for slices in (0, 2):
        with pytest.raises(AssertionError):
            check_frames(opened(root, slices))
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


def test_a_few_steps_of_the_whole_recipe(root: Path, tmp_path: Path) -> None:
    """It trains on them; drawing stays at the base size, so its codes are those of the plain images."""
    stages = [f"stages.{number}.mixture={{all: 1.0}}" for number in range(3)]
    tiny = tiny_own(tmp_path / "run", root)
    card = run(override(tiny, [*sources(root, "data.sources.all.slices=9"), *stages]))
    assert card["seconds"]
