"""The records held out of a mixture as benchmarks: images with what is said of them, short questions about one.

What is drawn from them goes to record_edits.py. It does not know how a model answers, nor how it was split.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice, zip_longest
from typing import ClassVar, TypeVar

from illume.core.statistics import mean
from illume.data.collection import OpenCollection
from illume.data.held_out import Parted
from illume.data.records import Record
from illume.eval.scorecard import Row
from illume.eval.task import Example, Picture, Score, Subject, to_row
from illume.eval.tasks.folder import Item
from illume.eval.tasks.see import normalised

CAPTIONED = ("caption", "draw")
PICTURED = (*CAPTIONED, "reconstruct")
MOST_WORDS = 3
"""Of an answer that is the one right answer: a number, a colour, yes or no. A sentence can be right in many ways."""
_COMPARED_WITH = 4096  # training images that drawings and means are compared with, at most

T = TypeVar("T")


@dataclass(frozen=True)
class MixedImages:
    """Images of a mixture with what is said of them, of these tasks and sources (None: all); each image once.

    At most `num_items` that training never sees, from all sources in turn, and a few thousand that it does see.
    """

    parted: Parted
    num_items: int
    tasks: tuple[str, ...]
    sources: tuple[str, ...] | None = None

    def held_out(self) -> Sequence[Item]:
        return self._items

    def training(self) -> Sequence[Picture]:
        return self._training

    @cached_property
    def _items(self) -> list[Item]:
        opened = self.parted.held_out
        found = in_turn({name: self._keys(name, one) for name, one in opened.items()})
        some = islice(found, self.num_items)
        return [Item(opened[name].images.image(key), text, name) for name, (key, text) in some]

    @cached_property
    def _training(self) -> list[Picture]:
        opened = self.parted.train
        found = in_turn({name: self._keys(name, one) for name, one in opened.items()})
        return [opened[name].images.image(key) for name, (key, _) in islice(found, _COMPARED_WITH)]

    def _keys(self, name: str, opened: OpenCollection) -> Iterable[tuple[str, str]]:
        """The images of a source by key, each with its first text."""
        if self.sources is not None and name not in self.sources:
            return ()
        wanted = (record for record in reversed(opened.records) if record.task in self.tasks)
        texts = {record.images[0]: record.text for record in wanted}
        return reversed(texts.items())


@dataclass(frozen=True)
class Question:
    """A question about one image, its one right answer, and the source it comes from.

    `slices`: in how many the source's images are read at most; then `whole` is the image in all its pixels.
    """

    text: str
    answer: str
    picture: Picture
    source: str
    slices: int = 0
    whole: Picture | None = None


@dataclass(frozen=True)
class OwnQuestions:
    """Held-out questions about an image: the answer, word for word but for case and the point at its end."""

    questions: Sequence[Question]
    ability: ClassVar[str] = "see"

    def items(self) -> Sequence[Question]:
        return self.questions

    def answer(self, subject: Subject, items: Sequence[Question]) -> Sequence[str]:
        answers: dict[int, str] = {}
        for slices in sorted({item.slices for item in items}):
            some = [(number, item) for number, item in enumerate(items) if item.slices == slices]
            shown = [item.picture if item.whole is None else item.whole for _, item in some]
            said = subject.ask(shown, [item.text for _, item in some], slices=slices)
            answers |= {number: answer for (number, _), answer in zip(some, said, strict=True)}
        return [answers[number] for number in range(len(items))]

    def score(self, item: Question, answer: str) -> Score:
        right = _right(item, answer)
        said = answer if right else f"{answer} (right: {item.answer})"
        return Score(right, (item.source,), example=Example(item.text, (("", item.picture),), said, right))

    def baselines(self, subject: Subject, items: Sequence[Question], answers: Sequence[str]) -> Mapping[str, float]:
        """The same questions without the image."""
        blind = subject.ask([None] * len(items), [item.text for item in items])
        return {"without image": mean([_right(item, answer) for item, answer in zip(items, blind, strict=True)])}

    def aggregate(self, scores: Sequence[Score], baselines: Mapping[str, float]) -> Row:
        return to_row(scores, baselines)


def questions_of(parted: Parted, num_items: int) -> list[Question]:
    """The held-out questions about one image that have one right answer, from all sources in turn."""
    opened = parted.held_out
    found = in_turn({name: chain.from_iterable(map(_asked, one.records)) for name, one in opened.items()})
    questions = []
    for name, (text, answer, key) in islice(found, num_items):
        images = opened[name].images
        whole = images.whole(key) if images.slices else None
        questions.append(Question(text, answer, images.image(key), name, images.slices, whole))
    return questions


def texts_of(opened: Mapping[str, OpenCollection], num_items: int) -> list[str]:
    """Their plain texts, from all sources in turn."""
    found = in_turn({name: (r.text for r in one.records if r.task == "text") for name, one in opened.items()})
    return [text for _, text in islice(found, num_items)]


def in_turn(several: Mapping[str, Iterable[T]]) -> Iterator[tuple[str, T]]:
    """One of each, then the next of each, until all are through; each with the name it comes from."""
    ended = object()
    for row in zip_longest(*several.values(), fillvalue=ended):
        yield from ((name, one) for name, one in zip(several, row, strict=True) if one is not ended)  # type: ignore[misc]


def _asked(record: Record) -> Iterator[tuple[str, str, str]]:
    """The questions of a chat that stand alone, with short answer and image: all independent ones, else the first."""
    turns = record.messages if record.task == "chat" else ()
    pairs = list(zip(turns[::2], turns[1::2], strict=False))
    for asked, answer in pairs if record.independent else pairs[:1]:
        images = [index for index in turns[0].parts if isinstance(index, int)]
        words = " ".join(text.strip() for text in asked.parts if isinstance(text, str))
        said = [text for text in answer.parts if isinstance(text, str)]
        short = len(said) == len(answer.parts) and 0 < len("".join(said).split()) <= MOST_WORDS
        if asked.role == "user" and len(images) == 1 and words and short:
            yield words, "".join(said).strip(), record.images[images[0]]


def _right(item: Question, answer: str) -> bool:
    return normalised(answer) == normalised(item.answer)
