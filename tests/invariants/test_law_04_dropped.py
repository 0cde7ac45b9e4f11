"""Law 4, the format's half: the unconditional row differs only in its instruction, in a context training has shown."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from illume.core.errors import FormatError
from illume.tasks.prompts import CORRECT, DRAW, RANDOM, chat, correct, draw, dropped, edit, inpaint, reconstruct
from illume.tasks.verdict import CRITERIA, Criterion, Verdict
from illume.vocab.format import render
from illume.vocab.layout import VocabLayout
from illume.vocab.messages import ImagePart, Message, SizePart, TextPart
from illume.vocab.text import PLAIN, TextFormat, train_byte_bpe

Drop = Callable[..., list[Message]]
Sample = list[Message]

SIDES = ((1, 2), (2, 3))
WORDS = st.one_of(st.sampled_from(["{}", "{prompt}", "<end>", RANDOM, DRAW, ""]), st.text(max_size=8))
BAD = Verdict.of({name: Criterion(True, "no", False) for name in CRITERIA})


@cache
def text_format() -> TextFormat:
    return TextFormat(train_byte_bpe([], 256 + len(PLAIN.specials), PLAIN.specials), PLAIN)


@cache
def layout() -> VocabLayout:
    return VocabLayout(text_format().size, (5, 7), num_sizes=2, sides=SIDES)


def image(first: int, sized: bool = False) -> ImagePart:
    frame = layout().frame_of(1, 0)
    codes = tuple(tuple((first + i) % 5 for i in range(rows * columns)) for rows, columns in frame.grids)
    return ImagePart(frame, codes, f"image {first}", sized)


@st.composite
def samples(draw_: st.DrawFn) -> Sample:
    """Full samples, whose last turn is drawn, of every task that draws."""
    words, sized = draw_(WORDS), draw_(st.booleans())
    target = image(3, sized)
    tasks = [
        draw(words, target),
        draw(words, target, SizePart(1, 0)),
        edit(image(1), words, target),
        inpaint(image(1), words, target),
        inpaint(image(1), None, target),
        reconstruct(image(1), replace(image(1), sized=sized)),
        correct(image(1), words, BAD, target),
        [*draw("a circle", image(2)), *draw(words, target)],
        [*edit(image(1), "remove it", image(2)), Message("user", (TextPart(words),)), Message("assistant", (target,))],
        chat([("user", [image(1), "or", image(2), words]), ("assistant", ["here: ", target])]),
    ]
    return draw_(st.sampled_from(tasks))


def instruction(sample: Sample) -> int:
    return len(sample) - 2


def check_only_the_instruction_differs(sample: Sample, drop: Drop = dropped) -> None:
    """The dropped form keeps every message but the instruction, and of that its images; its words are gone."""
    before = drop(sample)
    where = instruction(sample)
    assert [m for i, m in enumerate(before) if i != where] == [m for i, m in enumerate(sample) if i != where]
    images = [[p for p in m[where].parts if isinstance(p, ImagePart)] for m in (before, sample)]
    assert images[0] == images[1]
    assert before[where].role == "user"
    other = [*sample[:where], replace(sample[where], parts=_other_words(sample[where])), *sample[where + 1 :]]
    assert drop(other) == before, "the dropped instruction still says something of its words"


def _other_words(message: Message) -> tuple:
    return tuple(TextPart("other words") if isinstance(p, TextPart) else p for p in message.parts)


def check_training_has_shown(sample: Sample, drop: Drop = dropped) -> None:
    """What either row has seen when the drawing starts at inference is how a sample of training begins."""
    prompt = sample[:-1]
    shown = render(sample, layout(), text_format())
    asked = render(prompt, layout(), text_format(), prompt=True)
    assert shown.ids[: len(asked.ids)] == asked.ids
    unasked = render(drop(prompt), layout(), text_format(), prompt=True)
    trained = render(drop(sample, training=True), layout(), text_format())
    assert trained.ids[: len(unasked.ids)] == unasked.ids
    assert trained.slots == unasked.slots
    assert any(trained.loss_mask[len(unasked.ids) :])


@given(samples())
def test_the_unconditional_row_differs_only_in_its_instruction(sample: Sample) -> None:
    check_only_the_instruction_differs(sample)


@given(samples())
def test_training_has_shown_the_context_of_both_rows(sample: Sample) -> None:
    check_training_has_shown(sample)


def test_a_dropped_edit_learns_to_draw_its_source() -> None:
    sample = edit(image(1), "make it blue", image(3, sized=True))
    assert dropped(sample, training=True) == reconstruct(image(1), image(1, sized=True))
    assert dropped(sample[:-1], training=True) == dropped(sample[:-1]) == reconstruct(image(1))
    assert dropped(inpaint(image(1), "a star", image(3)), training=True) == reconstruct(image(1), image(1))


def test_a_dropped_drawing_keeps_its_size() -> None:
    assert dropped(draw("{} cats", image(3, True), SizePart(1, 0))) == [
        Message("user", (TextPart("Generate a random image of "), SizePart(1, 0))),
        Message("assistant", (image(3, True),)),
    ]


def test_an_instruction_is_found_behind_later_turns() -> None:
    later = chat([("user", "What is it?"), ("assistant", "A circle.")])
    assert dropped([*draw("a circle", image(1)), *later]) == [*dropped(draw("a circle", image(1))), *later]
    assert dropped(correct(image(1), "x", BAD))[-1] == Message("user", (TextPart(RANDOM),)) != TextPart(CORRECT)


def test_what_cannot_be_dropped_is_refused() -> None:
    with pytest.raises(FormatError, match="no instruction"):
        dropped(chat([("user", "Hello"), ("assistant", "Hello.")]))
    with pytest.raises(FormatError, match="codes"):
        dropped(edit(ImagePart(image(1).frame), "blue", image(3)), training=True)


def drop_every_instruction(messages: Sample, training: bool = False) -> Sample:
    random = (TextPart(RANDOM),)
    return [replace(m, parts=random) if m.role == "user" else m for m in messages]


def drop_nothing(messages: Sample, training: bool = False) -> Sample:
    return messages


def drop_the_images_too(messages: Sample, training: bool = False) -> Sample:
    result = dropped(messages, training)
    return [replace(m, parts=m.parts[1:]) if TextPart(RANDOM) in m.parts[1:] else m for m in result]


def say_it_otherwise_in_training(messages: Sample, training: bool = False) -> Sample:
    return dropped(messages, training) if training else drop_every_instruction(messages)


SEVERAL = chat([("user", [image(1), "and", image(2)]), ("assistant", [image(3)])])


@pytest.mark.parametrize(
    ("broken", "sample"),
    [
        (drop_every_instruction, edit(image(1), "x", image(3))),
        (drop_nothing, draw("x", image(1))),
        (drop_the_images_too, SEVERAL),
    ],
)
def test_law_4_catches_a_drop_that_changes_more_or_less(broken: Drop, sample: Sample) -> None:
    check_only_the_instruction_differs(sample)
    with pytest.raises(AssertionError):
        check_only_the_instruction_differs(sample, broken)


def test_law_4_catches_a_context_that_training_never_showed() -> None:
    sample = edit(image(1), "make it blue", image(3))
    check_training_has_shown(sample)
    with pytest.raises(AssertionError):
        check_training_has_shown(sample, say_it_otherwise_in_training)
