"""A job: what comes of an answer arrives once, in its order, whatever the painter's pace; nothing piles up."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from illume.generate.request import Request, Result, Usage
from illume.serve.errors import internal
from illume.serve.job import Began, Ended, Job, Order, Shown, Sketch, Words
from illume.tasks import prompts

REQUEST = Request(tuple(prompts.chat([("user", "hello")])))
RESULT = Result(0, (), (), "end", Usage(1, 1, 1))
Step = tuple[str, Any]


def a_job(**order: Any) -> Job:
    return Job(Order(REQUEST, words=True, **order))


@st.composite
def courses(draw: st.DrawFn) -> tuple[list[Step], list[Step]]:
    """What the engine tells of an answer of words and pictures, and the painter's news of the pictures."""
    told: list[Step] = []
    painted: list[Step] = []
    for number in range(draw(st.integers(0, 3))):
        told += [("say", word) for word in draw(st.lists(st.text("ab", min_size=1), max_size=3))]
        told += [("begin", number)]
        sketches = draw(st.integers(0, 2))
        told += [("asked", (number, i)) for i in range(sketches)] + [("place", number)]
        painted += [("sketch", (number, i + 1)) for i in range(sketches)] + [("show", number)]
    return [*told, ("end", None)], painted


def play(job: Job, step: Step) -> None:
    match step:
        case ("say", text):
            job.say(text)
        case ("begin", number):
            job.begin(number)
        case ("place", number):
            job.place(number)
        case ("sketch", (number, rows)):
            job.sketch(number, rows, 4, bytes([rows]))
        case ("show", number):
            job.show(number, b"whole")
        case ("end", _):
            job.end(RESULT)


def merged(told: list[Step], painted: list[Step], data: st.DataObject) -> list[Step]:
    """The painter's news come after they were asked for, at any time."""
    steps, waiting, left = [], 0, list(painted)
    for step in told:
        while waiting and data.draw(st.booleans()):
            steps.append(left.pop(0))
            waiting -= 1
        steps.append(step)
        waiting += step[0] in ("asked", "place")
    return steps + left


def check_order(make: Any, steps: list[Step], told: list[Step]) -> None:
    """Words and pictures as the engine wrote them, each picture's sketches before it and after it was begun."""

    async def listen() -> list[Any]:
        job: Job = make()

        async def tell() -> None:
            for step in steps:
                play(job, step)
                await asyncio.sleep(0)

        telling = asyncio.ensure_future(tell())
        found = [event async for event in job.events()]
        await telling
        assert job.complete
        return found

    found = asyncio.run(asyncio.wait_for(listen(), 10))
    order = "".join(e.text if isinstance(e, Words) else f"<{e.number}>" for e in found if isinstance(e, Words | Shown))
    assert order == "".join(x if name == "say" else f"<{x}>" for name, x in told if name in ("say", "place"))
    assert isinstance(found[-1], Ended)
    begun: set[int] = set()
    shown: set[int] = set()
    for event in found:
        if isinstance(event, Began):
            begun.add(event.number)
        elif isinstance(event, Sketch | Shown):
            assert event.number in begun - shown
            shown |= {event.number} if isinstance(event, Shown) else set()
    sketches = [(e.number, e.index) for e in found if isinstance(e, Sketch)]
    assert sketches == [x for name, x in told if name == "asked"]


@given(courses(), st.data())
def test_what_comes_arrives_once_and_in_order(course: tuple[list[Step], list[Step]], data: st.DataObject) -> None:
    check_order(lambda: a_job(partials=3), merged(*course, data), course[0])


def test_the_check_catches_a_picture_that_keeps_no_place() -> None:
    class Hasty(Job):
        def place(self, number: int) -> None:
            pass

        def show(self, number: int, data: bytes) -> None:
            self._put(Shown(number, data))

    told: list[Step] = [("begin", 0), ("place", 0), ("say", "a"), ("end", None)]
    steps: list[Step] = [*told[:3], ("show", 0), told[3]]
    check_order(lambda: a_job(partials=3), steps, told)
    with pytest.raises(AssertionError):
        check_order(lambda: Hasty(Order(REQUEST)), steps, told)


def test_nothing_piles_up_where_nobody_reads() -> None:
    async def unread() -> None:
        job = a_job(partials="rows")
        for row in range(1000):
            job.sketch(0, row, 1000, b"")
        for _ in range(1000):
            job.say("a")
        assert len(job._coming) == 2
        events = job.events()
        newest, words = await anext(events), await anext(events)
        assert isinstance(newest, Sketch)
        assert (newest.rows, newest.index, words) == (999, 0, Words("a" * 1000))

    asyncio.run(unread())


def test_a_failure_ends_it_whatever_was_to_come() -> None:
    async def failing() -> None:
        job = a_job()
        job.say("a")
        job.place(0)
        job.end(RESULT)
        job.fail(internal())
        events = job.events()
        assert await anext(events) == Words("a")
        with pytest.raises(type(internal())):
            await anext(events)
        with pytest.raises(type(internal())):
            await job.accepted

    asyncio.run(failing())


def test_a_partial_picture_that_is_late_is_dropped() -> None:
    async def late() -> None:
        job = a_job(partials=3)
        job.begin(0)
        job.place(0)
        job.show(0, b"whole")
        job.sketch(0, 1, 4, b"part")
        job.end(RESULT)
        assert [type(event) async for event in job.events()] == [Began, Shown, Ended]

    asyncio.run(late())
