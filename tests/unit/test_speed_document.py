"""docs/speed.md: its Python runs, its command and benchmarks are there, its table has every tier."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer

from fixtures.documents import ROOT, blocks, commands
from fixtures.tiny_model_folder import SIZE, tiny_illume
from illume.cli import app
from illume.generate.tier import TIERS

TEXT = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_illume().save(tmp_path / "runs" / "demo" / "model")
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(TEXT, "python")
    found: dict = {}
    exec(compile(code, "speed.md", "exec"), found)
    assert found["picture"].size == SIZE
    assert (found["model"].tier, found["engine"].tier) == ("int8", TIERS["bf16"])


def test_its_command_has_these_options() -> None:
    ((_, name, *words),) = commands(TEXT)
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options
    assert words[words.index("--tier") + 1] in TIERS


def test_its_table_names_every_tier() -> None:
    told = TEXT.split("| | weights |", 1)[1].split("\n\n", 1)[0]
    names = {name for row in told.splitlines()[2:] for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
    modes = {name.removeprefix("...") for name in names if name.startswith("...")}
    weights = {name for name in names if not name.startswith("...")}
    assert weights | {kind + mode for kind in weights for mode in modes} == TIERS.keys()


def test_its_benchmarks_are_there() -> None:
    modules = set(re.findall(r"python -m ([\w.]+)", TEXT))
    assert len(modules) == 3
    assert all(find_spec(module) for module in modules)
