"""Requests are checked when they are made."""

from typing import Any

import pytest

from illume.core.errors import RequestError
from illume.generate.request import Request, Sampling
from illume.vocab.messages import ImageFrame, Message, TextPart

ASK = (Message("user", (TextPart("hello"),)),)
FRAME, TWO = ImageFrame(((4, 4),)), ImageFrame(((2, 2), (4, 4)))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": 1e-300}, "temperature"),
        ({"temperature": 1e39}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1e-46}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
    ],
)
def test_impossible_sampling_values_are_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        Sampling(**values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"messages": ()}, "message"),
        ({"mode": "image"}, "frame"),
        ({"guidance": -0.5}, "guidance"),
        ({"guidance": float("inf")}, "guidance"),
        ({"guidance": ()}, "guidance"),
        ({"guidance": (1.0, -0.5)}, "guidance"),
        ({"max_new_text": 0}, "max_new_text"),
        ({"sampling": {"picture": Sampling()}}, "picture"),
    ],
)
def test_impossible_requests_are_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        Request(**{"messages": ASK, **values})


def test_a_level_is_sampled_by_its_own_values_then_by_the_image_s_then_plainly() -> None:
    cold, colder, text = Sampling(temperature=0.5), Sampling(temperature=0.1), Sampling(top_k=3)
    request = Request(ASK, "image", FRAME, sampling={"image": cold, "level1": colder, "text": text})
    assert [request.sampling_of(region) for region in ("text", "level0", "level1")] == [text, cold, colder]
    assert Request(ASK).sampling_of("level0") == Request(ASK).sampling_of("text") == Sampling()


def test_only_a_drawing_with_a_scale_takes_a_second_row() -> None:
    assert Request(ASK, "image", FRAME, guidance=1.5).guided
    assert Request(ASK, "auto", FRAME, guidance=0.0).guided
    assert Request(ASK, "image", TWO, guidance=(1.0, 2.0)).guided
    assert not Request(ASK, "image", FRAME, guidance=1.0).guided
    assert not Request(ASK, "image", TWO, guidance=(1.0, 1.0)).guided
    assert not Request(ASK, "text", guidance=2.0).guided


def test_a_level_is_guided_by_its_own_scale_or_by_the_one_there_is() -> None:
    both, each = Request(ASK, "image", TWO, guidance=3.0), Request(ASK, "image", TWO, guidance=(1.0, 2.0))
    assert [both.guidance_of(region) for region in ("level0", "level1", "widths")] == [3.0, 3.0, 3.0]
    assert [each.guidance_of(region) for region in ("level0", "level1", "widths")] == [1.0, 2.0, 1.0]
