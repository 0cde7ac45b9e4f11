"""What is new of an answer: told once, in its order, whole at the end however often it was looked at."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.serving import talker
from illume.api import Illume
from illume.generate.request import Result
from illume.serve.job import Job, Order, Partials
from illume.serve.painter import PartialDrawn
from illume.serve.tracker import Drawing, News, Picture, Said, Tracker, due
from illume.tasks import prompts
from illume.vocab.messages import ImagePart, TextPart


@pytest.fixture(scope="module")
def illume() -> Illume:
    return talker()


def told(
    illume: Illume, seed: int, words: bool, partials: Partials, every: int, gap: bool = True
) -> tuple[list[News], Result]:
    """The news of one answer, looked at after every so many steps."""
    messages = prompts.chat([("user", "draw and tell")])
    request = illume.request("say", messages, {}, seed, max_new_text=8)
    order = Order(request, words=words, partials=partials)
    job = Job(order, accepted=None)  # type: ignore[arg-type]
    tracker, engine = Tracker(job, images_kept=True), illume.engine(2, max_length=200)
    key, news, step, rest = engine.add(request), [], 0, 0
    while True:
        for result in engine.step():
            return [*news, *tracker.finish(result)], result
        step, rest = step + 1, rest - 1
        progress = engine.progress(key)
        if progress is not None and step % every == 0 and rest < 0:
            news += tracker.look(progress)
            rest, tracker.rest = tracker.rest if gap else 0, 0


def check_whole(news: Sequence[News], result: Result) -> None:
    """Words and pictures of the answer, in its order; each picture is begun once, before it."""
    text, pictures = "", []
    for one in news:
        if isinstance(one, Said):
            assert one.text
            text += one.text
        elif isinstance(one, Drawing):
            text += f"<{one.number}"
        elif isinstance(one, Picture) and not isinstance(one.what, PartialDrawn):
            text += f"{one.number}>"
            pictures.append(one)
    wanted = ""
    number = 0
    for part in result.parts:
        if isinstance(part, TextPart):
            wanted += part.text
        elif isinstance(part, ImagePart):
            wanted, number = f"{wanted}<{number}{number}>", number + 1
    assert text == wanted
    codes = [getattr(one.what, "drawn", one.what).codes for one in pictures]  # type: ignore[union-attr]
    assert codes == [part.codes for part in result.parts if isinstance(part, ImagePart)]


@settings(max_examples=12)
@given(st.integers(0, 30), st.booleans(), st.sampled_from([0, 1, 3, "rows"]), st.sampled_from([1, 1, 2, 5, 1000]))
def test_nothing_is_lost_and_nothing_told_twice(
    illume: Illume, seed: int, words: bool, partials: Partials, every: int
) -> None:
    check_whole(*told(illume, seed, words, partials, every))


def test_the_check_catches_words_told_twice(illume: Illume) -> None:
    news, result = told(illume, 0, True, 0, 1)
    said = next(one for one in news if isinstance(one, Said))
    check_whole(news, result)
    with pytest.raises(AssertionError):
        check_whole([said, *news], result)


@settings(max_examples=4)
@given(st.integers(0, 30), st.sampled_from([1, 2, 3, "rows"]))
def test_partial_pictures_are_spread_over_the_rows(illume: Illume, seed: int, partials: Partials) -> None:
    """As many as are wanted, each of more rows than the one before, whether or not one looks in between."""
    found = []
    for gap in (True, False):
        news, result = told(illume, seed, True, partials, 1, gap)
        sketches = [
            (one.number, one.what.partial.rows)
            for one in news
            if isinstance(one, Picture) and isinstance(one.what, PartialDrawn)
        ]
        images = sum(isinstance(part, ImagePart) for part in result.parts)
        assert sketches == [(number, rows) for number in range(images) for rows in due(partials, 4)]
        found.append(sketches)
    assert found[0] == found[1]


@given(st.integers(1, 200), st.sampled_from([0, 1, 2, 3, "rows"]))
def test_when_partial_pictures_are_due(rows: int, partials: Partials) -> None:
    when = due(partials, rows)
    assert when == sorted(set(when))
    assert all(0 < one < rows for one in when)
    assert len(when) == (rows - 1 if partials == "rows" else min(int(partials), rows - 1))
