"""docs/world.md: its Python runs, its record is one, its commands are those of the command line, its table is true."""

import json
import re
from pathlib import Path

import typer

from illume.cli import app
from illume.data.records import validate
from illume.recipes.catalog import resolve
from illume.world import NANO, PICO

PAGE = Path(__file__).parents[2] / "docs" / "world.md"
TEXT = PAGE.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def test_its_python_runs() -> None:
    for code in blocks("python"):
        names: dict[str, object] = {}
        exec(compile(code, str(PAGE), "exec"), names)
        assert names["said"]
        assert names["asked"]


def test_its_record_is_one() -> None:
    (record,) = re.findall(r'`(\{"task".*?\})`', TEXT)
    assert validate(json.loads(record), str(PAGE)).task == "inpaint"


def test_its_commands_and_options_are_there() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for line in "".join(blocks("sh")).splitlines():
        _, command, *words = line.split()
        options = {option for parameter in commands[command].params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options
        assert command != "train" or resolve(words[0], words[1:]).stages


def test_its_table_is_true() -> None:
    for config, column in ((PICO, 1), (NANO, 2)):
        rows = [row.strip("|").split("|") for row in TEXT.splitlines() if row.startswith("| ")]
        table = {row[0].strip(): row[column].strip() for row in rows}
        assert table["picture"] == f"{config.size} px, {config.layout[0]} x {config.layout[1]} cells"
        counts = (len(config.shapes), len(config.colours), len(config.sizes))
        assert table["shapes, colours, sizes"] == ", ".join(map(str, counts))
        assert table["objects"] == f"1 to {config.max_objects}"
