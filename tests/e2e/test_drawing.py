"""`illume draw --best-of` and `--revise` as a person uses them: what is written and told, and what is wrong.

A tiny random model draws; where it has to judge, its words are put into its mouth.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fixtures.chat_server import chat_server, honest
from fixtures.choosing import ByKey
from fixtures.tiny_sessions import session_parts
from illume.api import Illume
from illume.core.config import dump_yaml
from illume.judge.oracle import OracleJudge
from illume.judge.own import SelfJudge
from illume.judge.protocol import Drawing, Judgement
from illume.recipes.own import own
from illume.recipes.pico import pico
from illume.recipes.score import RECIPE_FILE
from illume.tasks.verdict import Verdict
from illume.world import PICO

pytestmark = pytest.mark.xdist_group("run")  # one run for all of them
Call = Callable[..., Any]
PROMPTS = ["a red circle", "two {blue} squares", "<end> a dot"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("drawer") / "model"
    Illume(session_parts()).save(where)
    return where


@pytest.fixture
def outspoken(monkeypatch: pytest.MonkeyPatch) -> ByKey:
    """The model's own judgement follows from prompts and keys: good, bad or none."""
    judge = ByKey()

    def judged(_: SelfJudge, drawings: Iterable[Drawing]) -> Iterator[Judgement]:
        return judge.judge(drawings)

    monkeypatch.setattr(SelfJudge, "judge", judged)
    return judge


def pixels(path: Path | str) -> Any:
    return np.asarray(Image.open(path)).tolist()


def outcome_of(row: dict[str, Any]) -> tuple[bool, bool]:
    """Whether there is a verdict, and it is good, of a candidate's row."""
    if "verdict" not in row:
        assert set(row["failure"]) == {"kind", "reason"}
        return False, False
    return True, Verdict.from_json(json.dumps(row["verdict"])).overall


