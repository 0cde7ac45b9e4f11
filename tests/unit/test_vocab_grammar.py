"""The grammar's modes, sizes and parking, and its sets of ids. (That what it allows parses: law 1.)"""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from illume.core.errors import FormatError
from illume.vocab.format import parse_parts, render_read
from illume.vocab.grammar import Grammar, IdSet, State
from illume.vocab.layout import VocabLayout, written_frame
from illume.vocab.messages import ImageFrame, ImagePart, TextPart
from illume.vocab.text import PLAIN, TextFormat, train_byte_bpe

RANGES = st.lists(
    st.builds(lambda start, n: range(start, start + n), st.integers(0, 40), st.integers(0, 9)), max_size=6
)


@given(RANGES, RANGES)
def test_an_id_set_is_a_set(one: list[range], other: list[range]) -> None:
    ids = {id for r in one for id in r}
    found = IdSet(tuple(one))
    assert list(found) == sorted(ids)
    assert len(found) == len(ids)
    assert all((id in found) == (id in ids) for id in range(-1, 55))
    assert set(found | IdSet(tuple(other))) == ids | {id for r in other for id in r}
    assert found == IdSet.of(ids)
    assert all(a.stop < b.start for a, b in zip(found.ranges, found.ranges[1:], strict=False))


@cache
def text_format() -> TextFormat:
    return TextFormat(train_byte_bpe([], 256 + len(PLAIN.specials), PLAIN.specials), PLAIN)


LAYOUT = VocabLayout(text_format().size, (5, 7), num_sizes=2, sides=((1, 2), (2, 3)))
FRAME = ImageFrame(((2, 2), (3, 3)))
GRAMMAR = Grammar(LAYOUT, text_format())


def lowest(grammar: Grammar, state: State) -> tuple[list[int], State]:
    """The walk that always takes the lowest id, until the turn parks, ends, or comes to words."""
    ids = []
    while not (grammar.done(state) or grammar.parked(state)):
        ids.append(next(iter(grammar.allowed(state))))
        state = grammar.step(state, ids[-1])
    return ids, state


def test_words_are_plain_text_or_the_end() -> None:
    state = GRAMMAR.start("text")
    assert set(GRAMMAR.allowed(state)) == (set(range(LAYOUT.text_size)) - text_format().tokenizer.special_ids) | {
        text_format().end
    }
    assert GRAMMAR.region(state) == "text"
    assert GRAMMAR.remaining(state) is GRAMMAR.place(state) is None
    done = GRAMMAR.step(GRAMMAR.step(state, 9), text_format().end)
    assert GRAMMAR.done(done)
    assert not GRAMMAR.allowed(done)


def test_an_image_is_one_frame_and_then_the_end() -> None:
    state = GRAMMAR.start("image", FRAME)
    assert GRAMMAR.remaining(state) == len(written_frame(LAYOUT, FRAME, False))
    ids, state = lowest(GRAMMAR, state)
    assert GRAMMAR.done(state)
    assert ids[-1] == text_format().end
    assert parse_parts(ids, LAYOUT, text_format()) == [ImagePart(FRAME, ((0,) * 4, (0,) * 9))]


def test_remaining_counts_down_to_the_end_of_the_image() -> None:
    state, counts = GRAMMAR.start("image", FRAME, sized=True), []
    while (left := GRAMMAR.remaining(state)) is not None:
        counts.append(left)
        state = GRAMMAR.step(state, next(iter(GRAMMAR.allowed(state))))
    assert counts == list(range(len(written_frame(LAYOUT, FRAME, True)), 0, -1))


def test_each_code_has_its_region_and_place() -> None:
    state, seen = GRAMMAR.start("image", FRAME), []
    while not GRAMMAR.done(state):
        if GRAMMAR.region(state) != "text":
            seen.append(GRAMMAR.place(state))
            assert GRAMMAR.allowed(state).ranges == (LAYOUT.ranges()[GRAMMAR.region(state)],)
        state = GRAMMAR.step(state, next(iter(GRAMMAR.allowed(state))))
    assert seen == [
        (n, r, c) for n, (rows, columns) in enumerate(FRAME.grids) for r in range(rows) for c in range(columns)
    ]


