"""Law 1: parse undoes render; the grammar accepts what render writes; whatever the grammar allows parses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from illume.core.errors import FormatError
from illume.vocab.format import joined, parse, parse_parts, render
from illume.vocab.grammar import Grammar, IdSet, State
from illume.vocab.layout import VocabLayout
from illume.vocab.messages import ImageFrame, ImagePart, Message, SizePart, TextPart
from illume.vocab.text import CHATML, PLAIN, VICUNA, ChatTemplate, TextFormat, train_byte_bpe

TRAPS = (
    "<|im_end|>",
    "<user>",
    "</s>",
    "{}",
    "{0}",
    "%s",
    "<start_of_image>",
    "<slot>",
    "user\n",
    "\n",
    "  ",
    "e\u0301",
)
TRAPS += (
    "<|im_start|>assistant\n",
    "<end>",
    "<height0>",
    "\u202e\u0000",
    "👩‍👩‍👧",
    '{"object":{"applicable":true',
    "ﬁ",
    "가",
)


@cache
def text_format(template: ChatTemplate) -> TextFormat:
    specials = tuple(dict.fromkeys(PLAIN.specials + CHATML.specials + VICUNA.specials))
    return TextFormat(train_byte_bpe(["a red circle, a red square"] * 3, 290, specials), template)


@dataclass(frozen=True)
class World:
    """Everything a conversation is rendered with."""

    layout: VocabLayout
    text: TextFormat
    reading: Any = "features"


@st.composite
def layouts(draw: st.DrawFn) -> VocabLayout:
    depths = draw(st.sampled_from(((), (), (1,), (2,), (3,), (1, 2), (2, 1))))
    levels = sum(depths) or draw(st.integers(1, 3))
    side = st.tuples(*[st.integers(1, 3)] * (len(depths) or levels))
    read = draw(st.lists(side, max_size=3, unique=True))
    sides = tuple(
        tuple(n for n, depth in zip(one, depths or (1,) * levels, strict=True) for _ in range(depth)) for one in read
    )
    return VocabLayout(
        depths=depths,
        text_size=290,
        levels=tuple(draw(st.lists(st.integers(2, 9), min_size=levels, max_size=levels))),
        text_padding=draw(st.integers(0, 2)),
        num_sizes=len(sides) or draw(st.integers(0, 2)),
        sides=sides,
        row_ends=draw(st.booleans()),
        level_markers=draw(st.booleans()),
        reread=draw(st.booleans()),
    )


TEMPLATES = (PLAIN, CHATML, VICUNA, replace(CHATML, default_system="Help.", begin="<s>"))
WORDS = st.lists(st.one_of(st.sampled_from(TRAPS), st.text(max_size=6)), max_size=3).map("".join)
SENTENCES = WORDS.map(lambda words: words + ".").map(TextPart)


@st.composite
def worlds(draw: st.DrawFn, readings: Sequence[str] = ("features", "codes")) -> World:
    text = text_format(draw(st.sampled_from(TEMPLATES)))
    layout = replace(draw(layouts()), text_size=text.size)
    return World(layout, text, draw(st.sampled_from(readings)))


@st.composite
def any_frames(draw: st.DrawFn, layout: VocabLayout) -> ImageFrame:
    read = [draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) for _ in layout.read_levels]
    return ImageFrame(layout.whole(read))


@st.composite
def drawable(draw: st.DrawFn, layout: VocabLayout) -> tuple[ImageFrame, bool]:
    """A frame whose ids say its grids, and whether it is sized."""
    if layout.sides and draw(st.booleans()):
        tag = st.integers(0, len(layout.sides) - 1)
        return layout.frame_of(draw(tag), draw(tag)), True
    if layout.row_ends:
        return draw(any_frames(layout)), False
    read = draw(st.tuples(*[st.integers(1, 3)] * len(layout.read_levels)))
    return ImageFrame(layout.whole([(side, side) for side in read])), False


@st.composite
def drawn_images(draw: st.DrawFn, layout: VocabLayout, frames: Any = None) -> ImagePart:
    frame, sized = draw(drawable(layout) if frames is None else frames)
    codes = tuple(
        tuple(draw(st.lists(st.integers(0, size - 1), min_size=rows * columns, max_size=rows * columns)))
        for size, (rows, columns) in zip(layout.levels, frame.grids, strict=True)
    )
    return ImagePart(frame, codes, f"image {draw(st.integers(0, 99))}", sized)


@st.composite
def conversations(draw: st.DrawFn, world: World) -> list[Message]:
    image = drawn_images(world.layout)
    read = any_frames(world.layout).map(lambda frame: ImagePart(frame, image="read"))
    seen = image if world.reading == "codes" else st.one_of(read, image)
    asked = [SENTENCES, seen]
    if world.layout.num_sizes and world.reading == "features":
        tag = st.integers(0, world.layout.num_sizes - 1)
        asked.append(st.builds(SizePart, tag, tag))
    said = st.lists(st.one_of(*asked), max_size=4).map(tuple)
    history = st.lists(st.one_of(SENTENCES, seen), max_size=3).map(tuple)
    answer = st.lists(st.one_of(SENTENCES, image), max_size=3).map(tuple)
    turns = [
        st.builds(Message, st.just("user"), said),
        st.builds(Message, st.just("assistant"), answer),
        st.builds(Message, st.just("assistant"), history, st.just(False)),
    ]
    messages = draw(st.lists(st.one_of(*turns), min_size=1, max_size=4))
    system = draw(st.one_of(st.none(), st.builds(lambda part: Message("system", (part,)), SENTENCES)))
    return messages if system is None else [system, *messages]


@st.composite
def rendered_cases(draw: st.DrawFn) -> tuple[World, list[Message]]:
    world = draw(worlds())
    return world, draw(conversations(world))


def canonical(messages: Sequence[Message], world: World) -> list[tuple[Any, ...]]:
    """What of the messages stands in their ids: joined texts, codes where an image is written, slots otherwise."""
    result = []
    for message in messages:
        parts = []
        for part in joined(message.parts):
            written = message.role == "assistant" or world.reading == "codes"
            if isinstance(part, ImagePart) and not (written and part.codes):
                part = ImagePart(part.frame)
            parts.append(part)
        result.append((message.role, tuple(parts)))
    default = world.text.template.default_system
    return result[1:] if default is not None and result[0] == ("system", (TextPart(default),)) else result


def identities(messages: Sequence[Message]) -> list[str | None]:
    return [part.image for message in messages for part in message.parts if isinstance(part, ImagePart)]


def check_round_trip(world: World, messages: list[Message], render: Callable[..., Any] = render) -> None:
    """The law, given a way to render."""
    rendered = render(messages, world.layout, world.text, world.reading)
    parsed = parse(rendered.ids, world.layout, world.text, rendered.slots)
    assert canonical(parsed, world) == canonical(messages, world)
    seen = [run.image for run in rendered.slots if run.level == 0]
    assert [name for name in identities(parsed) if name is not None] == seen
    assert len(rendered.ids) == len(rendered.loss_mask) == len(rendered.places)


@given(rendered_cases())
def test_parse_undoes_render(case: tuple[World, list[Message]]) -> None:
    check_round_trip(*case)


TWO = World(VocabLayout(text_format(PLAIN).size, (8, 12), num_sizes=2, sides=((9, 16), (18, 32))), text_format(PLAIN))


def unequal(offset: int = 0, sized: bool = False) -> ImagePart:
    frame = ImageFrame(((9, 9), (16, 16)))
    codes = tuple(i % 8 for i in range(offset, offset + 81)), tuple(i % 12 for i in range(offset, offset + 256))
    return ImagePart(frame, codes, f"unequal {offset}", sized)


def two_drawings() -> list[Message]:
    parts = (TextPart("first {} "), unequal(0), TextPart(" then "), unequal(3, sized=True), TextPart("done"))
    return [Message("user", (unequal(1), TextPart("{prompt}"), unequal(2))), Message("assistant", parts)]


@pytest.mark.parametrize("row_ends", [True, False])
@pytest.mark.parametrize("level_markers", [True, False])
def test_parse_undoes_render_on_two_unequal_levels(row_ends: bool, level_markers: bool) -> None:
    layout = replace(TWO.layout, row_ends=row_ends, level_markers=level_markers)
    check_round_trip(replace(TWO, layout=layout), two_drawings())
    check_round_trip(replace(TWO, layout=layout, reading="codes"), two_drawings())


@given(st.integers(1, 4), st.booleans(), st.booleans())
def test_square_images_parse_without_their_slots(side: int, row_ends: bool, reread: bool) -> None:
    layout = VocabLayout(TWO.text.size, (5,), row_ends=row_ends, level_markers=False, reread=reread)
    frame = ImageFrame(((side, side),))
    drawn = ImagePart(frame, ((1,) * side * side,))
    messages = [Message("user", (ImagePart(frame),)), Message("assistant", (drawn, TextPart("there")))]
    assert parse(render(messages, layout, TWO.text).ids, layout, TWO.text) == messages


def lose_a_row_end(messages: list[Message], layout: VocabLayout, *rest: Any) -> Any:
    rendered = render(messages, layout, *rest)
    at = rendered.ids.index(layout.marker("end_of_line"))
    return replace(rendered, ids=rendered.ids[:at] + rendered.ids[at + 1 :])


def swap_the_images(messages: list[Message], *rest: Any) -> Any:
    def swapped(message: Message) -> Message:
        first, *between, last = message.parts[1:-1]
        return replace(message, parts=(message.parts[0], last, *between, first, message.parts[-1]))

    return render([swapped(m) if m.role == "assistant" else m for m in messages], *rest)


def format_the_text(messages: list[Message], *rest: Any) -> Any:
    def formatted(part: Any) -> Any:
        return TextPart(part.text.format("", prompt="")) if isinstance(part, TextPart) else part

    return render([replace(m, parts=tuple(map(formatted, m.parts))) for m in messages], *rest)


@pytest.mark.parametrize("broken", [lose_a_row_end, swap_the_images, format_the_text])
def test_law_1_catches_a_broken_render(broken: Callable[..., Any]) -> None:
    check_round_trip(TWO, two_drawings())
    with pytest.raises((AssertionError, FormatError)):
        check_round_trip(TWO, two_drawings(), broken)


@st.composite
def generated_cases(draw: st.DrawFn) -> tuple[World, list[Message], tuple[ImageFrame, bool]]:
    """Conversations whose every assistant turn could have been generated, all drawings with one frame."""
    world = draw(worlds(readings=("features",)))
    frame = draw(drawable(world.layout))
    image = drawn_images(world.layout, st.just(frame))
    said = st.lists(st.one_of(SENTENCES, any_frames(world.layout).map(ImagePart)), max_size=2).map(tuple)
    answer = st.lists(st.one_of(SENTENCES, image), max_size=3).map(tuple)
    pair = st.tuples(st.builds(Message, st.just("user"), said), st.builds(Message, st.just("assistant"), answer))
    turns = draw(st.lists(pair, min_size=1, max_size=2))
    return world, [message for turn in turns for message in turn], frame


def check_accepted(world: World, messages: list[Message], frame: ImageFrame | None, sized: bool) -> None:
    """Every assistant turn of a rendered conversation is a walk of the grammar, and both agree on places."""
    rendered = render(messages, world.layout, world.text)
    grammar = Grammar(world.layout, world.text)
    codes = {name: ids for name, ids in world.layout.ranges().items() if name.startswith("level")}
    for index in range(1, len(messages), 2):
        at = len(render(messages[:index], world.layout, world.text, prompt=True).ids)
        state = grammar.start("auto", frame, sized)
        while not grammar.done(state):
            id = rendered.ids[at]
            if any(id in ids for ids in codes.values()):
                assert grammar.place(state) == rendered.places[at - 1]
                assert id in codes[grammar.region(state)]
            remaining = grammar.remaining(state)
            if remaining is not None:
                last = at + remaining
                assert rendered.ids[last - 1 : last] == (world.layout.marker("end_of_image"),)
            state, at = grammar.step(state, id), at + 1


@given(generated_cases())
def test_the_grammar_accepts_what_is_rendered(case: tuple[World, list[Message], tuple[ImageFrame, bool]]) -> None:
    world, messages, (frame, sized) = case
    check_accepted(world, messages, frame, sized)
    if sized:
        check_accepted(world, messages, None, sized)


def test_the_grammar_accepts_two_unequal_levels() -> None:
    messages = [
        Message("user", (unequal(),)),
        Message("assistant", (TextPart("so"), unequal(4, True), unequal(5, True))),
    ]
    check_accepted(TWO, messages, unequal().frame, True)
    check_accepted(TWO, messages, None, True)


def test_law_1_catches_a_grammar_that_does_not_read_its_drawings_again(monkeypatch: pytest.MonkeyPatch) -> None:
    advance = Grammar._advance

    def unparked(self: Grammar, state: State) -> State:
        after = advance(self, state)
        return replace(after, phase="text", drawing=None) if self.parked(after) else after

    monkeypatch.setattr(Grammar, "_advance", unparked)
    with pytest.raises((AssertionError, FormatError)):
        check_accepted(
            TWO, [Message("user", ()), Message("assistant", (unequal(), TextPart("so")))], unequal().frame, False
        )


@st.composite
def walks(draw: st.DrawFn) -> tuple[World, Grammar, State]:
    world = draw(worlds(readings=("features",)))
    grammar = Grammar(world.layout, world.text)
    mode = draw(st.sampled_from(["text", "image", "auto"]))
    if mode == "text":
        return world, grammar, grammar.start(mode)
    free = bool(grammar.sizes) and draw(st.booleans())
    frame, sized = (None, True) if free else draw(drawable(world.layout))
    return world, grammar, grammar.start(mode, frame, sized)


def check_walk(world: World, grammar: Grammar, start: State, choose: Callable[[IdSet], int]) -> None:
    """A walk to the end of a turn parses, and an image asked for is there."""
    state, ids = start, []
    while not grammar.done(state):
        allowed = grammar.allowed(state)
        enough = len(ids) > 30 and world.text.end in allowed
        ids.append(world.text.end if enough else choose(allowed))
        state = grammar.step(state, ids[-1])
    parts = parse_parts(ids, world.layout, world.text)
    images = [part for part in parts if isinstance(part, ImagePart)]
    assert start.mode != "text" or not images
    assert start.mode != "image" or len(parts) == len(images) == 1
    assert all(image.codes is not None and start.frame in (None, image.frame) for image in images)


@given(walks(), st.data())
def test_every_walk_of_the_grammar_parses(case: tuple[World, Grammar, State], data: st.DataObject) -> None:
    def choose(allowed: IdSet) -> int:
        among = data.draw(st.sampled_from(allowed.ranges))
        return data.draw(st.integers(among.start, among.stop - 1))

    check_walk(*case, choose)


class Hasty(Grammar):
    """Leaves out the last position before an image's end."""

    def _steps(self, state: State) -> Any:
        steps = super()._steps(state)
        return steps[:-2] + steps[-1:] if state.phase == "draw" else steps


def test_law_1_catches_a_grammar_that_ends_images_early() -> None:
    def lowest(allowed: IdSet) -> int:
        return allowed.ranges[0].start

    right, hasty = Grammar(TWO.layout, TWO.text), Hasty(TWO.layout, TWO.text)
    check_walk(TWO, right, right.start("image", unequal().frame), lowest)
    with pytest.raises(FormatError, match="expected <end_of_level1>"):
        check_walk(TWO, hasty, hasty.start("image", unequal().frame), lowest)
