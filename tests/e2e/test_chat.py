"""`illume chat` as a conversation: piped, interrupted, as JSON, at a terminal; docs/sessions.md, whose blocks run."""

import io
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fixtures.documents import blocks, commands
from fixtures.tiny_sessions import session_parts
from illume.api import Illume
from illume.core.errors import DataError

pytestmark = pytest.mark.xdist_group("chat")
PAGE = (Path(__file__).parents[2] / "docs" / "sessions.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("model") / "tiny"
    parts = session_parts(max_length=700)
    Illume(replace(parts, generation=replace(parts.generation, memory=0))).save(where)  # as a model of `make demo` is
    return where


@pytest.fixture
def here(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(saved)
    Image.new("RGB", (8, 8), (0, 255, 0)).save(tmp_path / "green.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "illume", "chat", "runs/demo", "--device", "cpu", "--memory", "0", *options]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def piped(lines: str | bytes, *options: str) -> subprocess.CompletedProcess[bytes]:
    data = lines if isinstance(lines, bytes) else lines.encode()
    return subprocess.run(command(*options), input=data, capture_output=True, env=environment(), check=False)


def test_a_piped_conversation_is_the_one_of_the_page(here: Path) -> None:
    (script,) = blocks(PAGE, "chat")
    done = piped(script + "never said\n", "--json", "--out", "drawn")
    assert (done.returncode, done.stderr) == (0, b"")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["command"] for event in events] == [
        "draw", "ask", "edit", "ask", "undo", "image", "say", "branch", "edit", "branch", "save", "load",
        "show", "help", "quit",
    ]  # fmt: skip
    files = [part["file"] for event in events for part in event.get("answer", []) if "file" in part]
    assert "drawn/picture-1.png" in files
    assert all(Image.open(here / file).size == (8, 8) for file in files)
    assert (here / "talk" / "session.json").is_file()
    again = piped("/load talk\n/show\n", "--json")
    assert json.loads(again.stdout.splitlines()[1])["turns"][0]["asked"] == events[0]["asked"]
    assert (here / "chat-1" / "picture-1.png").read_bytes() == (here / "drawn" / "picture-1.png").read_bytes()


def test_errors_are_lines_and_the_exit_code(here: Path) -> None:
    done = piped("/sing\n\n/draw one\n/load nowhere\n", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [set(event) & {"error", "answer"} for event in events] == [{"error"}, {"answer"}, {"error"}]
    assert b"no command /sing" in done.stderr
    assert b"Traceback" not in done.stderr
    not_text = piped(b"/draw one\n\xff\xfe\n")
    assert (not_text.returncode, b"line 2 is not UTF-8" in not_text.stderr) == (1, True)
    assert not_text.stdout == b"[chat-2/picture-1.png]\n"


def test_no_lines_are_no_conversation(here: Path) -> None:
    done = piped("")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert sorted(path.name for path in here.iterdir()) == ["green.png", "runs"]


def test_ctrl_c_ends_a_piped_conversation_cleanly(here: Path) -> None:
    def heard() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs, and their children, ignore it

    with subprocess.Popen(
        command(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        preexec_fn=heard,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"/help\n")
        process.stdin.flush()
        assert b"say them" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=200)
    assert process.returncode == 130
    assert (b"interrupted" in err, b"Traceback" in out + err) == (True, False)


class Terminal:
    """A conversation at a terminal of its own."""

    def __init__(self) -> None:
        self.handle, inside = pty.openpty()
        streams = {"stdin": inside, "stdout": inside, "stderr": inside}
        self.process = subprocess.Popen(command(), **streams, env=environment(), start_new_session=True)
        os.close(inside)
        self.shown = b""

    def type(self, keys: bytes) -> None:
        os.write(self.handle, keys)

    def see(self, words: bytes, seconds: float = 120) -> None:
        """Wait until these words are shown, behind those seen before."""
        end = time.monotonic() + seconds
        while words not in self.shown:
            assert select.select([self.handle], [], [], max(0.0, end - time.monotonic()))[0], self.shown
            self.shown += os.read(self.handle, 4096)
        self.shown = self.shown.partition(words)[2]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.handle)


@pytest.fixture
def terminal(here: Path) -> Iterator[Terminal]:
    opened = Terminal()
    yield opened
    opened.close()


def test_at_a_terminal_there_is_a_prompt(terminal: Terminal) -> None:
    terminal.see(b"you> ")
    for keys, answer in (
        (b"/draw a red circle\n", b"[chat-1/picture-1.png]"),
        (b"/sing\n", b"no command /sing"),
        (b"\n/branch\n", b"* main"),
    ):
        terminal.type(keys)
        terminal.see(answer)
    terminal.see(b"you> ")
    terminal.type(b"\x04")  # Ctrl-D
    assert terminal.process.wait(timeout=120) == 0


def test_one_question_is_answered_as_ever(here: Path, illume: Callable[..., Any]) -> None:
    asked = ["runs/demo", "--image", "green.png", "what is it?", "--device", "cpu"]
    said = illume("chat", *asked, "--json")
    assert (said.code, json.loads(said.out)["question"]) == (0, "what is it?")
    assert illume("chat", *asked).out.rstrip("\n") == json.loads(said.out)["answer"].rstrip("\n")


def test_the_commands_of_the_page_run(here: Path, illume: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for words in commands(PAGE):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"/help\n")))
        assert words[0] == "illume"
        answer = illume(*words[1:])
        assert (answer.code, answer.err) == (0, ""), answer


def test_the_python_of_the_page_runs(here: Path) -> None:
    (code,) = blocks(PAGE, "python")
    names: dict[str, Any] = {}
    exec(compile(code, "docs/sessions.md", "exec"), names)
    assert [turn.ability for turn in names["session"].turns] == ["draw", "ask", "edit", "say"]
    assert [turn.ability for turn in names["other"].turns] == ["draw", "edit"]
    shutil.rmtree(here / "talk")
    with pytest.raises(DataError, match="no such session folder"):  # the last lines would have said so
        names["model"].session("talk")
