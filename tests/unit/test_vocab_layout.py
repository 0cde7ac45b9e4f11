"""The layout: ILLUME+'s ids, frame lengths, size tags, and what is refused. (The laws: test_law_02_layout.py.)"""

from typing import Any

import pytest

from illume.core.config import from_dict, to_dict
from illume.core.errors import FormatError
from illume.vocab.layout import VocabLayout, read_frame, written_frame
from illume.vocab.messages import ImageFrame, ImagePart, Message, TextPart

ILLUME_PLUS = VocabLayout(151665, (32768, 98304), sides=tuple((n, 2 * n) for n in range(1, 17)))


def test_illume_plus_ids_are_the_published_ones() -> None:
    names = ["start_of_image", "end_of_image", "end_of_line", "start_of_level0", "end_of_level0"]
    names += ["start_of_level1", "end_of_level1"]
    assert [ILLUME_PLUS.marker(name) for name in names] == list(range(151665, 151672))
    ranges = ILLUME_PLUS.ranges()
    assert ranges["heights"] == range(151672, 151688)
    assert ranges["widths"] == range(151688, 151704)
    assert ranges["level0"] == range(151704, 184472)
    assert ranges["level1"] == range(184472, 282776)
    assert ILLUME_PLUS.slot == 282776 == ILLUME_PLUS.size - 1
    assert ILLUME_PLUS.vision_start == 151665


@pytest.mark.parametrize(("grids", "length"), [(((9, 9), (16, 16)), 368), (((18, 18), (32, 32)), 1404)])
def test_illume_plus_frames_have_the_published_lengths(grids: Any, length: int) -> None:
    frame = ImageFrame(grids)
    assert len(written_frame(ILLUME_PLUS, frame, False)) == length
    assert len(read_frame(ILLUME_PLUS, frame)) == frame.num_codes + 6


def test_a_bare_frame_is_its_codes_between_two_markers() -> None:
    layout = VocabLayout(10, (8,), num_sizes=0, row_ends=False, level_markers=False)
    steps = written_frame(layout, ImageFrame(((4, 4),)), False)
    assert len(steps) == 18
    assert [step.place for step in steps[1:-1]] == [(0, row, column) for row in range(4) for column in range(4)]
    assert {step.ids for step in steps[1:-1]} == {layout.ranges()["level0"]}


def test_size_tags_and_frames_say_each_other() -> None:
    frames = {(h, w): ILLUME_PLUS.frame_of(h, w) for h in range(16) for w in range(16)}
    assert len(set(frames.values())) == 256
    assert all(ILLUME_PLUS.tags_of(frame) == tags for tags, frame in frames.items())
    assert frames[2, 0] == ImageFrame(((3, 1), (6, 2)))
    assert [step.name for step in written_frame(ILLUME_PLUS, frames[2, 0], True)[:2]] == ["<height2>", "<width0>"]


@pytest.mark.parametrize(
    "call",
    [
        lambda: VocabLayout(9, (4,)).frame_of(0, 0),
        lambda: ILLUME_PLUS.frame_of(16, 0),
        lambda: ILLUME_PLUS.frame_of(-1, 0),
        lambda: ILLUME_PLUS.tags_of(ImageFrame(((1, 1), (3, 3)))),
        lambda: ILLUME_PLUS.marker("start_of_level2"),
        lambda: written_frame(ILLUME_PLUS, ImageFrame(((1, 1),)), False),
        lambda: written_frame(VocabLayout(9, (4,), row_ends=False), ImageFrame(((1, 4),)), False),
    ],
)
def test_what_the_layout_cannot_say_is_refused(call: Any) -> None:
    with pytest.raises(FormatError):
        call()


@pytest.mark.parametrize(
    "keywords",
    [
        {"text_size": 0},
        {"levels": ()},
        {"levels": (0,)},
        {"text_padding": -1},
        {"sides": ((1, 2),)},
        {"num_sizes": 1, "sides": ((1,),)},
        {"num_sizes": 2, "sides": ((1, 2), (1, 2))},
        {"depths": (1,)},
        {"depths": (2, 1)},
        {"depths": (2, 0)},
    ],
)
def test_a_layout_that_contradicts_itself_is_refused(keywords: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        VocabLayout(**({"text_size": 9, "levels": (4, 4)} | keywords))


def test_a_layout_survives_its_dictionary() -> None:
    assert from_dict(VocabLayout, to_dict(ILLUME_PLUS)) == ILLUME_PLUS


def test_messages_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="codes in its levels"):
        ImagePart(ImageFrame(((2, 2),)), ((1, 2, 3),))
    with pytest.raises(ValueError, match="one grid of at least 1x1"):
        ImageFrame(((0, 3),))
    with pytest.raises(ValueError, match="only an assistant"):
        Message("user", (TextPart("x"),), target=True)
    with pytest.raises(ValueError, match="role"):
        Message("robot", ())  # type: ignore[arg-type]


def test_identity_does_not_count_in_equality() -> None:
    frame = ImageFrame(((1, 1),))
    assert ImagePart(frame, image="a") == ImagePart(frame, image="b") != ImagePart(frame, ((0,),))
    assert [Message(role, ()).is_target for role in ("user", "assistant")] == [False, True]
    assert not Message("assistant", (), target=False).is_target
