"""Mixtures of own data of every kind: names, shares, what is encoded, and a few steps of the whole recipe."""

import shlex
import sys
from pathlib import Path

import pytest

from fixtures.own_data import make_every_kind, write_lines
from fixtures.tiny_recipe import tiny_own
from illume import cli
from illume.core.config import dump_yaml, from_dict, override
from illume.core.config_yaml import parse_plain
from illume.core.errors import ConfigError, DataError
from illume.eval.scorecard import load as load_scorecard
from illume.recipes.catalog import resolve
from illume.recipes.data import open_data
from illume.recipes.own import own
from illume.recipes.recipe import MixedData, Recipe
from illume.recipes.run import run
from illume.train.stage import Rule, Stage

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own")
    make_every_kind(path)
    return path


def mixed(root: Path, *overrides: str) -> Recipe:
    """The recipe `own` on everything in a folder."""
    sources = {"pics": "folder", "tars": "webdataset", "talk": "llava", "changes": "edits", "small": "chat"}
    paths = [f"data.sources.{name}.path={root / folder}" for name, folder in sources.items()]
    out = f"out={root / 'out'}"
    return override(own(), ["data.kind=mixed", "image_size=32", "encoder.image_size=32", out, *paths, *overrides])


def stage(**mixture: float) -> Stage:
    weights = {name: float(weight) for name, weight in mixture.items()}
    return Stage("s", 1, 100, (Rule(".*", 1.0),), mixture=weights)


def shares(recipe: Recipe, mixture: dict[str, float]) -> dict[str, int]:
    """How many of 100 samples each source gives."""
    found = open_data(recipe).mixture(stage(**mixture))
    return {source.name: count for source, count in zip(found.sources, found.counts(100), strict=True)}


def test_a_mixture_names_sources_collections_or_tasks(root: Path) -> None:
    recipe = mixed(root)
    assert shares(recipe, {"pics/draw": 3, "changes": 1}) == {"pics/draw": 75, "changes": 25}
    assert shares(recipe, {"pics": 1}) == {"pics/caption": 50, "pics/draw": 50}
    assert shares(recipe, {"draw": 1}) == {"pics/draw": 50, "tars/draw": 50}
    assert shares(recipe, {"draw": 1, "edit": 1, "chat": 2}) == {
        "pics/draw": 12,
        "tars/draw": 12,
        "changes": 25,
        "talk": 25,
        "small": 26,
    }
    heavier = mixed(root, "data.sources.tars.weight=3", "data.sources.pics.tasks={draw: 3, text: 1}")
    assert shares(heavier, {"draw": 1}) == {"pics/draw": 25, "tars/draw": 75}
    assert shares(heavier, {"pics": 1}) == {"pics/draw": 75, "pics/text": 25}
    assert shares(recipe, {"pics/draw": 1, "changes": 0}) == {"pics/draw": 100}
    with pytest.raises(ConfigError, match=r"'s' mixes pics/caption; this data has pics/draw, pics/text"):
        shares(heavier, {"pics/caption": 1})


def test_only_what_is_drawn_is_encoded(root: Path) -> None:
    def encoded(recipe: Recipe, **mixture: float) -> dict[str, int]:
        return {images.name: len(images.keys()) for images in open_data(recipe).images([stage(**mixture)])}

    recipe = mixed(root)
    assert encoded(recipe, talk=1, tars=1) == {"tars": 12}
    assert encoded(recipe, changes=1, small=1, **{"pics/caption": 1}) == {"changes": 6}
    assert encoded(recipe, talk=1, small=1) == {"talk": 1}, "one, for the shape of its codes"
    images = open_data(recipe).images([stage(tars=1)])[0]
    assert images is open_data(recipe).sources["tars/draw"].images or images.fingerprint


