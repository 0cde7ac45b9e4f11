"""Law 12 for docs/: the commands and the Python of quick start, method and recipes run, training with tiny sizes."""

import io
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fixtures.documents import ROOT, blocks, check_command, commands, lacks_weights
from fixtures.published_model import make_published
from fixtures.tiny_recipe import BATCHES, CODES, ONE_LEVEL, STEPS
from illume.core.config import override
from illume.recipes.catalog import resolve
from illume.recipes.recipe import MixedData, PretrainedDecoderConfig, Recipe, RecordsData, WorldData

LARGE = ("illume_7b", "illume_7b_qwen")  # understood, and shown; not trained here
pytestmark = pytest.mark.xdist_group("run")


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def saved_files(text: str) -> Iterator[tuple[str, str]]:
    """The Python that a page says to save, with the names of the files."""
    yield from re.findall(r"saved as `(\w+\.py)`.*?^```python\n(.*?)^```$", text, flags=re.I | re.M | re.S)


def make_tiny(recipe: Recipe) -> list[str]:
    """Overrides by which any recipe is trained in seconds; a published language model comes from a folder here."""
    data = {
        WorldData: ["data.num_scenes=64"],
        RecordsData: [],
        MixedData: ["data.held_out=0.2"],
    }.get(type(recipe.data), ["data.held_out=0.2"])
    further = [f"stages.{n}.{few}" for n in range(3, len(recipe.stages)) for few in ("steps=2", "batch_size=16")]
    tiny = [CODES, ONE_LEVEL, *STEPS, *BATCHES, *data, *further]
    if isinstance(recipe.decoder, PretrainedDecoderConfig):
        rows = make_published(Path("published"), override(recipe, tiny).decoder.shape)
        tiny += ["decoder.name=published", "text.name=published", f"decoder.text_rows={rows}"]
    if Path(recipe.out).is_symlink():  # the run that other tests look at
        tiny.append(f"out={recipe.out}-again")
    return tiny


@pytest.fixture
def train(here: Path, illume: Callable[..., Any]) -> Callable[[str, Sequence[str]], None]:
    """`illume train`, small. A saved configuration is trained as it is: it is that of a tiny run."""

    def call(name: str, overrides: Sequence[str]) -> None:
        recipe = resolve(name, overrides)
        if name not in LARGE:
            tiny = [] if name.endswith(".yaml") else make_tiny(recipe)
            answer = illume("train", name, *overrides, *tiny)
            assert answer.code == 0, (name, overrides, answer.err)

    return call


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("quickstart.md", {"make", "draw", "chat", "edit", "assess", "data", "train", "show"}),
        ("method.md", {"show"}),
        ("recipes.md", {"train", "show"}),
    ],
)
def test_every_command_runs(
    name: str,
    wanted: set[str],
    here: Path,
    illume: Callable[..., Any],
    train: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = page(name)
    for file, code in saved_files(text):
        (here / file).write_text(code, encoding="utf-8")
    found = list(commands(text))
    assert {words[1] if words[0] == "illume" else words[0] for words in found} == wanted
    for words in found:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"/help\n")))  # of a conversation
        check_command(words, illume, train)


def test_the_commands_of_the_table_of_recipes_are_theirs(here: Path) -> None:
    rows = re.findall(r"^\| `(\w+)` \| `((?:illume|torchrun) [^`]+)`", page("recipes.md"), flags=re.M)
    for name, command in rows:
        understood: list[Recipe] = []
        check_command(command.split(), lambda *_: None, lambda *said, found=understood: found.append(resolve(*said)))
        assert understood[0].name == name
    assert len(rows) == 7


def test_the_check_catches_a_recipe_that_does_not_build(here: Path, illume: Callable[..., Any]) -> None:
    ((_, code),) = saved_files(page("recipes.md"))
    rest = r"(?!decoder\..*_proj\.weight$|vision_encoder\.).*"
    assert rest in code
    (here / "bad.py").write_text(code.replace(rest, r"head\..*"), encoding="utf-8")
    with pytest.raises(AssertionError, match="matches no rule"):
        check_command(["illume", "show", "bad.py:small"], illume)


@pytest.mark.parametrize("name", ["quickstart.md", "method.md", "recipes.md"])
def test_the_python_runs(name: str, here: Path) -> None:
    for code in blocks(page(name), "python"):
        if lacks_weights(code):
            continue
        exec(compile(code, name, "exec"), {"__name__": "page"})
    if name == "quickstart.md":
        assert (here / "edited.png").is_file()


def table(text: str, where: str) -> set[str]:
    """The names of the first column of the table that a heading cell names."""
    rows = text.split(f"| in `{where}` |", 1)[1].split("\n\n", 1)[0]
    return {
        name for cell in re.findall(r"^\| (`[^|]+) \|", rows, flags=re.M) for name in re.findall(r"`([^`]+)`", cell)
    }


def entries(folder: Path) -> set[str]:
    return {f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir()}


def test_the_tables_of_a_runs_folder_are_whole(run_folder: Path) -> None:
    text = page("quickstart.md")
    assert table(text, "runs/demo") - entries(run_folder) == {"lora/", "indexes/"}, "these are of other runs"
    assert entries(run_folder) - table(text, "runs/demo") == set()
    assert table(text, "model/") == entries(run_folder / "model")


def test_a_recipe_of_a_page_is_the_one_it_says(here: Path) -> None:
    ((_, code),) = saved_files(page("recipes.md"))
    (here / "mine.py").write_text(code, encoding="utf-8")
    recipe = resolve("mine.py:small")
    assert replace(recipe, name="pico", out="runs/pico", stages=recipe.stages[:3]) == resolve("pico")
