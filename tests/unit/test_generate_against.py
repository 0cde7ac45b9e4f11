"""What guidance leads away from may be another conversation; an answer under way is a beginning of the whole."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.tiny_drawing import chat, draw, edit, engine
from fixtures.tiny_sessions import session_parts
from illume.api import Illume
from illume.core.errors import RequestError
from illume.generate.engine import Engine
from illume.generate.request import Progress, Request, Result
from illume.tasks import prompts
from illume.vocab.messages import ImagePart, TextPart


def ids(request: Request) -> tuple[int, ...]:
    return engine(strict=True).run([request])[0].ids


def test_leading_away_from_the_dropped_form_is_leading_away_from_nothing_else() -> None:
    for plain in (draw(guidance=2.5, seed=1), edit(guidance=2.5)):
        named = Request(**{**vars(plain), "against": tuple(prompts.dropped(plain.messages))})
        assert ids(named) == ids(plain)


def test_leading_away_from_something_else_makes_a_difference() -> None:
    plain = draw(guidance=4.0, seed=1)
    other = Request(**{**vars(plain), "against": tuple(prompts.draw("two blue squares"))})
    assert ids(other) != ids(plain)


def test_at_guidance_0_what_is_led_away_from_is_drawn() -> None:
    """Scale 0 is the other conversation itself."""
    against = tuple(prompts.draw("two blue squares"))
    led = Request(**{**vars(draw(guidance=0.0, seed=1)), "against": against})
    other = Request(**{**vars(draw("two blue squares", guidance=0.0, seed=1)), "against": against})
    assert ids(led)[:10] == ids(other)[:10]


def test_without_guidance_nothing_leads_away() -> None:
    with pytest.raises(RequestError, match="guidance"):
        draw(guidance=1.0, against=tuple(prompts.draw("a")))


def test_an_image_without_pixels_is_missed_there_too() -> None:
    led = Request(**{**vars(draw(guidance=2.0)), "against": edit().messages})
    with pytest.raises(RequestError, match="without pixels"):
        engine().add(led)


def watched(working: Engine, request: Request) -> tuple[list[Progress], Result]:
    key, found = working.add(request), []
    while True:
        for result in working.step():
            return found, result
        progress = working.progress(key)
        assert progress is not None
        found.append(progress)


def check_told(found: list[Progress], result: Result) -> None:
    """Words only grow, towards those of the answer; finished pictures are those of the answer."""
    pictures = tuple(part for part in result.parts if isinstance(part, ImagePart))
    for one in found:
        assert result.text.startswith(one.text)
        assert one.drawn == pictures[: one.images]
    for one, other in pairwise(found):
        assert len(one.text) <= len(other.text)


@settings(max_examples=6)
@given(st.integers(0, 60), st.booleans())
def test_an_answer_under_way_is_a_beginning_of_the_whole(seed: int, guided: bool) -> None:
    request = chat(seed=seed, max_new_text=12, guidance=1.5 if guided else 1.0)
    check_told(*watched(engine(), request))


def test_half_a_character_before_a_picture_is_told_as_the_answer_has_it() -> None:
    illume = Illume(session_parts(1))
    request = illume.request("say", prompts.chat([("user", "draw and tell")]), {}, 0, max_new_text=20)
    found, result = watched(illume.engine(2, max_length=400), request)
    check_told(found, result)
    assert sum(isinstance(part, TextPart) for part in result.parts) > 1


def test_the_check_catches_words_that_change() -> None:
    found, result = watched(engine(), chat(seed=1, max_new_text=12))
    found = [Progress(one.begun, one.text + "\N{REPLACEMENT CHARACTER}x", 0, None, one.usage) for one in found]
    with pytest.raises(AssertionError):
        check_told(found, result)
