"""A conversation line by line: what is typed becomes a turn or a command, what comes back an event to be shown.

It does not know terminals, pipes or JSON: it takes lines and gives events.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from illume.core.errors import RequestError
from illume.core.files import atomic_file
from illume.session.folder import digest
from illume.session.session import Session
from illume.session.turns import Turn, picture_name
from illume.tasks.verdict import Verdict
from illume.vocab.messages import ImagePart, TextPart

Event = dict[str, Any]

HELP = """words             say them; the answer may hold words and pictures (//... says words that begin with a slash)
/draw PROMPT      draw a picture
/ask [@N...] Q    a question about the newest picture, or about pictures by number: /ask @1 @3 which of them is red?
/edit [@N] HOW    change the newest picture, or the one of this number; the change is a new picture
/assess [@N] P    judge whether a picture shows what a prompt asks
/image PATH       bring a picture to the next turn
/undo [TURNS]     take back the last turn or turns
/branch           the branches; the one you are on has a star
/branch NAME [T]  go on in a copy from here, or from after turn T; if NAME is there already, go back to it
/save PATH        save this branch as a folder          /load PATH   go on with a saved one
/show             what was said so far                  /help   /quit"""


class Console:
    """One conversation, its branches, and the folder its drawings are written to (made when the first one is)."""

    def __init__(self, session: Session, out: Path, images: Iterable[Path] = (), **settings: Any) -> None:
        """`images` come with the first turn that takes any; `settings` (temperature...) are those of every turn."""
        self.branches = {"main": session}
        self.branch = "main"
        self.out = out
        self.settings = settings
        self.files: dict[tuple[str, str], Path] = {}  # by name and pixels: branches may give one name to two drawings
        self._brought: list[Path] = list(images)
        self.open = True
        self._commands: dict[str, Callable[[str], Event]] = {
            "say": self._say, "draw": self._draw, "edit": self._edit, "ask": self._ask, "assess": self._assess,
            "image": self._image, "undo": self._undo, "branch": self._branch, "save": self._save, "load": self._load,
            "show": self._show, "help": self._help, "quit": self._quit, "exit": self._quit,
        }  # fmt: skip

    @property
    def session(self) -> Session:
        """The session of the branch at hand."""
        return self.branches[self.branch]

    def line(self, line: str) -> Event:
        """What a line brings about. IllumeError where it cannot be done: the conversation is then as it was."""
        command, rest = _split(line)
        if command not in self._commands:
            raise RequestError(f"there is no command /{command}; /help shows those there are")
        return {"command": command, **self._commands[command](rest)}

    def _say(self, text: str) -> Event:
        return self._turned(lambda: self.session.say(text, self._brought, **self.settings), text)

    def _draw(self, prompt: str) -> Event:
        if self._brought:
            raise RequestError("a drawing looks at no picture; /edit the one you brought, or say something about it")
        return self._turned(lambda: self.session.draw(prompt, **self.settings), prompt)

    def _ask(self, rest: str) -> Event:
        names, question = self._chosen(rest)
        about = names or self._brought or None
        return self._turned(lambda: self.session.ask(question, about, **self.settings), question)

    def _edit(self, rest: str) -> Event:
        names, instruction = self._chosen(rest)
        return self._turned(lambda: self.session.edit(instruction, self._one(names), **self.settings), instruction)

    def _assess(self, rest: str) -> Event:
        names, prompt = self._chosen(rest)
        return self._turned(lambda: self.session.assess(prompt, self._one(names), **self.settings), prompt)

    def _image(self, path: str) -> Event:
        file = Path(_needed(path, "/image PATH"))
        self.session.model.pixels(file)  # now, rather than when something is asked about it
        self._brought.append(file)
        return {"message": f"{file} comes with the next turn"}

    def _undo(self, turns: str) -> Event:
        taken = self.session.undo(_number(turns or "1", "/undo [TURNS]"))
        return {"message": f"took back {len(taken)}; {len(self.session.turns)} turns are left"}

    def _branch(self, rest: str) -> Event:
        if not rest:
            return {"message": "\n".join(f"{'*' if name == self.branch else ' '} {name}" for name in self.branches)}
        name, *at = rest.split()
        if len(at) > 1:
            raise RequestError("write /branch NAME, or /branch NAME TURN")
        if name not in self.branches:
            self.branches[name] = self.session.branch(_number(at[0], "/branch NAME TURN") if at else None)
        elif at:
            raise RequestError(f"there is a branch {name} already: /branch {name} goes there")
        self.branch = name
        return {"message": f"on branch {name}, after {len(self.session.turns)} turns"}

    def _save(self, path: str) -> Event:
        self.session.save(_needed(path, "/save PATH"))
        return {"message": f"saved to {path}"}

    def _load(self, path: str) -> Event:
        self.branches[self.branch] = Session.load(_needed(path, "/load PATH"), self.session.model)
        return {"message": f"loaded {path}: {len(self.session.turns)} turns"}

    def _show(self, _: str) -> Event:
        return {"turns": [{"turn": i + 1, **self._described(turn)} for i, turn in enumerate(self.session.turns)]}

    def _help(self, _: str) -> Event:
        return {"message": HELP}

    def _quit(self, _: str) -> Event:
        self.open = False
        return {"message": ""}

    def _chosen(self, rest: str) -> tuple[list[str], str]:
        """The pictures named at the beginning, and the rest."""
        names = []
        while match := re.match(r"@(?:picture-)?(\S+)\s*", rest):
            name, rest = picture_name(_number(match[1], "@NUMBER for a picture")), rest[match.end() :]
            self.session.picture(name)
            names.append(name)
        if names and self._brought:
            raise RequestError("name pictures by @N, or bring them with /image, not both in one turn")
        return names, rest

    def _one(self, names: list[str]) -> str | Path | None:
        chosen = names or self._brought
        if len(chosen) > 1:
            raise RequestError(f"that takes one picture, not {len(chosen)}")
        return chosen[0] if chosen else None

    def _turned(self, answer: Callable[[], object], words: str) -> Event:
        if not words.strip():
            raise RequestError("say what: the command needs words behind it; /help shows how")
        answer()
        self._brought = []
        turn = self.session.turns[-1]
        event = {"turn": len(self.session.turns), "branch": self.branch, **self._described(turn)}
        return event if turn.verdict is None else event | {"prompt": words, "verdict": asdict(turn.verdict)}

    def _described(self, turn: Turn) -> Event:
        return {
            "ability": turn.ability,
            "asked": [self._part(part) for part in turn.asked.parts],
            "answer": [self._part(part) for part in turn.answer.parts],
            "finished": turn.finished,
        }

    def _part(self, part: object) -> Event:
        if isinstance(part, TextPart):
            return {"text": part.text}
        assert isinstance(part, ImagePart)  # turns name no sizes
        shown = {"picture": part.image}
        return shown if part.codes is None else shown | {"file": str(self._file(part))}

    def _file(self, part: ImagePart) -> Path:
        """The file of a drawing, written when it is first named."""
        name = str(part.image)
        picture = self.session.picture(name)
        key = (name, digest(picture))
        if key not in self.files:
            self.files[key] = _write(picture, self.out, name)
        return self.files[key]


def judged(prompt: str, verdict: Verdict) -> str:
    """A verdict for a person to read."""
    lines = [f"{'pass' if verdict.overall else 'fail'}: {prompt}"]
    lines += [
        f"  {name:9} {('pass' if one.passed else 'FAIL') if one.applicable else '-':5} {one.reason}"
        for name, one in verdict.criteria.items()
    ]
    return "\n".join(lines)


def spelt(event: Event) -> str:
    """An event for a person to read."""
    if "turns" in event:
        return "\n".join(f"{one['turn']}. {_said(one['asked'])}\n   {_said(one['answer'])}" for one in event["turns"])
    if "verdict" in event:
        return judged(event["prompt"], Verdict.from_json(json.dumps(event["verdict"])))
    if "answer" in event:
        cut = " ... (cut: there was no room for more)" if event["finished"] == "length" else ""
        return _said(event["answer"]) + cut
    return str(event.get("message", ""))


def free_folder(stem: str) -> Path:
    """The first of stem-1, stem-2... that is not there yet."""
    return next(path for i in itertools.count(1) if not (path := Path(f"{stem}-{i}")).exists())


def _said(parts: list[Event]) -> str:
    return "".join(part["text"] if "text" in part else f"[{part.get('file', part['picture'])}]" for part in parts)


def _split(line: str) -> tuple[str, str]:
    """The command of a line, and what is behind it."""
    if line.startswith("//"):
        return "say", line[1:]
    if not line.startswith("/"):
        return "say", line
    command, _, rest = line[1:].partition(" ")
    return command.strip().lower(), rest.strip()


def _write(picture: Image.Image, folder: Path, name: str) -> Path:
    """Under its name, or with a number behind it: nothing that is there is overwritten."""
    names = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
    file = next(path for one in names if not (path := folder / f"{one}.png").exists())
    with atomic_file(file) as temp:
        picture.save(temp, "PNG")
    return file


def _needed(text: str, usage: str) -> str:
    if not text:
        raise RequestError(f"write {usage}")
    return text


def _number(text: str, usage: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise RequestError(f"{text:.40}: not a number; write {usage}")
    return int(text)
