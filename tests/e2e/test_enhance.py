"""`illume enhance` on a tiny run: whole, from stage 2, step by step; killed while it trains; what is wrong."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.rounds import rows, tree
from fixtures.tiny_detectors import save_clip, save_yolos
from illume.api import load
from illume.core.config import load_yaml
from illume.core.errors import CheckpointError
from illume.core.tensors import load_tensors
from illume.data.records import read_records
from illume.enhance.round import FILES
from illume.eval.scorecard import validate
from illume.recipes import enhance as enhance_module
from illume.recipes.courses import COURSES, Settings
from illume.recipes.enhance import enhance
from illume.recipes.recipe import Recipe
from illume.recipes.retrain import Base, mixed
from illume.world import sample_prompt

pytestmark = pytest.mark.xdist_group("run")  # one run for all of them
Illume = Callable[..., Any]


def command(run: Path, out: Path, *more: object) -> list[str]:
    words = list(map(str, more))
    method = words[words.index("--method") + 1] if "--method" in words else "assessment"
    steps = COURSES[method].steps if method in COURSES else ()  # type: ignore[index]
    asked = ["--prompts", "world", "--num-prompts", "6", "--steps", "3"]
    asked += ["--judge", "oracle"] if method != "reca" else []
    asked += ["--per-prompt", "2"] if "paint" in steps else []
    return ["enhance", str(run), *asked, "--out", str(out), *words]


def round_files(out: Path, number: int = 1) -> dict[str, bytes]:
    """The files of a round, but for the run that learns from it."""
    return {name: data for name, data in tree(out / f"round-{number}").items() if not name.startswith("run/")}


@pytest.fixture(scope="module")
def enhanced(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds, the model continued after each."""
    out = tmp_path_factory.mktemp("enhanced") / "out"
    settings = Settings("world", "oracle", rounds=2, num_prompts=6)
    from dataclasses import replace

    from illume.enhance.paint import Painting
    from illume.recipes.retrain import Retraining

    enhance(str(run_folder), replace(settings, painting=Painting(2), retraining=Retraining(steps=3)), out)
    return out


def test_rounds_leave_their_files_a_model_scorecards_and_a_page(enhanced: Path) -> None:
    cards = json.loads((enhanced / "scorecards.json").read_text("utf-8"))
    for card in (cards["before"], cards["after"], *cards["rounds"]):
        validate(card, "card")
    assert cards["after"] == cards["rounds"][1]
    for number in (1, 2):
        assert {FILES[step] for step in COURSES["assessment"].steps[:-1]} <= set(round_files(enhanced, number))  # type: ignore[index]
    first, second = ({row["prompt"] for row in rows(enhanced / f"round-{n}" / "prompts.jsonl")} for n in (1, 2))
    assert first != second
    model = enhanced / "round-2" / "run" / "model"
    recipe = load_yaml(model / "recipe.yaml", Recipe)
    assert recipe.rounds is not None
    assert recipe.stages[-1].mixture.keys() >= {"round-1", "round-2"}
    assert sum(recipe.stages[-1].mixture[f"round-{n}"] for n in (1, 2)) == pytest.approx(0.1)
    assert load(model).draw("a red circle")[0].size == (32, 32)
    page = (enhanced / "enhance.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") > 12
    assert "after round 2" in page


def test_run_again_it_changes_nothing(illume: Illume, run_folder: Path, enhanced: Path) -> None:
    before = tree(enhanced)
    answer = illume(*command(run_folder, enhanced, "--rounds", 2, "--json"))
    assert answer.code == 0, answer.err
    assert json.loads(answer.out) == json.loads((enhanced / "scorecards.json").read_text("utf-8"))
    assert tree(enhanced) == before


def killed_in_training(run: Path, out: Path, *more: object) -> None:
    """The command killed by force between two of its steps of training: it leaves a checkpoint and no scorecard."""
    words = [sys.executable, "-m", "illume", *command(run, out, *more)]
    env = dict(os.environ, OMP_NUM_THREADS="1")
    process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoints = out / "round-1/run/checkpoints" / ("stage3" if "stage2" in more else "enhance")
    deadline = time.monotonic() + 240
    try:
        while not list(checkpoints.glob("step-*")) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
    assert not (out / "scorecards.json").exists(), "it ended before it could be killed"