def test_some_of_the_images_have_another_fingerprint(root: Path) -> None:
    path = write_lines(
        root / "records" / "part.jsonl",
        [{"task": "draw", "images": ["0.png"], "text": "x"}, {"task": "caption", "images": ["1.png"], "text": "x"}],
    )
    data = open_data(mixed(root, f"data.sources.mine.path={path}"))
    part, whole = data.images([stage(mine=1)])[0], data.sources["mine"].images
    assert (list(part.keys()), list(whole.keys())) == (["mine/0.png"], ["mine/0.png", "mine/1.png"])
    assert part.fingerprint != whole.fingerprint
    assert (part.image("mine/0.png") == whole.image("mine/0.png")).all()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["data.sources.draw.path=a"], "names a task"),
        (["data.sources.pics.tasks={paint: 1}"], "paint"),
        (["data.sources.pics.weight=0"], "above 0"),
        (["data.sources.changes.tasks={draw: 1}"], "tasks of their records"),
        (["data.shown=[nobody]"], "nobody"),
        (["data.shown=[small]"], "not every record of 'small' has an image"),
        (["encoder_stage.mixture={changes: 1}", "data.shown=[pics, changes]"], "learns from captions"),
        (["data.sources.pics.kind=tables"], "tables"),
    ],
)
def test_what_is_wrong_with_a_mixture_is_said(root: Path, overrides: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        open_data(mixed(root, *overrides))


def test_what_is_wrong_with_its_data_stops_it_or_is_listed(root: Path, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "chat.jsonl", [{"messages": []}, *[{"messages": [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}]])  # fmt: skip
    with pytest.raises(DataError, match=r"chat\.jsonl:1: messages has to be a list"):
        open_data(mixed(root, f"data.sources.more.path={path}"))
    data = open_data(mixed(root, f"data.sources.more.path={path}", "data.on_invalid=skip"))
    assert [problem.where for problem in data.problems] == [f"{path}:1"]
    assert len(data.sources["more"]) == 1


def test_the_yaml_of_the_documentation_is_a_configuration() -> None:
    text = (DOCS / "data.md").read_text(encoding="utf-8")
    block = text.split("```yaml\n", 1)[1].split("```", 1)[0]
    data = from_dict(Recipe, parse_plain(dump_yaml(own()), "own") | parse_plain(block, "docs/data.md")).data
    assert isinstance(data, MixedData)
    assert {source.kind for source in data.sources.values()} >= {"auto", "webdataset"}


def test_the_commands_of_the_documentation_are_understood(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "FOLDER").symlink_to(root / "folder")
    monkeypatch.chdir(root)
    lines = [line for line in (DOCS / "data.md").read_text(encoding="utf-8").splitlines() if line.startswith("illume ")]
    assert len(lines) == 4
    for words in map(shlex.split, lines):
        if words[1] == "train":
            assert len(open_data(resolve(words[2], words[3:])).sources) >= 4
            continue
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code in (0, None)
        assert "6 usable records" in capsys.readouterr().out
    assert (root / "sheet.html").read_text(encoding="utf-8").count("<img") == 6


def test_a_few_steps_over_every_kind(root: Path, tmp_path: Path) -> None:
    recipe = tiny_own(tmp_path / "run", root / "folder")
    paths = {"pics": "folder", "tars": "webdataset", "talk": "llava", "changes": "pix2pix", "small": "chat"}
    recipe = override(
        recipe,
        [
            "data.kind=mixed",
            *(f"data.sources.{name}.path={root / folder}" for name, folder in paths.items()),
            "data.fit=contain",
            "stages.2.mixture={draw: 0.4, edit: 0.3, chat: 0.3}",
            "tokenizer_stage.mixture={pics: 0.5, changes: 0.5}",
            "data.shown=[pics, tars, changes]",
            "encoder_stage.mixture={pics: 0.5, tars: 0.5}",
            "pixel_stage.mixture={images: 1.0}",
            "data.held_out=0.3",
        ],
    )
    card = run(recipe)
    folder = tmp_path / "run"
    assert {"see", "draw", "reconstruct", "edit"} <= card.keys()
    assert card["see"]["by"].keys() == {"talk"}
    assert card["edit"]["baseline"].keys() == {"copy the input"}
    assert card == load_scorecard(folder / "scorecard.json")
    assert (folder / "model" / "config.json").is_file()
    assert sorted(path.name for path in (folder / "codes").iterdir()) == ["changes", "pics", "tars"]
    assert len(list((folder / "indexes").iterdir())) == 2
