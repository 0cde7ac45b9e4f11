"""Messages to ids and back: `render` writes the one sequence format, `parse` reads it.

It does not know tensors, what is said in a task, or how ids are sampled.
"""

from collections.abc import Iterable, Sequence

from illume.core.errors import FormatError
from illume.vocab.layout import VocabLayout
from illume.vocab.messages import ImagePart, Message, Part, SizePart, TextPart
from illume.vocab.reader import Reader
from illume.vocab.text import TextFormat
from illume.vocab.writer import Reading, Rendered, Slots, Writer

__all__ = ["Reading", "Rendered", "Slots", "joined", "parse", "parse_parts", "render", "render_read"]


_NOTHING = TextPart("")


def render(
    messages: Sequence[Message],
    layout: VocabLayout,
    text: TextFormat,
    reading: Reading = "features",
    *,
    prompt: bool = False,
) -> Rendered:
    """A conversation as one sequence; with `prompt` it ends in an assistant's turn that is opened and empty.

    An assistant's image with codes is drawn: a written frame. If anything follows it in the conversation it is then
    read again at once (unless the layout's `reread` is off). Any other image is read: a frame of slots. With reading
    "codes" nothing is read by features: images in context are written frames, without loss, and none is read again.

    FormatError: an image to be drawn has no codes, a frame that could not be read back, a size out of place.
    """
    _check_sizes(layout, text)
    if prompt and messages and messages[-1].role == "assistant":
        raise FormatError("a prompt ends with the turn that is to be answered, not with an assistant's")
    if not prompt and not messages:
        raise FormatError("no messages to render")
    writer = Writer(layout, reading)
    writer.say(text.begin, loss=False)
    conversation = _with_system(messages, text)
    for index, message in enumerate(conversation):
        writer.say(text.openings[message.role], loss=False)
        parts = joined(message.parts)
        for number, part in enumerate(parts):
            followed = prompt or number + 1 < len(parts) or index + 1 < len(conversation)
            _write_part(writer, message, part, text, followed)
        writer.say((text.end,), loss=message.is_target)
        writer.say(text.after_end, loss=False)
    if prompt:
        writer.say(text.openings["assistant"], loss=False)
    return writer.rendered()


def render_read(image: ImagePart, layout: VocabLayout) -> Rendered:
    """The frame of one image that is read, alone: what is put in after a drawn image that something follows."""
    writer = Writer(layout, "features")
    writer.read(image)
    return writer.rendered()


def joined(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The same parts with neighbouring texts joined and empty ones gone: ids don't depend on how a text was cut."""
    result: list[Part] = []
    for part in parts:
        if isinstance(part, TextPart) and result and isinstance(result[-1], TextPart):
            result[-1] = TextPart(result[-1].text + part.text)
        elif part != _NOTHING:
            result.append(part)
    return tuple(result)


def _check_sizes(layout: VocabLayout, text: TextFormat) -> None:
    if text.size != layout.text_size:
        raise FormatError(f"the text tokenizer has {text.size} ids, the layout has room for {layout.text_size}")


def _with_system(messages: Sequence[Message], text: TextFormat) -> list[Message]:
    default = text.template.default_system
    if default is None or (messages and messages[0].role == "system"):
        return list(messages)
    return [Message("system", (TextPart(default),)), *messages]


def _write_part(writer: Writer, message: Message, part: Part, text: TextFormat, followed: bool) -> None:
    if isinstance(part, TextPart):
        writer.say(text.tokenizer.encode(part.text), message.is_target)
    elif isinstance(part, SizePart):
        if message.role == "assistant":
            raise FormatError("an assistant names no size: its images are `sized`")
        writer.size(part)
    elif writer.is_written(message, part):
        writer.write(part, message.is_target)
        if message.role == "assistant" and followed and writer.rereads:
            writer.read(part)
    else:
        writer.read(part)


def parse(ids: Sequence[int], layout: VocabLayout, text: TextFormat, slots: Sequence[Slots] = ()) -> list[Message]:
    """The messages of a whole sequence, without a system turn that only repeats the template's default.

    A drawn image and its reading again are one part. `slots` gives read images their grids and identities; without
    them the slots of a level must be a square. FormatError says at which position what was expected.
    """
    _check_sizes(layout, text)
    reader = Reader(ids, layout, text, slots)
    reader.expect(text.begin, "the token that begins a conversation")
    messages = []
    while not reader.at_end:
        role = text.role_at(ids, reader.position)
        if role is None:
            reader.fail("the opening of a turn")
        reader.position += len(text.openings[role])
        messages.append(Message(role, tuple(reader.parts())))
        reader.expect((text.end,), "more of the turn or its end")
        reader.expect(text.after_end, "what stands between turns")
    default = text.template.default_system
    if default is not None and messages[:1] == [Message("system", (TextPart(default),))]:
        del messages[0]
    return messages


def parse_parts(ids: Sequence[int], layout: VocabLayout, text: TextFormat, slots: Sequence[Slots] = ()) -> list[Part]:
    """The parts of one generated turn: ids after its opening, up to and with its end or, cut short, without it."""
    _check_sizes(layout, text)
    reader = Reader(ids, layout, text, slots)
    parts = reader.parts()
    if not reader.at_end:
        reader.expect((text.end,), "more of the turn or its end")
    if not reader.at_end:
        reader.fail("nothing after the end of the turn")
    return parts
