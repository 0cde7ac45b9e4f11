"""A conversation with a model in words and pictures: say, draw, ask, edit, assess; take back, branch, save, go on.

It says what a turn's messages are and keeps them; how they become ids and pictures is the model's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from PIL import Image

from illume.core.errors import ContextError, RequestError
from illume.generate.abilities import ANSWERING, MODES, Ability, one_of
from illume.generate.folder import Parts
from illume.generate.request import Pixels, Request, Result
from illume.generate.shown import seen
from illume.images.given import ImageLike, several, whole
from illume.session.folder import read, write
from illume.session.turns import (
    Answer,
    Conversation,
    Turn,
    checked,
    messages_of,
    names_of,
    picture_name,
    whole_number,
)
from illume.tasks import prompts
from illume.tasks.verdict import Verdict
from illume.vocab.messages import ImageFrame, ImagePart, Message, Part, TextPart

SAME: Any = object()  # for a memory that is left out: None is one, of all turns


class Model(Protocol):
    """What a session needs of an Illume."""

    @property
    def parts(self) -> Parts: ...

    @property
    def folder(self) -> Path | None: ...

    @property
    def frame(self) -> ImageFrame: ...

    def pixels(self, image: ImageLike) -> Image.Image: ...

    @property
    def request(self) -> Callable[..., Request]: ...

    def run(self, requests: Sequence[Request]) -> list[Result]: ...

    def shown(self, result: Result, seed: int) -> list[str | Image.Image]: ...


@dataclass(frozen=True)
class _Turned:
    """A turn that is answered but not yet kept, and the pictures that came with it."""

    turn: Turn
    pictures: Mapping[str, Image.Image]


class Session:
    """A conversation. Its pictures have names, "picture-1", "picture-2"..., those shown and those drawn alike.

    The same model, seed and turns give the same answers: turn i (from 0) has seed `seed + i` unless it is given its
    own. Each answer sees the conversation so far, drawn pictures as they look (8 bits a channel, as they are saved), or
    with a `memory`, which is the model's own where none is said, only so many of the last turns. With `slices` a
    picture that is shown is kept as it is given, and read in detail by answers in words that see no drawing, as in
    training. A turn that fails changes nothing.
    """

    def __init__(self, model: Model, conversation: Conversation | None = None) -> None:
        self.model = model
        self._now = checked(conversation or Conversation(memory=model.parts.generation.memory))
        if self.slices and model.parts.reading == "codes":
            raise RequestError(f"slices ({self.slices}) are none for a model that reads codes: 0")

    @classmethod
    def load(cls, path: str | Path, model: Model) -> "Session":
        """The session of a folder, to go on with. DataError where the folder is no whole session; CheckpointError where
        it is of another version, or of a model that says other things by the same ids."""
        return cls(model, read(path, model.parts, model.frame))

    def save(self, path: str | Path) -> None:
        """Write the session as a folder, whole or not at all; an older session there is replaced, nothing else is."""
        write(path, self._now, self.model.parts, self.model.folder)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What was said so far."""
        return self._now.turns

    @property
    def pictures(self) -> dict[str, Image.Image]:
        """Copies of all pictures by name, in the order in which they came."""
        return {name: picture.copy() for name, picture in self._now.pictures.items()}

    def picture(self, name: str) -> Image.Image:
        """A copy of one picture."""
        if name not in self._now.pictures:
            raise RequestError(f"there is no {name} in this session, of {len(self._now.pictures)} pictures")
        return self._now.pictures[name].copy()

    @property
    def seed(self) -> int:
        """The seed of the first turn."""
        return self._now.seed

    @property
    def memory(self) -> int | None:
        """How many earlier turns an answer sees; None: all."""
        return self._now.memory

    @property
    def slices(self) -> int:
        """In how many slices at most a large picture is read; 0: none."""
        return self._now.slices

    @property
    def messages(self) -> list[Message]:
        """The whole conversation."""
        return list(messages_of(self.turns))

    def context(self, turn: int | None = None) -> list[Message]:
        """The messages before a turn's question that its answer saw; None: those that the next one will see."""
        if turn is None:
            memory = len(self.turns) if self.memory is None else self.memory
            return list(messages_of(self.turns[max(0, len(self.turns) - memory) :]))
        self._check_turn(turn, len(self.turns) - 1)
        return list(messages_of(self.turns[turn - self.turns[turn].saw : turn]))

    def say(
        self,
        text: str,
        images: Sequence[ImageLike] = (),
        *,
        mode: Literal["auto", "text"] = "auto",
        seed: int | None = None,
        **settings: Any,
    ) -> Answer:
        """Anything, with images of your own or by name; the answer may hold words and pictures (mode "text": words)."""
        ability = ANSWERING[one_of(mode, ANSWERING, "mode")]
        return self._keep(self._turn(ability, lambda shown: _chat(shown, text), several(images), seed, settings))

    def draw(self, prompt: str, *, seed: int | None = None, **settings: Any) -> Image.Image:
        """A picture of a prompt. settings: guidance, temperature, top_k, top_p."""
        return self._keep(self._turn("draw", lambda _: prompts.draw(prompt), (), seed, settings)).pictures[0]

    def ask(
        self,
        question: str,
        picture: ImageLike | Sequence[ImageLike] | None = None,
        *,
        seed: int | None = None,
        **settings: Any,
    ) -> str:
        """The answer to a question about a picture, or several ("which of them..."): the newest, if none is given.

        They are shown again with the question. settings: temperature, top_k, top_p, max_new_text.
        """
        chosen: list[Any] = [picture]
        if isinstance(picture, Sequence) and not isinstance(picture, str | bytes):
            chosen = list(picture)
        elif picture is None:
            chosen = [self._newest()]
        if not chosen:
            raise RequestError("ask about one picture or more; say() is for a question about none")
        return self._keep(self._turn("ask", lambda shown: _chat(shown, question), chosen, seed, settings)).text

    def edit(
        self, instruction: str, picture: ImageLike | None = None, *, seed: int | None = None, **settings: Any
    ) -> Image.Image:
        """A picture (None: the newest) changed as told, as a new picture; settings as in `draw`."""
        chosen = [self._newest() if picture is None else picture]
        found = self._turn("edit", lambda shown: prompts.edit(shown[0], instruction), chosen, seed, settings)
        return self._keep(found).pictures[0]

    def assess(
        self, prompt: str, picture: ImageLike | None = None, *, seed: int | None = None, **settings: Any
    ) -> Verdict:
        """Whether a picture (None: the newest) shows what a prompt asks. DataError where the answer is no verdict."""
        chosen = [self._newest() if picture is None else picture]
        found = self._turn("assess", lambda shown: prompts.assess(shown[0], prompt), chosen, seed, settings)
        verdict = found.turn.verdict
        assert verdict is not None  # a turn of this ability has one
        self._keep(found)
        return verdict

    def undo(self, turns: int = 1) -> tuple[Turn, ...]:
        """Take back the last turns, with the pictures that came with them; said again, they are answered the same."""
        if not 1 <= whole_number(turns, "the number of turns to take back") <= len(self.turns):
            raise RequestError(f"there are {len(self.turns)} turns, so {turns} of them cannot be taken back")
        taken = self.turns[-turns:]
        self._now = _until(self._now, len(self.turns) - turns)
        return taken

    def branch(self, at: int | None = None, *, memory: int | None = SAME) -> "Session":
        """A session of its own that begins as this one, up to `at` turns (None: all); `memory` may be another."""
        at = len(self.turns) if at is None else at
        self._check_turn(at, len(self.turns))
        remembered = self.memory if memory is SAME else memory
        return Session(self.model, replace(_until(self._now, at), memory=remembered))

    def _check_turn(self, turn: int, most: int) -> None:
        if whole_number(turn, "a turn's number") > most:
            raise RequestError(f"there is no turn {turn} here: this session has {len(self.turns)}")

    def _newest(self) -> str:
        if not self._now.pictures:
            raise RequestError("there is no picture in this session yet: draw one, or give one")
        return picture_name(len(self._now.pictures))

    def _turn(
        self,
        ability: Ability,
        said: Callable[[list[ImagePart]], list[Message]],
        images: Sequence[ImageLike],
        seed: int | None,
        settings: Mapping[str, Any],
    ) -> _Turned:
        """Show, say and be answered; nothing is kept yet."""
        pictures = dict(self._now.pictures)
        names = [self._show(image, pictures) for image in images]
        (asked,) = said([ImagePart(self.model.frame, image=name) for name in names])
        context = self.context()
        seed = whole_number(self.seed + len(self.turns) if seed is None else seed, "a turn's seed")
        messages, pixels = self._seen(ability, [*context, asked], pictures)
        result = self._run(self.model.request(ability, messages, pixels, seed, **settings))
        answer = Message("assistant", self._named(result, seed, pictures))
        return _Turned(Turn(ability, asked, answer, seed, len(context) // 2, result.finished), pictures)

    def _seen(
        self, ability: Ability, messages: Sequence[Message], pictures: Mapping[str, Image.Image]
    ) -> tuple[Sequence[Message], dict[str, Pixels]]:
        """What a model is given: in detail where words answer and nothing is drawn, for only so has it been trained."""
        drawn = names_of(message for message in messages if message.role == "assistant")
        slices = self.slices if MODES[ability] == "text" and not drawn else 0
        shown = {name: pictures[name] for name in names_of(messages)}
        return seen(messages, shown, self.model.parts.image_size, slices)

    def _show(self, image: ImageLike, pictures: dict[str, Image.Image]) -> str:
        """The name of a picture: a new one, or the one that is said."""
        if isinstance(image, str) and image in self._now.pictures:
            return image
        name = picture_name(len(pictures) + 1)
        pictures[name] = whole(image) if self.slices else self.model.pixels(image)
        return name

    def _run(self, request: Request) -> Result:
        try:
            return self.model.run([request])[0]
        except ContextError as error:
            raise ContextError(
                f"turn {len(self.turns)} would be {error.needed} ids long with the conversation before it and room for "
                f"its answer, but this model takes {error.available}: take turns back (undo), go on from an earlier "
                "one (branch), let answers see fewer turns (memory), or begin a new session",
                error.needed,
                error.available,
            ) from error

    def _named(self, result: Result, seed: int, pictures: dict[str, Image.Image]) -> tuple[Part, ...]:
        """The parts of an answer; its pictures are named and put with the others."""
        parts: list[Part] = []
        for part, shown in zip(result.parts, self.model.shown(result, seed), strict=True):
            if isinstance(part, ImagePart) and isinstance(shown, Image.Image):
                name = picture_name(len(pictures) + 1)
                pictures[name] = shown
                parts.append(replace(part, image=name))
            else:
                parts.append(part)
        return tuple(parts)

    def _keep(self, turned: _Turned) -> Answer:
        self._now = replace(self._now, turns=(*self.turns, turned.turn), pictures=turned.pictures)
        shown = [
            part.text if isinstance(part, TextPart) else turned.pictures[str(part.image)].copy()
            for part in turned.turn.answer.parts
            if isinstance(part, TextPart | ImagePart)
        ]
        return Answer(tuple(shown), turned.turn.finished)


def _chat(shown: Sequence[ImagePart], text: str) -> list[Message]:
    return prompts.chat([("user", [*shown, text])])


def _until(conversation: Conversation, turns: int) -> Conversation:
    """Its first turns, with the pictures that came in them."""
    kept = conversation.turns[:turns]
    names = names_of(messages_of(kept))
    return replace(conversation, turns=kept, pictures={name: conversation.pictures[name] for name in names})