def test_the_best_of_several_is_written_and_all_are_told(
    illume: Call, model: Path, outspoken: ByKey, tmp_path: Path
) -> None:
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS), encoding="utf-8")
    asked = [model, "--prompts", tmp_path / "prompts.txt", "--n", 2, "--seed", 3, "--guidance", 1]
    answer = illume("draw", *asked, "--best-of", 4, "--judge", "self", "-o", tmp_path / "best.png", "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert (told["seed"], told["judge"]["name"], len(told["drawings"])) == (3, "self", 6)
    assert illume("draw", *asked[:3], "--n", 8, *asked[5:], "-o", tmp_path / "all.png").code == 0
    for i, row in enumerate(told["drawings"]):
        candidates, taken = row["best_of"]["candidates"], row["best_of"]["taken"]
        found = [outcome_of(candidate) for candidate in candidates]
        assert row["prompt"] == PROMPTS[i // 2]
        assert [one["seed"] for one in candidates] == list(range(3 + 4 * (i % 2), 7 + 4 * (i % 2)))
        assert row["passed"] == found[taken][1] == any(good for _, good in found)
        assert row["file"] == str(tmp_path / f"best-{i}.png")
        assert pixels(row["file"]) == pixels(tmp_path / f"all-{i * 4 + taken}.png")
    assert f"{sum(row['passed'] for row in told['drawings'])} of 6 pictures pass" in answer.err
    assert "refused" in answer.err


def test_the_best_of_one_is_plain_drawing(illume: Call, model: Path, outspoken: ByKey, tmp_path: Path) -> None:
    for seed in range(4):  # one of them the judge refuses
        plain = illume("draw", model, PROMPTS[0], "--seed", seed, "-o", tmp_path / "plain.png")
        best = illume("draw", model, PROMPTS[0], "--seed", seed, "-o", tmp_path / f"{seed}.png", "--best-of", 1)
        assert plain.code == 0
        if best.code == 0:
            assert pixels(tmp_path / "plain.png") == pixels(tmp_path / f"{seed}.png")
        else:
            assert ("there is no verdict" in best.err, (tmp_path / f"{seed}.png").exists()) == (True, False)


def test_revising_tells_the_chain(illume: Call, model: Path, outspoken: ByKey, tmp_path: Path) -> None:
    asked = [model, PROMPTS[0], "--n", 5, "--revise", 2, "--seed", 1]
    answer = illume("draw", *asked, "-o", tmp_path / "a.png", "--json")
    assert answer.code == 1  # of some the judge says nothing
    rows = json.loads(answer.out)["drawings"]
    for i, row in enumerate(rows):
        found = [outcome_of(one) for one in row["revise"]["candidates"]]
        assert all(outcome == (True, False) for outcome in found[:-1])
        assert len(found) <= 3
        assert row["passed"] == found[-1][1] == (row["revise"]["ended"] == "passed")
        assert row["revise"]["candidates"][0]["seed"] == 1 + i
        assert (row["file"] is None) == (row["revise"]["taken"] is None)
    lost = [row for row in rows if row["file"] is None]
    assert lost
    assert not (tmp_path / f"a-{rows.index(lost[0])}.png").exists()
    assert "there is no verdict of the drawing of 'a red circle' (refused: no)" in answer.err
    again = illume("draw", *asked, "-o", tmp_path / "b.png", "--json")
    assert [row["revise"] for row in json.loads(again.out)["drawings"]] == [row["revise"] for row in rows]


def test_the_best_is_revised(illume: Call, model: Path, outspoken: ByKey, tmp_path: Path) -> None:
    answer = illume(
        "draw", model, PROMPTS[1], "--best-of", 3, "--revise", 1, "--n", 4, "-o", tmp_path / "a.png", "--json"
    )
    for row in json.loads(answer.out)["drawings"]:
        taken = row["best_of"]["taken"]
        if taken is not None:
            assert row["revise"]["candidates"][0] == row["best_of"]["candidates"][taken]


def test_a_model_that_gives_no_verdicts_is_told_apart(illume: Call, model: Path, tmp_path: Path) -> None:
    """Really asked: an untrained model answers anything but a verdict."""
    answer = illume("draw", model, PROMPTS[0], "--best-of", 2, "-o", tmp_path / "a.png", "--json")
    assert (answer.code, "no verdict of any of 2 drawings" in answer.err, "Traceback" in answer.err) == (1, True, False)
    (row,) = json.loads(answer.out)["drawings"]
    assert (row["file"], row["passed"], row["best_of"]["taken"]) == (None, False, None)
    assert {one["failure"]["kind"] for one in row["best_of"]["candidates"]} == {"malformed"}
    assert not list(tmp_path.glob("*.png"))


def test_the_oracle_is_of_the_model_s_own_world(illume: Call, run_folder: Path, tmp_path: Path) -> None:
    asked = ["draw", run_folder, "a red circle", "--best-of", 3, "--judge", "oracle", "-o", tmp_path / "a.png"]
    answer = illume(*asked, "--json")
    assert answer.code == 0, answer.err
    (row,) = json.loads(answer.out)["drawings"]
    with Image.open(tmp_path / "a.png") as drawn:
        (judgement,) = OracleJudge(PICO).judge([Drawing("a red circle", drawn)])
    assert isinstance(judgement.outcome, Verdict)
    taken = row["best_of"]["candidates"][row["best_of"]["taken"]]
    assert taken["verdict"] == json.loads(judgement.outcome.to_json())


def test_an_api_is_told_its_settings_and_its_answers_are_kept(
    illume: Call, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with chat_server(honest) as server:
        settings = [f"url={server.url}", "key_env=", "first_wait=0.001"]
        given = [word for setting in settings for word in ("--judge-setting", setting)]
        asked = ["draw", model, "good", "--best-of", 2, "--judge", "api:m", *given, "-o", tmp_path / "a.png"]
        answers = [illume(*asked, "--json") for _ in range(2)]
    assert [answer.code for answer in answers] == [0, 0], answers
    assert json.loads(answers[0].out) == json.loads(answers[1].out)
    assert "2 questions to ask" in answers[0].err
    assert sum(server.answered.values()) == 2
    assert (tmp_path / "a.answers.jsonl").is_file()


def test_prompts_may_say_what_they_mean(illume: Call, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "a bench", "spec": {"tag": "single_object"}}\n{"prompt": "b"}\n', encoding="utf-8")
    answer = illume("draw", model, "--prompts", file, "-o", tmp_path / "a.png", "--json")
    assert [row["prompt"] for row in json.loads(answer.out)["drawings"]] == ["a bench", "b"]
    unmeant = illume("draw", model, "--prompts", file, "--best-of", 2, "--judge", "detector")
    assert (unmeant.code, "spec" in unmeant.err) == (2, True)
    file.write_text('{"promt": "a bench"}\n', encoding="utf-8")
    wrong = illume("draw", model, "--prompts", file)
    assert (wrong.code, "prompts.jsonl:1" in wrong.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["MODEL", "a", "--best-of", 0], 2, "--best-of"),
        (["MODEL", "a", "--best-of", "some"], 2, "--best-of"),
        (["MODEL", "a", "--revise", 0], 2, "--revise"),
        (["MODEL", "a", "--judge", "self"], 2, "--best-of N"),
        (["MODEL", "a", "--revise", 1, "--judge", "self"], 2, "--best-of N"),
        (["MODEL", "a", "--judge-setting", "a=1"], 2, "--best-of N"),
        (["MODEL", "a", "--best-of", 2, "--judge-setting", "a=1"], 2, "which --judge"),
        (["MODEL", "a", "--best-of", 2, "--judge", "self", "--judge-setting", "a=1"], 2, "no settings"),
        (["MODEL", "a", "--best-of", 2, "--judge", "oracle:pico", "--revise", 1], 2, "own assessment"),
        (["MODEL", "a", "--best-of", 2, "--judge", "jury"], 2, "oracle, self, api, detector"),
        (["MODEL", "a", "--best-of", 2, "--judge", "oracle:mars"], 2, "pico"),
        (["MODEL", "a", "--best-of", 2, "--judge", "oracle"], 2, "oracle:pico"),
        (["MODEL", "a", "--best-of", 2, "--judge", "api:m", "--judge-setting", "cost=3"], 2, "cost"),
        (["MODEL", "a", "--best-of", 2, "--judge", "self:no-such-model"], 1, "no-such-model"),
        (["MODEL", "a", "--best-of", 2, "--judge", "oracle:pico"], 1, "unfit"),
        (["MODEL", "x" * 3000, "--revise", 1], 1, "cannot revise"),
        (["MODEL", "a", "--best-of", 2, "-o", "a.gif"], 2, "a.gif"),
        (["no-such-model", "a", "--best-of", 2], 1, "no-such-model"),
        (["no-such-model", "--best-of", 2], 2, "--prompts"),
    ],
)
def test_what_is_wrong_is_said(
    illume: Call, model: Path, arguments: list[Any], code: int, said: str, tmp_path: Path
) -> None:
    filled = [model if word == "MODEL" else word for word in arguments]
    out = [] if "-o" in filled else ["-o", tmp_path / "a.png"]
    answer = illume("draw", *filled, *out)
    assert (answer.code, said in answer.err) == (code, True), answer
    assert "Traceback" not in answer.err
    assert not list(tmp_path.glob("*.png"))


def test_a_model_of_other_data_has_no_world(illume: Call, model: Path, tmp_path: Path) -> None:
    recipe = model / RECIPE_FILE
    asked = ["draw", model, "a red circle", "--best-of", 2, "--judge", "oracle", "-o", tmp_path / "a.png"]
    try:
        recipe.write_text(dump_yaml(own()), encoding="utf-8")
        other = illume(*asked)
        assert (other.code, "has no world" in other.err) == (2, True), other
        recipe.write_text(dump_yaml(pico()), encoding="utf-8")
        small = illume(*asked)  # its pictures are not of that world's size
        assert (small.code, "unfit" in small.err) == (1, True), small
    finally:
        recipe.unlink()