def same_model(ours: Path, theirs: Path) -> bool:
    """Whether two rounds left the same weights, bit by bit."""
    one, other = (load_tensors(out / "round-1/run/model/model.safetensors") for out in (ours, theirs))
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def test_killed_while_it_trains_it_ends_with_the_same_files_and_model(
    illume: Illume, run_folder: Path, enhanced: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    killed_in_training(run_folder, out)
    assert illume(*command(run_folder, out)).code == 0
    assert round_files(out) == round_files(enhanced)
    assert same_model(out, enhanced)


@pytest.mark.parametrize(
    "more",
    [
        ["--from", "stage2"],
        ["--method", "reca"],
        ["--method", "dpo", "--with", "pairs.truth=true"],
    ],
    ids=["stage2", "reca", "dpo"],
)
def test_any_training_killed_ends_with_the_same_files_and_model(
    illume: Illume, run_folder: Path, tmp_path: Path, more: list[str]
) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed_in_training(run_folder, killed, *more)
    for out in (killed, whole):
        answer = illume(*command(run_folder, out, *more))
        assert answer.code == 0, answer.err
    assert round_files(killed) == round_files(whole)
    assert same_model(killed, whole)


def test_from_stage_2_only_the_last_stage_is_trained_anew(illume: Illume, run_folder: Path, tmp_path: Path) -> None:
    before = tree(run_folder)
    answer = illume(*command(run_folder, tmp_path / "out", "--from", "stage2"))
    assert answer.code == 0, answer.err
    run = tmp_path / "out/round-1/run"
    assert tree(run_folder) == before
    assert {json.loads(line)["part"] for line in (run / "metrics.jsonl").read_text().splitlines()} == {"stage3"}
    made, base = load_yaml(run / "config.yaml", Recipe), load_yaml(run_folder / "config.yaml", Recipe)
    assert (made.stages[:-1], made.data) == (base.stages[:-1], base.data)
    assert (run / "model" / "tokenizer.json").read_bytes() == (run_folder / "model" / "tokenizer.json").read_bytes()


def test_steps_run_alone(illume: Illume, run_folder: Path, enhanced: Path, tmp_path: Path) -> None:
    for step in ("propose", "paint", "assess", "compose"):
        answer = illume(*command(run_folder, tmp_path / "out", "--only", step, "--json"))
        assert answer.code == 0, answer.err
        assert Path(json.loads(answer.out)["file"]).is_file()
    assert round_files(tmp_path / "out") == round_files(enhanced)
    assert read_records(tmp_path / "out/round-1/records.jsonl")[0]


def test_a_file_of_prompts_and_the_model_as_its_own_judge(illume: Illume, run_folder: Path, tmp_path: Path) -> None:
    base = Base.find(str(run_folder))
    texts = dict.fromkeys(sample_prompt(base.recipe.data.world, "train", i).text for i in range(3))  # type: ignore[union-attr]
    (tmp_path / "asked.txt").write_text("\n".join(texts) + "\n")
    asked = ["enhance", run_folder, "--prompts", tmp_path / "asked.txt", "--judge", "self", "--out", tmp_path / "out"]
    for step in ("propose", "paint", "assess"):
        answer = illume(*asked, "--only", step)
        assert answer.code == 0, answer.err
    verdicts = rows(tmp_path / "out/round-1/verdicts.jsonl")
    assert [row["prompt"] for row in verdicts] == list(texts)
    assert {row["judge"]["name"] for row in verdicts} == {"self"}  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--from", "stage1"], 2, "stage2 and model"),
        (["--only", "draw"], 2, "propose, paint"),
        (["--correction", "sound"], 2, "image, text, none"),
        (["--share", "1"], 2, "share"),
        (["--method", "luck"], 2, "assessment, reca, dpo, grpo"),
        (["--method", "grpo", "--with", "group=1"], 2, "group"),
        (["--method", "grpo", "--only", "paint"], 2, "propose, train"),
        (["--method", "dpo", "--with", "dpo.beta=0"], 2, "beta"),
        (["--method", "dpo", "--only", "compose"], 2, "assess, pair, train"),
        (["--method", "reca", "--from", "stage2"], 2, "--from model"),
        (["--method", "reca", "--only", "paint"], 2, "propose, redraw, train"),
        (["--method", "reca", "--with", "words=loud"], 2, "draw, reconstruct"),
        (["--method", "reca", "--with", "sound=loud"], 2, "sound"),
        (["--with", "words=draw"], 2, "no settings of its own"),
        (["--method", "reca", "--judge", "oracle"], 2, "reca asks no judge: leave out oracle"),
        (["--method", "reca", "url=http://localhost"], 2, "leave out url=http://localhost"),
        (["--method", "reca", "--again", "refused"], 2, "leave out refused"),
        (["--method", "reca", "--per-prompt", "2"], 2, "--per-prompt is of the step paint, which reca"),
        (["--method", "grpo", "--per-prompt", "1"], 2, "--per-prompt is of the step paint, which grpo"),
        (["--method", "dpo", "--correction", "image"], 2, "--correction is of the step compose, which dpo"),
        (["--method", "grpo", "--good", "0.5"], 2, "--good is of the step compose, which grpo"),
        (["--from", "stage2", "--rate", "0.3"], 2, "--rate"),
        (["--again", "tired"], 2, "refused, malformed"),
        (["--good", "2"], 2, "good"),
        (["--prompts", "nowhere.txt"], 1, "nowhere.txt"),
        (["--judge", "api:m", "--only", "assess"], 1, "drawings.jsonl"),
        (["--judge", "wise", "--only", "assess"], 2, "oracle, self, api, detector"),
        (["loud=1", "--only", "assess"], 2, "loud"),
        (["loud=1", "--judge", "self", "--only", "assess"], 2, "no settings, such as loud=1"),
        (["--only", "compose"], 1, "'assess'"),
        (["--only", "train"], 1, "records.jsonl"),
    ],
)
def test_what_is_wrong_is_said(
    illume: Illume, run_folder: Path, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    os.environ.setdefault("OPENAI_API_KEY", "sk-none")
    answer = illume(*command(run_folder, tmp_path / "out", *arguments))
    assert (answer.code, said in answer.err) == (code, True), answer
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--judge", "wise"], "oracle, self, api, detector"),
        (["--judge", "oracle:mars"], "pico"),
        (["--judge", "api:m", "key_env=NOBODYS_KEY"], "NOBODYS_KEY"),
        (
            ["--judge", "detector:yolos", "clip=clip", "--prompts", "good.txt", "--num-prompts", "1"],
            "no prompt has a spec",
        ),
        (["--prompts", "nowhere.txt"], "nowhere.txt"),
        (["--prompts", "empty.txt"], "the file is empty"),
        (["--prompts", "twice.txt", "--num-prompts", "2"], "twice.txt:2: this prompt stands already"),
        (["--prompts", "long.txt", "--num-prompts", "1"], "long.txt:1: the request needs"),
        (["--prompts", "good.txt", "--num-prompts", "1", "--method", "reca"], "no prompt has a true picture"),
        (["--num-prompts", "1000000"], "different texts"),
        (["--prompts", "good.txt", "--num-prompts", "2"], "good.txt: has 1 prompts, not the 2 asked for"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_scored(
    illume: Illume, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(enhance_module, "score_folder", None)
    for name, text in (("good", "a\n"), ("empty", ""), ("twice", "a\na\n"), ("long", "long " * 500 + "\n")):
        Path(f"{name}.txt").write_text(text)
    if "clip=clip" in arguments:
        save_yolos(tmp_path / "yolos")
        save_clip(tmp_path / "clip")
    answer = illume(*command(run_folder, tmp_path / "out", *arguments))
    assert answer.code in (1, 2)
    assert said in answer.err


def test_checkpoints_are_looked_for_before_anything_is_scored(
    illume: Illume, enhanced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enhance_module, "score_folder", None)
    answer = illume(*command(enhanced / "round-1/run", tmp_path / "out", "--from", "stage2"))
    assert (answer.code, "--from model" in answer.err) == (1, True), answer


def test_the_score_before_is_of_the_model_that_goes_on(illume: Illume, enhanced: Path) -> None:
    before = tree(enhanced)
    answer = illume(*command(enhanced / "round-1/run", enhanced, "--rounds", "2"))
    assert (answer.code, "rounds of another model" in answer.err) == (1, True), answer
    assert tree(enhanced) == before


def test_a_model_of_another_round_does_not_go_on(illume: Illume, run_folder: Path, enhanced: Path) -> None:
    before = tree(enhanced)
    other = enhanced / "round-1" / "run"
    answer = illume(*command(other, enhanced, "--only", "paint"))
    assert (answer.code, "another model" in answer.err) == (1, True), answer
    assert tree(enhanced) == before


def test_another_start_does_not_go_on_in_a_run_that_is_there(
    illume: Illume, run_folder: Path, enhanced: Path, tmp_path: Path
) -> None:
    shutil.copytree(enhanced / "round-1", tmp_path / "out" / "round-1")
    for name in ("base.json", "before.json"):
        shutil.copy(enhanced / name, tmp_path / "out")
    before = tree(tmp_path / "out")
    for _ in range(2):
        answer = illume(*command(run_folder, tmp_path / "out", "--from", "stage2"))
        assert (answer.code, "from another start" in answer.err) == (1, True), answer
    assert tree(tmp_path / "out") == before


def test_redrawing_needs_no_judge_and_trains_on_true_pictures(
    illume: Illume, run_folder: Path, enhanced: Path, tmp_path: Path
) -> None:
    asked = ["--prompts", "world", "--method", "reca", "--num-prompts", "6", "--steps", "2", "--share", "0.5"]
    answer = illume("enhance", run_folder, *asked, "--out", tmp_path / "out", "--json")
    assert answer.code == 0, answer.err
    made = tmp_path / "out/round-1"
    assert not (made / "drawings.jsonl").exists()
    assert (made / "prompts.jsonl").read_bytes() == (enhanced / "round-1/prompts.jsonl").read_bytes()
    recipe = load_yaml(made / "run/config.yaml", Recipe)
    assert recipe.stages[-1].mixture["round-1"] == pytest.approx(0.5)
    assert len(rows(made / "redrawings.jsonl")) == 6
    before = tree(tmp_path / "out")
    assert illume("enhance", run_folder, *asked, "--out", tmp_path / "out").code == 0
    assert tree(tmp_path / "out") == before


def test_pairs_are_learnt_from_beside_the_mixture(illume: Illume, run_folder: Path, tmp_path: Path) -> None:
    asked = command(run_folder, tmp_path / "out", "--method", "dpo", "--with", "pairs.truth=true", "--share", "0.5")
    answer = illume(*asked, "--json")
    assert answer.code == 0, answer.err
    made = tmp_path / "out/round-1"
    steps = rows(made / "run/metrics.jsonl")
    assert [row["step"] for row in steps] == [1, 2, 3]
    assert float(str(steps[0]["preference_loss"])) == pytest.approx(0.693, abs=0.01)  # in bfloat16, where there is such
    assert all(row["size"] == 16 and "text_loss" in row for row in steps)
    assert load_yaml(made / "run/model/recipe.yaml", Recipe).rounds.learnt is not None  # type: ignore[union-attr]
    before = tree(tmp_path / "out")
    assert illume(*asked).code == 0
    assert tree(tmp_path / "out") == before
    alone = command(run_folder, tmp_path / "alone", "--method", "dpo", "--with", "pairs.truth=true", "--share", "1")
    assert illume(*alone).code == 0
    assert "text_loss" not in rows(tmp_path / "alone/round-1/run/metrics.jsonl")[0]


def test_drawings_are_judged_while_it_trains(illume: Illume, run_folder: Path, tmp_path: Path) -> None:
    own = ["--with", "prompts=2", "--with", "group=2", "--with", "inner=2"]
    asked = command(run_folder, tmp_path / "out", "--method", "grpo", *own)
    answer = illume(*asked, "--json")
    assert answer.code == 0, answer.err
    made = tmp_path / "out/round-1"
    steps = rows(made / "run/metrics.jsonl")
    assert [row["drawn"] for row in steps] == [4, 0, 4]
    assert all(row["judged"] == 4 and row["size"] == 8 and "text_loss" in row for row in steps)
    assert all(0 <= float(str(row["reward"])) <= 1 for row in steps)
    assert json.loads(answer.out)["drawings"] == [{"painted": 0, "training": 8}]
    assert load_yaml(made / "run/model/recipe.yaml", Recipe).rounds.judge is not None  # type: ignore[union-attr]
    assert not (made / "verdicts.jsonl").exists()
    assert "drawn before and after" in (tmp_path / "out/enhance.html").read_text("utf-8")


def test_judges_are_asked_again_on_request(illume: Illume, run_folder: Path, enhanced: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for step in ("propose", "paint", "assess"):
        assert illume(*command(run_folder, out, "--only", step)).code == 0
    path = out / "round-1/verdicts.jsonl"
    lines = rows(path)
    del lines[0]["verdict"]
    lines[0]["failure"] = {"kind": "malformed", "reason": "prose"}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert illume(*command(run_folder, out, "--only", "assess")).code == 0
    assert len(rows(path)) == len(lines)
    assert illume(*command(run_folder, out, "--only", "assess", "--again", "malformed")).code == 0
    assert "verdict" in rows(path)[-1]
    assert rows(path)[-1]["key"] == lines[0]["key"]


def test_what_was_not_answered_is_asked_until_something_is_made_of_it(
    illume: Illume, run_folder: Path, enhanced: Path, tmp_path: Path
) -> None:
    shutil.copytree(enhanced / "round-1", tmp_path / "out" / "round-1")
    path = tmp_path / "out/round-1/verdicts.jsonl"
    lines = rows(path)
    lines[0] = {**lines[0], "failure": {"kind": "unavailable", "reason": "HTTP 500"}}
    del lines[0]["verdict"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert illume(*command(run_folder, tmp_path / "out", "--only", "assess")).code == 0
    assert rows(path) == lines
    (tmp_path / "out/round-1/records.jsonl").unlink()
    assert illume(*command(run_folder, tmp_path / "out", "--only", "assess")).code == 0
    assert "verdict" in rows(path)[-1]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert illume(*command(run_folder, tmp_path / "out", "--only", "compose")).code == 0
    assert illume(*command(run_folder, tmp_path / "out", "--only", "assess", "--again", "unavailable")).code == 0
    assert "verdict" in rows(path)[-1]


def test_without_checkpoints_stage_3_cannot_be_trained_anew(run_folder: Path, enhanced: Path) -> None:
    from illume.recipes.retrain import Retraining, stage_anew

    base = Base.find(str(enhanced / "round-1" / "run"))
    with pytest.raises(CheckpointError, match="--from model"):
        stage_anew(base, {"r": enhanced / "round-1/records.jsonl"}, enhanced / "anew", Retraining())


def test_a_share_is_given_to_the_rounds_alike(run_folder: Path) -> None:
    last = Base.find(str(run_folder)).recipe.stages[-1]
    stage = mixed(last, {"a": Path(), "b": Path()}, 0.2)
    assert sum(stage.mixture.values()) == pytest.approx(1)
    assert stage.mixture["a"] == stage.mixture["b"] == pytest.approx(0.1)
    again = mixed(stage, {"c": Path()}, 0.3, older=["a", "b"])
    assert set(again.mixture) == {*last.mixture, "c"}
