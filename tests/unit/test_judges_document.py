"""docs/judges.md: its Python runs, its lines are of its files, its commands and settings are there, its costs true."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer
from jsonschema import Draft202012Validator
from PIL import Image

from illume.cli import app
from illume.core.config import from_dict, override
from illume.judge import drawings, verdicts
from illume.judge.api_config import ApiConfig
from illume.judge.budget import TYPICAL_VERDICT, expected_usage
from illume.judge.catalog import KINDS
from illume.judge.protocol import FAILURES
from illume.tasks import prompts
from illume.world import PICO, sample_scene
from illume.world.render import render

PAGE = Path(__file__).parents[2] / "docs" / "judges.md"
TEXT = PAGE.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    Image.fromarray(render(sample_scene(PICO, "test", 0), PICO)).save("images/0.png")
    row = drawings.drawing_row("0", "a red circle", "images/0.png")
    Path("drawings.jsonl").write_text(json.dumps(row) + "\n")
    for code in blocks("python"):
        names: dict[str, object] = {}
        exec(compile(code, str(PAGE), "exec"), names)
    assert len(verdicts.read_verdicts(Path("verdicts.jsonl"))) == len(names["lines"])  # type: ignore[arg-type]


def test_its_lines_are_of_its_files() -> None:
    drawing, judged = (json.loads(block) for block in blocks("json"))
    Draft202012Validator(json.loads(drawings.SCHEMA.read_text("utf-8"))).validate(drawing)
    Draft202012Validator(json.loads(verdicts.SCHEMA.read_text("utf-8"))).validate(judged)
    verdicts.parse_rows([("page", judged)])


def test_its_commands_options_and_settings_are_there() -> None:
    commands = typer.main.get_command(app).commands["judge"].commands  # type: ignore[attr-defined]
    for line in "".join(blocks("sh")).splitlines():
        _, _, command, *words = shlex.split(line)
        options = {option for parameter in commands[command].params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options
        kinds = [KINDS[word.split(":")[0]] for word in words if word.split(":")[0] in KINDS]
        settings = [word for word in words if "=" in word]
        if settings:
            ((config, field, _),) = kinds
            override(from_dict(config, {field: "m"}), settings)


def test_it_names_every_judge_and_failure() -> None:
    rows = " ".join(row.split("|")[1] for row in TEXT.splitlines() if row.startswith("| `"))
    assert {name.split(":")[0] for name in re.findall(r"`([^`]+)`", rows)} == set(KINDS)
    assert all(f"`{kind}`" in TEXT for kind in FAILURES)


def test_its_costs_are_those_of_the_estimate() -> None:
    config = ApiConfig("gpt-4o")
    words = prompts.ASSESSOR + prompts.ASSESS + "a photo of a red bench left of a dog"
    asked = expected_usage(words, (512, 512), config.detail, config.max_answer_tokens)
    cost = asked.input * 2.5e-6 + TYPICAL_VERDICT * 10e-6
    assert asked.input == pytest.approx(550, rel=0.1)
    assert 1000 * cost == pytest.approx(3, rel=0.1)
