"""The command line as a person uses it: its shape (golden), its answers, its exit codes, its errors."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

from fixtures.full_disk import file_size_limit
from fixtures.imagefolder import make_image_folder, write_metadata
from illume.cli import app
from illume.tasks.verdict import Verdict
from illume.world import PICO, sample_scene
from illume.world.render import render

pytestmark = pytest.mark.xdist_group("run")  # one run for all of them
GOLDEN = Path(__file__).parent / "golden_cli.json"
Illume = Callable[..., Any]


def shape(command: Any) -> dict[str, Any]:
    """Commands, arguments and options: what scripts rely on."""
    commands = getattr(command, "commands", {})
    return {name: shape(commands[name]) for name in sorted(commands)} | {
        parameter.name or "": {
            "kind": parameter.param_type_name,
            "options": sorted(parameter.opts),
            "required": parameter.required,
            "many": parameter.multiple or parameter.nargs == -1,
        }
        for parameter in command.params
        if parameter.name != "help"
    }


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "scene.png"
    Image.fromarray(render(sample_scene(PICO, "test", 0), PICO)).save(path)
    return path


def test_the_command_line_is_as_settled() -> None:
    """To settle a new one: python tests/e2e/test_cli.py"""
    assert shape(typer.main.get_command(app)) == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_help_and_import_do_not_import_torch() -> None:
    code = "import sys, illume, illume.cli; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["train", "pic"], 2, "pico"),
        (["train", "pico", "stages.1.stepz=3"], 2, "steps"),
        (["train", "pico", "stages.1.steps=many"], 2, "int"),
        (["train", "own"], 2, "data=FOLDER"),
        (["train", "nowhere.py:recipe"], 2, "no such recipe file"),
        (["train", "pico", "text.template=none"], 2, "plain, chatml, vicuna"),
        (["train", "pico", "device=tpu"], 2, "tpu"),
        (["train", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["train", "own", "data=nowhere"], 1, "nowhere"),
        (["drow"], 2, "drow"),
        (["draw", "model", "a", "--n", "0"], 2, "--n"),
        (["draw", "model", "a", "--top-p", "2"], 2, "--top-p"),
        (["draw", "model", "a", "--guidance", "1,x"], 2, "one for each level"),
        (["draw", "model", "a", "--guidance", "-1"], 2, "at least 0"),
        (["draw", "model", "a", "-o", "a.gif"], 2, "a.gif"),
        (["draw", "model", "a", "--tier", "int5"], 2, "near names: int8, int4"),
        (["draw", "model", "a", "--tier", "bf16-graph", "--device", "cpu"], 2, "use 'bf16'"),
        (["serve", "model", "--tier", "bf61"], 2, "near names: bf16"),
        (["serve", "model", "--tier", "bf16", "--strict"], 2, "strict mode"),
        (["edit", "model", "a"], 2, "--image"),
        (["edit", "model", "--image", "a.png"], 2, "--mask"),
        (["chat", "no-such-model"], 1, "no-such-model"),
        (["chat", "model", "what?", "--out", "x"], 2, "leave the question out"),
        (["draw", "no-such-model", "a red circle"], 1, "no-such-model"),
        (["draw", "no-such-model"], 2, "--prompts"),
        (["show", "no-such-thing"], 2, "no-such-thing"),
        (["data", "check", "no-such-folder"], 1, "no-such-folder"),
    ],
)
def test_what_is_wrong_is_said(illume: Illume, arguments: list[str], code: int, said: str, tmp_path: Path) -> None:
    if arguments[0] == "train":
        arguments = [*arguments, f"out={tmp_path / 'run'}"]
    answer = illume(*arguments)
    assert (answer.code, said in answer.err) == (code, True), answer
    assert "Traceback" not in answer.err


def test_without_arguments_the_help_is_shown(illume: Illume) -> None:
    answer = illume()
    assert (answer.code, "Commands:" in answer.err) == (2, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def made(:\n", "SyntaxError"),
        ("import nowhere_at_all\n", "nowhere_at_all"),
        ("def made():\n    return 1 / 0\n", "recipe.py:2"),
        ("def made():\n    return 1\n", "not a Recipe"),
        ("def other():\n    return 1\n", "it has other"),
    ],
)
def test_what_is_wrong_in_a_recipe_file_is_said(illume: Illume, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "recipe.py").write_text(text)
    answer = illume("train", f"{tmp_path / 'recipe.py'}:made")
    assert (answer.code, said in answer.err, "Traceback" in answer.err) == (2, True, False), answer


def test_a_recipe_file_is_shown(illume: Illume, tmp_path: Path) -> None:
    text = "from illume.recipes.pico import pico\n\ndef made():\n    return pico()\n"
    (tmp_path / "recipe.py").write_text(text)
    assert illume("show", f"{tmp_path / 'recipe.py'}:made").code == 0


def test_pictures_that_cannot_be_written_are_refused(illume: Illume, run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    before_drawing = illume("draw", "model", "a", "-o", tmp_path / "file" / "a.png")
    assert (before_drawing.code, "cannot be made" in before_drawing.err) == (2, True)
    with file_size_limit(100):
        full = illume("draw", run_folder, "a red circle", "-o", tmp_path / "a.png")
    assert (full.code, "could not be written" in full.err) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_draw_writes_pictures(illume: Illume, run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "drawn.png"
    answer = illume("draw", run_folder, "a red circle", "-o", out, "--n", 2, "--seed", 3, "--json")
    files = [Path(row["file"]) for row in json.loads(answer.out)["drawings"]]
    assert answer.code == 0
    assert files == [out.with_name("drawn-0.png"), out.with_name("drawn-1.png")]
    assert all(Image.open(file).size == (32, 32) for file in files)


def test_the_same_seed_draws_the_same(illume: Illume, run_folder: Path, tmp_path: Path) -> None:
    pictures = []
    for name in ("a", "b"):
        illume("draw", run_folder / "model", "two blue squares", "-o", tmp_path / f"{name}.png", "--seed", 5)
        pictures.append(np.asarray(Image.open(tmp_path / f"{name}.png")))
    assert np.array_equal(*pictures)


def test_prompts_come_from_a_file(illume: Illume, run_folder: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a {red} circle\n\n<end> two squares\n", encoding="utf-8")
    answer = illume("draw", run_folder, "--prompts", prompts, "-o", tmp_path / "p.png", "--json")
    assert [row["prompt"] for row in json.loads(answer.out)["drawings"]] == ["a {red} circle", "<end> two squares"]


def test_chat_edit_and_assess_answer(illume: Illume, run_folder: Path, picture: Path, tmp_path: Path) -> None:
    said = illume("chat", run_folder, "--image", picture, "how many objects are there?", "--json")
    assert said.code == 0
    assert isinstance(json.loads(said.out)["answer"], str)
    edited = tmp_path / "edited.png"
    assert illume("edit", run_folder, "--image", picture, "remove the circle", "-o", edited).code == 0
    assert Image.open(edited).size == (32, 32)
    judged = illume("assess", run_folder, "--image", picture, "a red circle", "--json")
    if judged.code == 0:
        Verdict.from_json(judged.out)
    else:  # a model that has learnt nothing need not write a verdict, but then says so
        assert (judged.code, "verdict" in judged.err) == (1, True)


def test_a_picture_that_is_none_is_refused(illume: Illume, run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    answer = illume("chat", run_folder, "--image", tmp_path / "empty.png", "what is it?")
    assert (answer.code, "empty.png" in answer.err) == (1, True)


def test_score_measures_again(illume: Illume, run_folder: Path, tmp_path: Path) -> None:
    answer = illume("score", run_folder, "score.num_items=6", "-o", tmp_path / "card.json", "--json")
    assert answer.code == 0, answer.err
    card = json.loads(answer.out)
    assert card == json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))
    assert {"see", "draw", "reconstruct", "edit", "assess"} < set(card)


@pytest.mark.parametrize("what", ["pico", "own", "illume_7b", "model"])
def test_show_describes(illume: Illume, run_folder: Path, what: str) -> None:
    answer = illume("show", run_folder / "model" if what == "model" else what)
    assert answer.code == 0, answer.err
    assert "vision_encoder" in answer.out


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(shape(typer.main.get_command(app)), indent=1) + "\n", encoding="utf-8")


@pytest.mark.parametrize(("options", "said"), [([], "\\u8d64\\u3044\\u4e38"), (["--json"], "\\u8d64\\u3044\\u4e38")])
def test_what_a_terminal_cannot_encode_is_escaped(options: list[str], said: str, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    names = [name for name, _ in make_image_folder(folder, n=2)]
    write_metadata(folder, [(name, "赤い丸") for name in names])
    command = [sys.executable, "-m", "illume", "data", "check", str(folder), *options]
    run = subprocess.run(command, capture_output=True, check=False, env=os.environ | {"PYTHONIOENCODING": "cp1252"})
    assert (run.returncode, said in run.stdout.decode("cp1252")) == (0, True), run.stderr
