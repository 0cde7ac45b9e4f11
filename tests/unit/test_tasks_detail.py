"""The layout of a picture read in detail: the overview first, then the slices row by row, a line a row."""

import pytest

from illume.core.errors import FormatError
from illume.tasks import detail, prompts
from illume.tasks.detail import in_detail, slice_name
from illume.vocab.messages import ImageFrame, ImagePart, Message, TextPart

FRAME = ImageFrame(((2, 2),))


def image(name: str) -> ImagePart:
    return ImagePart(FRAME, image=name)


def spelt(message: Message) -> list[str]:
    return [part.text if isinstance(part, TextPart) else str(part.image) for part in message.parts]  # type: ignore[union-attr]


def check_order(question: str = "What is it?") -> None:
    (asked,) = in_detail(prompts.ask(image("a"), question), {"a": (2, 3)})
    rows = ["\n", "a#0,0", "a#0,1", "a#0,2", "\n", "a#1,0", "a#1,1", "a#1,2"]
    assert spelt(asked) == ["a#whole", *rows, question]
    assert {part.frame for part in asked.parts if isinstance(part, ImagePart)} == {FRAME}


def test_the_overview_comes_first_then_row_by_row() -> None:
    check_order()


def test_the_check_catches_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detail, "slice_name", lambda name, row, column: slice_name(name, column, row))
    with pytest.raises(AssertionError):
        check_order()


def test_six_in_two_rows_read_otherwise_than_in_three() -> None:
    two, three = (in_detail([Message("user", (image("a"),))], {"a": grid}) for grid in ((2, 3), (3, 2)))
    assert two != three


def test_only_named_images_are_sliced() -> None:
    conversation = prompts.chat([("user", [image("a"), image("b"), "and?"]), ("assistant", "yes")])
    asked, answer = in_detail(conversation, {"b": (1, 2)})
    assert spelt(asked) == ["a", "b#whole", "\n", "b#0,0", "b#0,1", "and?"]
    assert answer == conversation[1]
    assert in_detail(conversation, {"a": (0, 0)}) == conversation


def test_a_drawn_image_is_never_sliced() -> None:
    drawn = ImagePart(FRAME, ((0, 0, 0, 0),), image="a")
    for conversation in (prompts.draw("a cat", drawn), prompts.edit(drawn, "turn it")):
        with pytest.raises(FormatError, match="only an image that is read"):
            in_detail(conversation, {"a": (1, 2)})