def test_without_a_frame_the_size_tags_say_it() -> None:
    state = GRAMMAR.start("image")
    ranges = LAYOUT.ranges()
    assert set(GRAMMAR.allowed(state)) == set(ranges["heights"])
    state = GRAMMAR.step(state, ranges["heights"][1])
    assert set(GRAMMAR.allowed(state)) == set(ranges["widths"])
    assert GRAMMAR.remaining(state) is None
    ids, _ = lowest(GRAMMAR, GRAMMAR.step(state, ranges["widths"][0]))
    parts = parse_parts([ranges["heights"][1], ranges["widths"][0], *ids], LAYOUT, text_format())
    assert parts == [ImagePart(ImageFrame(((2, 1), (3, 2))), ((0, 0), (0,) * 6), sized=True)]


def test_only_the_frames_allowed_can_be_chosen() -> None:
    grammar = Grammar(LAYOUT, text_format(), frames=(FRAME, LAYOUT.frame_of(0, 1)))
    ranges = LAYOUT.ranges()
    assert grammar.sizes == {(1, 1), (0, 1)}
    state = grammar.step(grammar.start("image"), ranges["heights"][0])
    assert list(grammar.allowed(state)) == [ranges["widths"][1]]


def test_auto_parks_after_a_drawing_until_it_is_read() -> None:
    state = GRAMMAR.step(GRAMMAR.start("auto", FRAME), 9)
    for id in written_frame(LAYOUT, FRAME, False):
        assert not GRAMMAR.parked(state)
        state = GRAMMAR.step(state, id.ids.start)
    assert GRAMMAR.parked(state)
    assert 9 not in GRAMMAR.allowed(state)
    state = GRAMMAR.walk(state, render_read(ImagePart(FRAME), LAYOUT).ids)
    assert not GRAMMAR.parked(state)
    assert 9 in GRAMMAR.allowed(state)
    assert LAYOUT.marker("start_of_image") in GRAMMAR.allowed(state)
    assert GRAMMAR.done(GRAMMAR.step(state, text_format().end))


def test_auto_goes_on_at_once_where_drawings_are_not_read_again() -> None:
    grammar = Grammar(VocabLayout(text_format().size, (5,), num_sizes=0, reread=False), text_format())
    ids = [step.ids.start for step in written_frame(grammar.layout, ImageFrame(((1, 1),)), False)]
    state = grammar.walk(grammar.start("auto", ImageFrame(((1, 1),))), ids)
    assert not grammar.parked(state)
    assert parse_parts([*ids, 9, text_format().end], grammar.layout, text_format())[1:] == [
        TextPart(text_format().tokenizer.decode([9]))
    ]
    assert 9 in grammar.allowed(state)


def test_states_are_values() -> None:
    one, other = (GRAMMAR.step(GRAMMAR.start("auto", FRAME), 9) for _ in range(2))
    assert one == other
    assert len({one, other}) == 1


def test_what_cannot_be_generated_is_refused() -> None:
    bare = Grammar(VocabLayout(text_format().size, (5,)), text_format())
    with pytest.raises(FormatError, match="needs a frame"):
        bare.start("auto")
    with pytest.raises(FormatError, match="no size tags"):
        bare.start("image", ImageFrame(((2, 2),)), sized=True)
    with pytest.raises(FormatError, match="levels"):
        GRAMMAR.start("image", ImageFrame(((2, 2),)))
    with pytest.raises(FormatError, match="words"):
        GRAMMAR.start("text", FRAME)
    with pytest.raises(FormatError, match="may not come next"):
        GRAMMAR.step(GRAMMAR.start("image", FRAME), 9)
    with pytest.raises(FormatError, match="room for"):
        Grammar(VocabLayout(3, (5,)), text_format())
