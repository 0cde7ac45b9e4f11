"""Law 12: every command in the README runs, on a tiny run in place of runs/demo; the long ones are read as written."""

import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fixtures.documents import NO_VERDICT, ROOT, blocks, check_command, commands
from illume.core.errors import DataError
from illume.recipes.catalog import resolve

README = (ROOT / "README.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.xdist_group("run")


@contextmanager
def expected_of_a_tiny_model() -> Iterator[None]:
    """Its answers mean nothing; the last line of the README's Python reads one as a verdict."""
    try:
        yield
    except DataError as error:
        if NO_VERDICT not in str(error):
            raise


def test_every_command_of_the_readme_runs(here: Path, illume: Callable[..., Any]) -> None:
    found = list(commands(README))
    told = {tuple(words[:2]) for words in found}
    wanted = {"train", "draw", "chat", "edit", "assess", "score", "serve", "data", "show"}
    assert told >= {("make", "demo"), ("make", "test"), *(("illume", command) for command in wanted)}
    for words in found:
        check_command(words, illume)


def demo() -> list[list[str]]:
    """The commands of `make demo`, once it is set up."""
    dry_run = ["make", "--no-print-directory", "-n", "demo"]
    printed = subprocess.run(dry_run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [shlex.split(line)[1:] for line in printed.splitlines() if "/illume " in line]


def test_what_make_demo_trains_is_understood() -> None:
    command, recipe, *overrides = demo()[0]
    assert command == "train"
    assert resolve(recipe, overrides).out == "runs/demo"


def test_what_make_demo_enhances_is_understood(here: Path, illume: Callable[..., Any]) -> None:
    _, enhanced = demo()
    assert enhanced[:2] == ["enhance", "runs/demo"]
    answer = illume(*enhanced, "--only", "propose", "--num-prompts", "4")  # the tiny run has fewer texts
    assert answer.code == 0, answer
    assert (here / "runs/demo-enhanced/round-1/prompts.jsonl").is_file()
    assert illume(*enhanced, "--no-such-option").code == 2


def test_the_python_of_the_readme_runs(here: Path) -> None:
    (code,) = blocks(README, "python")
    with expected_of_a_tiny_model():
        exec(compile(code, "README.md", "exec"), {})
    assert (here / "green.png").is_file()


@pytest.mark.parametrize(
    "words",
    [
        ["make", "nothing"],
        ["illume", "train", "pico", "stages.0.stepz=1"],
        ["illume", "draw", "runs/demo", "--prompt", "x"],
        ["illume", "chat", "runs/demo", "--image", "gone.png", "what?"],
        ["python", "-m", "benchmarks.nothing"],
        ["illume-train", "pico"],
    ],
)
def test_the_check_catches_a_command_that_does_not_run(
    words: list[str], here: Path, illume: Callable[..., Any]
) -> None:
    with pytest.raises(Exception, match=r".") as caught:
        check_command(words, illume)
    assert not isinstance(caught.value, KeyboardInterrupt)
