"""A record becomes messages, and messages a sample; what is said is tasks/prompts.py's, what ids it becomes vocab's."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from illume.core.errors import DataError, IllumeError
from illume.core.streams import seed_of
from illume.data.image_files import ImageFiles
from illume.data.records import Record, Turn
from illume.data.sample import Sample, join
from illume.data.sources import Images, Source
from illume.tasks import prompts
from illume.tasks.detail import in_detail
from illume.vocab.format import Rendered, render
from illume.vocab.layout import VocabLayout
from illume.vocab.messages import ImageFrame, ImagePart, Message
from illume.vocab.text import TextFormat

Codes = Callable[[str], tuple[tuple[int, ...], ...]]
"""The codes of an image by its key: one row-major tuple a level."""


@dataclass(frozen=True)
class Pictures:
    """How keys become image parts: read as features, or drawn, with their codes."""

    frame: ImageFrame
    codes: Codes | None = None
    always_codes: bool = False  # for ablations that read codes instead of features

    def read(self, key: str) -> ImagePart:
        return self.drawn(key) if self.always_codes else ImagePart(self.frame, image=key)

    def drawn(self, key: str) -> ImagePart:
        if self.codes is None:
            raise DataError(f"the image {key!r} is to be drawn, but there are no codes: encode the images first")
        return ImagePart(self.frame, self.codes(key), image=key)


def messages(record: Record, pictures: Pictures) -> list[Message]:
    """The conversation a record teaches, its answers included."""
    return _MESSAGES[record.task](record, pictures)


def conversations(record: Record, pictures: Pictures) -> list[list[Message]]:
    """The conversations that a record holds: one, or one a question where the questions are independent."""
    whole = messages(record, pictures)
    if not record.independent:
        return [whole]
    shown = tuple(part for part in whole[0].parts if isinstance(part, ImagePart))
    first = replace(whole[0], parts=whole[0].parts[len(shown) :])  # the images come first
    questions = (first, *whole[2::2])
    return [
        [Message("user", (*shown, *question.parts)), answer]
        for question, answer in zip(questions, whole[1::2], strict=True)
    ]


def drawn_keys(record: Record) -> tuple[str, ...]:
    """The keys of the images whose codes `messages` asks for; what has to be encoded before training on the record."""
    if record.task in ("draw", "reconstruct", "edit", "inpaint"):
        return record.images
    if record.task == "assess":
        return record.images[1:]
    said = [part for turn in record.messages if turn.role == "assistant" for part in turn.parts]
    wanted = {part for part in said if isinstance(part, int)}
    return record.images if wanted else ()


def texts_of(record: Record) -> Iterator[str]:
    """Every text of a record."""
    said = [part for turn in record.messages for part in turn.parts if isinstance(part, str)]
    yield from filter(None, (record.text, record.instruction, *said))


def draws_image(conversation: Sequence[Message]) -> bool:
    """Whether an image is drawn in it, so that guidance may drop its instruction."""
    parts = (part for message in conversation if message.is_target for part in message.parts)
    return any(isinstance(part, ImagePart) for part in parts)


class Examples:
    """Items of sources as samples, each rendered once (and once more in its dropped form).

    In a share `drop` of the epochs of an item its drawing instruction is dropped for guidance (ILLUME+: 10%), chosen by
    (seed, source, epoch, item) alone.
    """

    def __init__(
        self,
        layout: VocabLayout,
        text: TextFormat,
        pictures: Pictures,
        *,
        drop: float = 0.1,
        seed: int = 0,
        reading: Literal["features", "codes"] = "features",
        cache_size: int = 1 << 17,
    ) -> None:
        self.layout, self.text, self.pictures = layout, text, pictures
        self.drop, self.seed, self.reading = drop, seed, reading
        self._cache: dict[tuple[Source, int, bool], Sample] = {}
        self._cache_size = cache_size

    def sample(self, source: Source, item: int, epoch: int) -> Sample:
        """One item of a source in one epoch; whatever goes wrong is a DataError that names it."""
        dropped = seed_of("drop", self.seed, source.name, epoch, item) < self.drop * 2**64
        key = (source, item, dropped)  # not its name: train and test sources may share one
        if key in self._cache:
            return self._cache[key]
        sample = self._make(source, item, dropped)
        if len(self._cache) < self._cache_size:
            self._cache[key] = sample
        return sample

    def _make(self, source: Source, item: int, dropped: bool) -> Sample:
        name = f"{source.name}[{item}]"
        record = None
        try:
            record = source.record(item)
            several = conversations(record, self.pictures)
            return join([self._rendered(one, record, dropped, source.images) for one in several], name, record.task)
        except (IllumeError, ValueError) as error:
            place = f" ({record.where})" if record is not None and record.where else ""
            raise DataError(f"sample {name}{place}: {error}") from error

    def _rendered(self, conversation: list[Message], record: Record, dropped: bool, images: Images) -> Rendered:
        drawn = draws_image(conversation)
        if dropped and drawn:
            conversation = prompts.dropped(conversation, training=True)
        if isinstance(images, ImageFiles) and images.slices and not drawn:  # a conversation with drawings: base size
            conversation = in_detail(conversation, {key: images.grid(key) for key in record.images})
        return render(conversation, self.layout, self.text, self.reading)


def _caption(record: Record, pictures: Pictures) -> list[Message]:
    return prompts.caption(pictures.read(record.images[0]), record.text)


def _draw(record: Record, pictures: Pictures) -> list[Message]:
    return prompts.draw(record.text, pictures.drawn(record.images[0]))


def _reconstruct(record: Record, pictures: Pictures) -> list[Message]:
    image = pictures.drawn(record.images[0])
    return prompts.reconstruct(image, image)


def _edit(record: Record, pictures: Pictures) -> list[Message]:
    source, target = record.images
    return prompts.edit(pictures.drawn(source), record.instruction, pictures.drawn(target))


def _inpaint(record: Record, pictures: Pictures) -> list[Message]:
    masked, target = record.images  # the source's picture has its mask painted over already
    return prompts.inpaint(pictures.drawn(masked), record.instruction or None, pictures.drawn(target))


def _chat(record: Record, pictures: Pictures) -> list[Message]:
    # Images that are only read need codes too where one is drawn: a dropped edit draws its source.
    show = pictures.drawn if drawn_keys(record) else pictures.read

    def said(turn: Turn) -> list[str | ImagePart]:
        return [part if isinstance(part, str) else show(record.images[part]) for part in turn.parts]

    return prompts.chat([(turn.role, said(turn)) for turn in record.messages])


def _text(record: Record, pictures: Pictures) -> list[Message]:
    return prompts.text(record.text)


def _assess(record: Record, pictures: Pictures) -> list[Message]:
    assert record.verdict is not None  # validated
    judged = pictures.read(record.images[0])
    if len(record.images) == 1:
        return prompts.assess(judged, record.text, record.verdict)
    return prompts.correct(judged, record.text, record.verdict, pictures.drawn(record.images[1]))


_MESSAGES: dict[str, Callable[[Record, Pictures], list[Message]]] = {
    "caption": _caption,
    "draw": _draw,
    "reconstruct": _reconstruct,
    "edit": _edit,
    "chat": _chat,
    "text": _text,
    "assess": _assess,
    "inpaint": _inpaint,
}
