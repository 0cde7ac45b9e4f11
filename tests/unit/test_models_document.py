"""docs/models.md: its Python runs, its commands are those of the command line, its overrides those of recipes."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from illume.cli import app
from illume.models.pretrained_vision import VISION_MODELS
from illume.recipes.catalog import resolve

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
TEXT = PAGE.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in blocks("python"):  # one after the other, as a person would
        exec(compile(code, str(PAGE), "exec"), names)
    assert (tmp_path / "tiny-lora" / "adapter_config.json").is_file()


def test_its_commands_and_options_are_there() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    lines = [shlex.split(line) for line in "".join(blocks("sh")).splitlines()]
    for _, command, *words in lines:
        options = {option for parameter in commands[command].params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options
        if command in ("show", "train"):
            assert resolve(words[0], words[1:]).lora is not None
    assert len(lines) == 3


def test_its_table_names_every_encoder() -> None:
    rows = [row.split("|")[2] for row in TEXT.splitlines() if row.startswith("| ") and "`" in row and "_" in row]
    assert set(re.findall(r"`([\w.]+)`", " ".join(rows))) - {"model_type"} == set(VISION_MODELS)
