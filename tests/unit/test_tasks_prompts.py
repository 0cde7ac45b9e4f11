"""What is said: every task asks what its own sample answers, in the user's words as they are. (Drops: law 4.)"""

from collections.abc import Callable
from typing import Any

import pytest

from illume.tasks.prompts import ask, assess, caption, chat, correct, draw, edit, inpaint, reconstruct, text
from illume.tasks.verdict import CRITERIA, Criterion, Verdict
from illume.vocab.messages import ImageFrame, ImagePart, Message, SizePart, TextPart

FRAME = ImageFrame(((1, 1),))
SEEN, DRAWN = ImagePart(FRAME, image="seen"), ImagePart(FRAME, ((3,),), "drawn")
VERDICT = Verdict.of({name: Criterion(True, "yes", True) for name in CRITERIA})
ODD = "{} {0} {prompt} %s <end> \\n"

TASKS: dict[str, tuple[Callable[..., list[Message]], tuple[Any, ...], Any]] = {
    "caption": (caption, (SEEN,), "a circle"),
    "draw": (draw, (ODD,), DRAWN),
    "edit": (edit, (SEEN, ODD), DRAWN),
    "inpaint": (inpaint, (SEEN, ODD), DRAWN),
    "inpaint without words": (inpaint, (SEEN, None), DRAWN),
    "reconstruct": (reconstruct, (SEEN,), DRAWN),
    "ask": (ask, (SEEN, ODD), "a circle"),
    "assess": (assess, (SEEN, ODD), VERDICT),
    "correct": (correct, (SEEN, ODD, VERDICT), DRAWN),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_prompt_is_its_sample_without_the_answer(name: str) -> None:
    task, asked, answer = TASKS[name]
    prompt, sample = task(*asked), task(*asked, answer)
    assert sample[:-1] == prompt
    assert prompt[-1].role == "user"
    assert sample[-1].role == "assistant"
    assert sample[-1].is_target
    assert not prompt[-1].is_target


@pytest.mark.parametrize("name", [name for name, (_, asked, _) in TASKS.items() if ODD in asked])
def test_the_users_words_are_said_as_they_are(name: str) -> None:
    task, asked, _ = TASKS[name]
    assert any(p.text.endswith(ODD) for m in task(*asked) for p in m.parts if isinstance(p, TextPart))


def test_answers_are_what_was_given() -> None:
    assert draw("x", DRAWN)[-1].parts == (DRAWN,)
    assert caption(SEEN, "")[-1].parts == (TextPart(""),)
    assert assess(SEEN, "x", VERDICT)[-1].parts == (TextPart(VERDICT.to_json()),)
    assert text("hello") == [Message("assistant", (TextPart("hello"),))]


def test_drawing_says_what_the_paper_says() -> None:
    assert draw("a {red} circle") == [Message("user", (TextPart("Generate an image of a {red} circle"),))]
    sized = (TextPart("Generate an image of "), SizePart(3, 4), TextPart(", the content of the image is a cat"))
    assert draw("a cat", size=SizePart(3, 4)) == [Message("user", sized)]


def test_a_chat_is_its_turns() -> None:
    assert chat([("user", [SEEN, "or", DRAWN]), ("assistant", "no")]) == [
        Message("user", (SEEN, TextPart("or"), DRAWN)),
        Message("assistant", (TextPart("no"),)),
    ]
