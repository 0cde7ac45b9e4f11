"""`illume judge` as a person uses it: run, compare, what is wrong; and killed by force, then run again."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fixtures.chat_server import Asked, ChatServer, Drop, Late, Reaction, chat_server, honest
from fixtures.drawings import drawings_file
from illume.judge.drawings import drawing_row
from illume.judge.verdicts import read_verdicts
from illume.world import PICO, sample_prompt, sample_scene
from illume.world.render import render

pytestmark = pytest.mark.xdist_group("run")  # one run for all of them
Illume = Callable[..., Any]
PROMPTS = [f"{'good' if i % 3 else 'bad'} {i}" for i in range(14)]


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "sk-0123456789")
    monkeypatch.setenv("NO_PROXY", "*")


def asking(server: ChatServer) -> list[str]:
    return [f"url={server.url}", "key_env=TEST_KEY", "first_wait=0.001", "concurrency=3"]


@pytest.fixture
def world_drawings(tmp_path: Path) -> Path:
    rows = []
    for i in range(8):
        Image.fromarray(render(sample_scene(PICO, "test", i), PICO)).save(tmp_path / f"{i}.png")
        rows.append(drawing_row(str(i), sample_prompt(PICO, "test", i).text, f"{i}.png"))
    path = tmp_path / "drawings.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_drawings_are_judged_and_judged_again_for_nothing(illume: Illume, world_drawings: Path) -> None:
    answer = illume("judge", "run", "oracle", world_drawings, "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    path = world_drawings.with_name("verdicts.jsonl")
    assert (told["verdicts"], told["judged"], told["failures"]) == (str(path), 8, {})
    assert told["passed"] == sum(line.passed for line in read_verdicts(path))
    before = path.read_bytes()
    assert illume("judge", "run", "oracle", world_drawings).code == 0
    assert path.read_bytes() == before


def test_judges_are_compared(illume: Illume, world_drawings: Path, run_folder: Path) -> None:
    verdicts = world_drawings.with_name("verdicts.jsonl")
    illume("judge", "run", "oracle", world_drawings)
    same = illume("judge", "compare", verdicts, "oracle", world_drawings, "--json")
    assert json.loads(same.out)["overall"]["accuracy"] == 1.0
    own = illume("judge", "compare", verdicts, f"self:{run_folder}", world_drawings, "b.device=cpu", "--json")
    assert own.code == 0, own.err
    told = json.loads(own.out)
    assert told["judges"][1]["name"] == "self"
    assert told["overall"]["num"] + sum(told["failures"][1].values()) == 8
    (kept,) = world_drawings.parent.glob("drawings.self-*.verdicts.jsonl")
    files = illume("judge", "compare", verdicts, kept)
    assert (files.code, "kappa" in files.out) == (0, True)


def test_an_api_is_asked_after_saying_what_it_costs(illume: Illume, tmp_path: Path) -> None:
    file = drawings_file(tmp_path, PROMPTS)
    with chat_server(honest) as server:
        said = illume(
            "judge", "run", "api:m", file, *asking(server), "prices.input=2.5", "prices.output=10", "--estimate"
        )
        assert (said.code, "14 questions to ask" in said.out, server.asked) == (0, True, [])
        assert not (tmp_path / "verdicts.jsonl").exists()
        answer = illume("judge", "run", "api:m", file, *asking(server), "-o", tmp_path / "v.jsonl", "--json")
    assert answer.code == 0, answer.err
    assert "14 questions to ask" in answer.err
    assert json.loads(answer.out)["passed"] == 9
    assert (tmp_path / "v.answers.jsonl").exists()


def test_a_limit_is_kept_and_raised(illume: Illume, tmp_path: Path) -> None:
    file = drawings_file(tmp_path, PROMPTS)
    with chat_server(honest) as server:
        stopped = illume("judge", "run", "api:m", file, *asking(server), "limits.requests=5")
        assert (stopped.code, "limit of 5 requests" in stopped.err) == (1, True)
        assert illume("judge", "run", "api:m", file, *asking(server)).code == 0
    assert set(server.answered.values()) == {1}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["judge"], 2, "run"),
        (["judge", "run", "jury", "FILE"], 2, "oracle, self, api, detector"),
        (["judge", "run", "api", "FILE"], 2, "api:gpt-4o"),
        (["judge", "run", "api:m", "FILE", "key_env=NO_SUCH_KEY"], 2, "NO_SUCH_KEY"),
        (["judge", "run", "api:m", "FILE", "url=elsewhere"], 2, "elsewhere"),
        (["judge", "run", "api:m", "FILE", "cost=3"], 2, "cost"),
        (["judge", "run", "api:m", "FILE", "key_env=", "limits.money=3"], 2, "prices"),
        (["judge", "run", "api:m", "FILE", "key_env=", "url=http://127.0.0.1:9/v1"], 1, "cannot be reached"),
        (["judge", "run", "oracle:mars", "FILE"], 2, "pico"),
        (["judge", "run", "oracle", "FILE", "--again", "lost"], 2, "refused, malformed"),
        (["judge", "run", "self:no-such-model", "FILE"], 1, "no-such-model"),
        (["judge", "run", "detector:no-such-model", "FILE"], 1, "no-such-model"),
        (["judge", "run", "oracle", "no-such-file.jsonl"], 1, "no-such-file.jsonl"),
        (["judge", "compare", "oracle", "oracle"], 2, "FILE"),
        (["judge", "compare", "a.jsonl", "oracle", "FILE"], 2, "a.jsonl"),
    ],
)
def test_what_is_wrong_is_said(illume: Illume, arguments: list[str], code: int, said: str, tmp_path: Path) -> None:
    file = drawings_file(tmp_path, PROMPTS[:2])
    answer = illume(*(file if argument == "FILE" else argument for argument in arguments))
    assert (answer.code, said in answer.err) == (code, True), answer
    assert "Traceback" not in answer.err


def command(file: Path, server: ChatServer) -> list[str]:
    return [sys.executable, "-m", "illume", "judge", "run", "api:m", str(file), *asking(server)]


def kill_after(file: Path, server: ChatServer, kept: int, held: threading.Event) -> None:
    """Start a process, and kill it by force when so many answers are on the disk and more are under way."""
    process = subprocess.Popen(command(file, server), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    answers = file.with_name("verdicts.answers.jsonl")
    try:
        while not (answers.exists() and answers.read_bytes().count(b'"answer":') >= kept and server.together):
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        held.set()


def verdicts(file: Path, server: ChatServer) -> bytes:
    """What was written, but for the server's port."""
    return file.with_name("verdicts.jsonl").read_bytes().replace(server.url.encode(), b"URL")


def check_killed(folder: Path, whole: bytes, kept: int) -> None:
    """Killed when `kept` answers had come, and run again: the same file, and no answer that came is asked for again."""
    held, file = threading.Event(), drawings_file(folder, PROMPTS)

    def react(asked: Asked) -> Reaction:
        return honest(asked) if held.is_set() or asked.number < kept else Late(held, Drop())

    with chat_server(react) as server:
        kill_after(file, server, kept, held)
        assert sum(server.answered.values()) == kept
        done = subprocess.run(command(file, server), check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert verdicts(file, server) == whole
    assert server.answered == dict.fromkeys(PROMPTS, 1)


def test_killed_by_force_it_ends_with_the_same_file(tmp_path: Path) -> None:
    file = drawings_file(tmp_path / "whole", PROMPTS)
    with chat_server(honest) as server:
        subprocess.run(command(file, server), check=True, capture_output=True)
        whole = verdicts(file, server)
    assert whole.count(b"\n") == len(PROMPTS)
    for kept in (0, 1, 6, 13):
        check_killed(tmp_path / f"killed after {kept}", whole, kept)
