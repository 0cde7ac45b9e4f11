"""docs/enhance.md: its Python runs, its line is of its file, its commands, options and steps are there."""

import itertools
import json
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
import typer
from jsonschema import Draft202012Validator

from fixtures.tiny_sessions import session_parts
from illume.api import Illume
from illume.cli import app
from illume.core.config import from_dict, override
from illume.enhance.propose import SCHEMA
from illume.enhance.round import FILES
from illume.judge.catalog import KINDS
from illume.recipes.courses import COURSES

PAGE = Path(__file__).parents[2] / "docs" / "enhance.md"
TEXT = PAGE.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def options_of(command: str) -> set[str]:
    found = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    return {option for parameter in found.params for option in parameter.opts}


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Illume(session_parts()).save(tmp_path / "runs" / "demo")
    Path("prompts.txt").write_text("a red circle\ntwo blue squares\n")
    for code in blocks("python"):
        exec(compile(code, str(PAGE), "exec"), {})
    assert Path("round-1/prompts.jsonl").read_text().count("\n") == 2


def test_its_line_is_of_its_file() -> None:
    (line,) = blocks("json")
    Draft202012Validator(json.loads(SCHEMA.read_text("utf-8"))).validate(json.loads(line))


def test_its_commands_options_and_settings_are_there() -> None:
    options = options_of("enhance")
    for line in "".join(blocks("sh")).splitlines():
        words = shlex.split(line)
        if words[1] == "draw":
            continue
        words = words[words.index("enhance") + 1 :]
        assert {word for word in words if word.startswith("-")} <= options
        own = [value for option, value in pairwise(words) if option == "--with"]
        COURSES[words[words.index("--method") + 1] if "--method" in words else "assessment"].settled(own)
        if "--judge" not in words:
            continue
        kind, _, name = words[words.index("--judge") + 1].partition(":")
        if settings := [word for word in words if "=" in word and word not in own]:
            config, field, _ = KINDS[kind]
            override(from_dict(config, {field: name or "m"}), settings)
    for option in re.findall(r"`(--[a-z-]+)", TEXT):
        assert option in options | options_of("draw")


def test_its_drawing_commands_are_there() -> None:
    lines = [shlex.split(line) for line in "".join(blocks("sh")).splitlines()]
    drawing = [words for words in lines if words[1] == "draw"]
    for words in drawing:
        assert {word for word in words if word.startswith("-")} <= options_of("draw")
        settings = [after for word, after in itertools.pairwise(words) if word == "--judge-setting"]
        if settings:
            kind, _, name = words[words.index("--judge") + 1].partition(":")
            config, field, _ = KINDS[kind]
            override(from_dict(config, {field: name}), settings)
    assert len(drawing) == 5


def test_it_names_every_step_and_file() -> None:
    for step, file in FILES.items():
        assert f"**{step}**" in TEXT
        assert file in TEXT
