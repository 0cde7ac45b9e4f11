"""The values of a session: turns, answers, and all of them as one conversation.

It does not know how an answer comes about, nor how a conversation is kept on disk.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from operator import index
from typing import Any, Literal

from PIL import Image

from illume.core.errors import DataError, RequestError
from illume.generate.abilities import MODES, Ability
from illume.tasks.verdict import Verdict
from illume.vocab.messages import ImagePart, Message, TextPart

MOST = 2**53  # seeds are below it: beyond, JSON's numbers are not exact everywhere
MOST_SLICES = 1000  # that a session may ask for; nine are what a model knows (ILLUME, stage 3)


@dataclass(frozen=True)
class Answer:
    """Words and pictures, in the order in which they came. finished "length": cut, as there was no room for more."""

    parts: tuple[str | Image.Image, ...]
    finished: Literal["end", "length"] = "end"

    @property
    def text(self) -> str:
        """Its words, without its pictures."""
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def pictures(self) -> tuple[Image.Image, ...]:
        """Its pictures."""
        return tuple(part for part in self.parts if isinstance(part, Image.Image))

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Turn:
    """What was said and answered, in what way, with which seed, and how many turns before it the answer saw.

    Pictures stand in the messages by their names; those that were drawn have their codes there. DataError where an
    answer is not of its ability: a drawing is one picture, an answer about pictures words, an assessment a verdict.
    """

    ability: Ability
    asked: Message
    answer: Message
    seed: int
    saw: int
    finished: Literal["end", "length"] = "end"

    def __post_init__(self) -> None:
        kinds = [type(part) for part in self.answer.parts]
        if MODES[self.ability] == "image" and kinds != [ImagePart]:
            raise DataError(f"the answer to {self.ability!r} is exactly one picture, not {len(kinds)} parts")
        if MODES[self.ability] == "text" and ImagePart in kinds:
            raise DataError(f"the answer to {self.ability!r} has no picture")
        if self.ability == "assess":
            Verdict.from_json(self.text)

    @property
    def text(self) -> str:
        """The words of the answer."""
        return "".join(part.text for part in self.answer.parts if isinstance(part, TextPart))

    @property
    def verdict(self) -> Verdict | None:
        """What an assessment found; None for any other turn."""
        return Verdict.from_json(self.text) if self.ability == "assess" else None

    @property
    def drawn(self) -> tuple[str, ...]:
        """The names of the pictures that the answer drew."""
        return names_of([self.answer])


@dataclass(frozen=True)
class Conversation:
    """A session as a value. `memory`: how many earlier turns an answer sees; None is all of them. `slices`: in how many
    slices at most a large picture is read; 0: none.

    `pictures` holds those of the turns by name, "picture-1", "picture-2"... in the order in which they came: of the
    model's size, or, where there are slices, those that were shown as they were given.
    """

    seed: int = 0
    memory: int | None = None
    turns: tuple[Turn, ...] = ()
    pictures: Mapping[str, Image.Image] = field(default_factory=dict)
    slices: int = 0


def whole_number(value: Any, what: str, below: int = MOST) -> int:
    """A number as session.json holds it, numpy's too. RequestError for one that could be saved and never loaded."""
    try:
        number = int(index(value))
    except TypeError:
        number = -1
    if isinstance(value, bool) or not 0 <= number < below:
        limit = "2**53" if below == MOST else below
        raise RequestError(f"{what} is a whole number of at least 0 and below {limit}, not {value!r:.80}")
    return number


def checked(conversation: Conversation) -> Conversation:
    """The same, its numbers Python's. RequestError where one of them is none."""
    memory = conversation.memory
    return replace(
        conversation,
        seed=whole_number(conversation.seed, "a session's seed"),
        memory=None if memory is None else whole_number(memory, "memory, the number of turns that an answer sees,"),
        slices=whole_number(conversation.slices, "slices", MOST_SLICES + 1),
    )


def picture_name(number: int) -> str:
    """The name of the picture that came as the `number`th, counted from 1."""
    return f"picture-{number}"


def messages_of(turns: Iterable[Turn]) -> Iterator[Message]:
    """Questions and answers in turn."""
    for turn in turns:
        yield turn.asked
        yield turn.answer


def names_of(messages: Iterable[Message]) -> tuple[str, ...]:
    """The names of the pictures in these messages, each once, in the order of their coming."""
    parts = (part for message in messages for part in message.parts if isinstance(part, ImagePart))
    return tuple(dict.fromkeys(str(part.image) for part in parts))
