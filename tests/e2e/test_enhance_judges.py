"""`illume enhance` with the judges that other tests do not ask: an API on loopback, and a detector."""

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

from fixtures.chat_server import Asked, ChatServer, Reaction, chat_server, honest
from fixtures.rounds import rows
from fixtures.tiny_detectors import save_clip, save_yolos
from illume.judge.drawings import read_drawings

pytestmark = pytest.mark.xdist_group("run")
Illume = Callable[..., Any]
NUMBER = 4  # drawings of a round


def command(run: Path, out: Path, server: ChatServer, *more: object) -> list[str]:
    judge = ["--judge", "api:m", f"url={server.url}", "key_env=", "concurrency=1"]
    asked = ["--prompts", "world", "--num-prompts", str(NUMBER), *judge]
    return ["enhance", str(run), *asked, "--out", str(out), *map(str, more)]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


def test_an_api_judges_all_rounds_within_one_limit_and_is_asked_once(
    illume: Illume, run_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(run_folder / "model", out / "round-1/run/model")  # as if the first round had trained
    with chat_server(honest) as server:

        def call(number: int, step: str, limit: int) -> Any:
            more = (f"limits.requests={limit}", "--rounds", number, "--only", step)
            return illume(*command(run_folder, out, server, *more))

        for number in (1, 2):
            for step in ("propose", "paint"):
                assert call(number, step, 6).code == 0
        first = call(1, "assess", 6)
        assert (first.code, f"{NUMBER} questions to ask" in first.err) == (0, True), first
        answer = call(2, "assess", 6)
        assert (answer.code, "limit of 6 requests" in answer.err) == (1, True), answer
        assert len(server.asked) == 6
        for _ in range(2):
            for number in (1, 2):
                assert call(number, "assess", 2 * NUMBER).code == 0
            assert len(server.asked) == 2 * NUMBER
    assert len(rows(out / "answers.jsonl")) == 2 * NUMBER
    assert all("verdict" in row for n in (1, 2) for row in rows(out / f"round-{n}/verdicts.jsonl"))


def test_killed_while_an_api_judges_only_what_was_under_way_is_asked_again(
    illume: Illume, run_folder: Path, tmp_path: Path
) -> None:
    def slow(asked: Asked) -> Reaction:
        time.sleep(0.2)
        return honest(asked)

    with chat_server(slow) as server:
        asked = command(run_folder, tmp_path / "out", server)
        for step in ("propose", "paint"):
            assert illume(*asked, "--only", step).code == 0
        process = subprocess.Popen(
            [sys.executable, "-m", "illume", *asked, "--only", "assess"],
            env=dict(os.environ, OMP_NUM_THREADS="1"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while len(server.asked) < NUMBER - 1 and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        process.wait()
        assert illume(*asked, "--only", "assess").code == 0
        assert len(server.asked) <= NUMBER + 1
    made = tmp_path / "out/round-1"
    keys = [drawing.key for drawing in read_drawings(made / "drawings.jsonl")]
    assert [row["key"] for row in rows(made / "verdicts.jsonl")] == keys


def test_a_detector_judges_what_prompts_mean(illume: Illume, run_folder: Path, tmp_path: Path) -> None:
    save_yolos(tmp_path / "yolos")
    save_clip(tmp_path / "clip")
    spec = {"tag": "single_object", "include": [{"class": "bench", "count": 1}]}
    (tmp_path / "asked.jsonl").write_text(json.dumps({"prompt": "a photo of a bench", "spec": spec}) + "\n")
    judge = ["--judge", f"detector:{tmp_path / 'yolos'}", f"clip={tmp_path / 'clip'}"]
    asked = ["enhance", run_folder, "--prompts", tmp_path / "asked.jsonl", *judge, "--out", tmp_path / "out"]
    for step in ("propose", "paint", "assess"):
        answer = illume(*asked, "--only", step)
        assert answer.code == 0, answer.err
    (line,) = rows(tmp_path / "out/round-1/verdicts.jsonl")
    assert line["judge"]["name"] == "detector"  # type: ignore[index]
    assert "verdict" in line
