"""A conversation line by line: every command does what it says, names the files of drawings, and overwrites none."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fixtures.tiny_model_folder import SIZE
from fixtures.tiny_sessions import session_parts
from illume.api import Illume
from illume.core.errors import DataError, IllumeError, RequestError
from illume.session.console import HELP, Console, free_folder, spelt
from illume.tasks.verdict import CRITERIA, Criterion, Verdict
from illume.vocab.messages import ImagePart, TextPart

VERDICT = Verdict.of({name: Criterion(name != "relation", "seen", True) for name in CRITERIA})


@pytest.fixture(scope="module")
def model() -> Illume:
    return Illume(session_parts())


@pytest.fixture
def console(model: Illume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Console:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", SIZE, (255, 0, 0)).save("red.png")
    request = model.request

    def brief(ability: Any, *arguments: Any, **settings: Any) -> Any:
        few = {} if ability in ("draw", "edit") else {"max_new_text": 3}
        return request(ability, *arguments, **settings | few)

    monkeypatch.setattr(model, "request", brief)
    return Console(model.session(seed=5), Path("out"))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_drawing_is_written_and_named(console: Console) -> None:
    assert files(Path("out")) == []
    event = console.line("/draw a red circle")
    assert event["answer"] == [{"picture": "picture-1", "file": "out/picture-1.png"}]
    assert spelt(event) == "[out/picture-1.png]"
    assert Image.open("out/picture-1.png").tobytes() == console.session.picture("picture-1").tobytes()
    console.line("/edit turn it")
    assert files(Path("out")) == ["picture-1.png", "picture-2.png"]
    asked = console.line("/ask @1 @picture-2 which of them is red?")["asked"]
    assert asked == [{"picture": "picture-1"}, {"picture": "picture-2"}, {"text": "which of them is red?"}]
    assert console.line("/ask how many?")["asked"][0] == {"picture": "picture-2"}


def test_nothing_is_overwritten(console: Console) -> None:
    Path("out").mkdir()
    Path("out/picture-1.png").write_bytes(b"mine")
    console.line("/draw one")
    console.line("/branch other 0")
    console.line("/draw two")
    console.line("/undo")
    console.line("/draw two")  # the same drawing has its file already
    assert files(Path("out")) == ["picture-1-2.png", "picture-1-3.png", "picture-1.png"]
    assert Path("out/picture-1.png").read_bytes() == b"mine"


def test_branches_are_gone_to_and_back(console: Console) -> None:
    console.line("/draw one")
    console.line("/edit turn it")
    assert console.line("/branch other 1")["message"] == "on branch other, after 1 turns"
    console.line("/draw two")
    assert console.line("/branch")["message"] == "  main\n* other"
    console.line("/branch main")
    assert [turn.ability for turn in console.session.turns] == ["draw", "edit"]
    with pytest.raises(RequestError, match="a branch other already"):
        console.line("/branch other 1")
    assert console.line("/undo 2")["message"] == "took back 2; 0 turns are left"


def test_pictures_that_are_brought_come_with_one_turn(console: Console) -> None:
    console.line("/image red.png")
    assert console.line("what is it?")["asked"] == [{"picture": "picture-1"}, {"text": "what is it?"}]
    assert console.line("and now?")["asked"] == [{"text": "and now?"}]
    console.line("/image red.png")
    newest = len(console.session.pictures) + 1
    assert console.line("/edit turn it")["asked"][0] == {"picture": f"picture-{newest}"}
    console.line("/image red.png")
    with pytest.raises(RequestError, match="looks at no picture"):
        console.line("/draw a circle")
    with pytest.raises(RequestError, match="not both"):
        console.line("/ask @1 what?")


def test_a_conversation_is_saved_and_gone_on_with(console: Console) -> None:
    console.line("/draw one")
    console.line("/save talk")
    console.line("/draw two")
    assert console.line("/load talk")["message"] == "loaded talk: 1 turns"
    shown = console.line("/show")
    assert [turn["turn"] for turn in shown["turns"]] == [1]
    assert spelt(shown) == "1. Generate an image of one\n   [out/picture-1.png]"


def test_an_assessment_is_spelt(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    console.line("/draw one")
    monkeypatch.setattr(Verdict, "from_json", lambda text: VERDICT)
    event = console.line("/assess a red circle")
    assert event["verdict"]["overall"] is True
    assert spelt(event).splitlines()[:2] == ["pass: a red circle", "  object    pass  seen"]


def test_words_may_begin_with_a_slash(console: Console) -> None:
    assert console.line("//draw is a command")["asked"] == [{"text": "/draw is a command"}]
    assert console.line("/HELP")["message"] == HELP
    assert console.line("/quit") == {"command": "quit", "message": ""}
    assert not console.open


def test_every_command_is_in_the_help(console: Console) -> None:
    assert all(f"/{name}" in HELP for name in console._commands if name not in ("say", "exit"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/sing", "no command /sing"),
        ("/", "no command /"),
        ("/draw", "needs words"),
        ("/edit @1", "no picture-1"),
        ("/assess   ", "needs words"),
        ("/edit turn it", "no picture in this session"),
        ("/ask @9 what?", "no picture-9"),
        ("/ask @x what?", "not a number"),
        ("/edit @picture-99999999999 what?", "not a number"),
        ("/image", "write /image PATH"),
        ("/image gone.png", "gone.png: no such file"),
        ("/image .", "cannot be read"),
        ("/image a\0b", "null"),
        ("/save", "write /save PATH"),
        ("/save red.png", "a file of this name"),
        ("/save .", "the folder you are in"),
        ("/load gone", "no such session folder"),
        ("/undo", "0 turns"),
        ("/undo many", "not a number"),
        ("/branch a b c", "write /branch NAME"),
        ("/branch a 7", "no turn 7"),
        ("half \ud800", "surrogate"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(console: Console, line: str, words: str) -> None:
    with pytest.raises(IllumeError, match=words):
        console.line(line)
    assert (console.session.turns, list(console.branches), files(Path("out"))) == ((), ["main"], [])


def test_one_picture_is_one(console: Console) -> None:
    console.line("/draw one")
    console.line("/draw two")
    with pytest.raises(RequestError, match="one picture, not 2"):
        console.line("/edit @1 @2 turn them")
    with pytest.raises(DataError, match="verdict"):
        console.line("/assess a red circle")
    assert len(console.session.turns) == 2


def test_words_and_pictures_are_spelt_in_order(console: Console) -> None:
    for _ in range(9):
        event = console.line("draw, then speak")
        parts = console.session.turns[-1].answer.parts
        if len(parts) > 1 and event["finished"] == "length":
            break
    words = [part.text if isinstance(part, TextPart) else f"[out/{part.image}.png]" for part in parts]
    assert any(isinstance(part, ImagePart) for part in parts)
    assert spelt(event) == "".join(words) + " ... (cut: there was no room for more)"


def test_the_first_free_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert free_folder("chat") == Path("chat-1")
    Path("chat-1").touch()
    assert free_folder("chat") == Path("chat-2")
