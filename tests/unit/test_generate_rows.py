"""What a row left behind is not read again by one that begins alike, and only by such a one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.tiny_drawing import ask, chat, draw, edit, engine, picture
from illume.generate.request import Request
from illume.generate.rows import LEAST, Rows
from illume.generate.runner import Runner
from illume.generate.seeing import Seen
from illume.tasks import prompts


def marks(word: str) -> list[tuple[object, ...]]:
    return [(letter, None) for letter in word]


HELLO, HELP, OTHER = (marks(head * LEAST + tail) for head, tail in (("hel", "lo"), ("hel", "p"), ("x", "yz")))


def test_rows_are_taken_in_the_order_in_which_they_were_left() -> None:
    rows = Rows(3)
    assert [rows.take(OTHER) for _ in range(3)] == [0, 1, 2]
    assert rows.free == 0
    for row in (1, 0, 2):
        rows.leave(row)
    assert [rows.take(OTHER) for _ in range(3)] == [1, 0, 2]


def test_rows_in_use_stay_together() -> None:
    """Whatever another row holds, for a step computes all rows from the first in use to the last."""
    rows = Rows(8)
    assert [rows.take(OTHER) for _ in range(4)] == [0, 1, 2, 3]
    rows.held[7] = HELLO
    rows.leave(2)
    assert [rows.take(HELP) for _ in range(2)] == [2, 4]
    for row in (0, 1, 2, 3):
        rows.leave(row)
    rows.held[3] = HELLO
    assert [rows.take(HELP) for _ in range(3)] == [3, 5, 6]


@given(st.lists(st.one_of(st.none(), st.integers(0, 7)), max_size=60))
def test_rows_in_use_reach_no_further_than_they_ever_had_to(orders: list[int | None]) -> None:
    """Requests come (None) and go (a number): none gets a row outside of those in use while one between is free."""
    rows, used = Rows(16), list[int]()
    for order in orders:
        if order is None and rows.free:
            between = set(range(min(used), max(used))) - set(used) if used else set()
            used.append(rows.take(OTHER))
            assert not between or used[-1] in between
        elif order is not None and used:
            rows.leave(used.pop(order % len(used)))


def test_a_row_that_holds_the_beginning_is_taken_first() -> None:
    rows = Rows(3)
    rows.held[2] = HELLO
    assert rows.take(HELP) == 2
    assert rows.take(OTHER) == 1


def test_a_beginning_ends_where_the_first_mark_differs_and_before_the_last() -> None:
    rows = Rows(2)
    rows.held[1] = HELLO
    assert rows.beginning(HELP) == (1, 3 * LEAST)
    assert rows.beginning(HELLO) == (1, len(HELLO) - 1)
    assert rows.beginning(OTHER)[1] == 0


@pytest.mark.parametrize("count", [1, LEAST - 1, LEAST, 50])
def test_shared_beginnings_are_counted_exactly(count: int) -> None:
    rows = Rows(1)
    rows.held[0] = marks("a" * count + "b" * 60)
    found = rows.beginning(marks("a" * count + "c" * 60))[1]
    assert found == (count if count >= LEAST else 0)


def positions(monkeypatch: pytest.MonkeyPatch, requests: list[list[Request]], **settings: object) -> list[int]:
    """How many positions each of several calls reads, one engine for all of them."""
    counts = [0]
    read_chunk = Runner._read_chunk

    def counting(self: Runner, jobs: list) -> None:
        before = sum(job.left for job in jobs)
        read_chunk(self, jobs)
        counts[-1] += before - sum(job.left for job in jobs)

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "_read_chunk", counting)
        tested = engine(**settings)
        for some in requests:
            tested.run(some)
            counts.append(0)
    return counts[:-1]


def test_the_same_prompt_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first, again = positions(monkeypatch, [[edit(guidance=2.0)], [edit(guidance=2.0)]])
    assert again == 2 < first  # the last position of either row: what follows it is asked anew


def test_a_conversation_goes_on_where_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    question = ask("how many circles are there?")
    (first,) = engine().run([question])
    turns = [*question.messages, prompts.chat([("assistant", first.text)])[0], *prompts.chat([("user", "and now?")])]
    longer = replace(question, messages=tuple(turns))
    _, more = positions(monkeypatch, [[question], [longer]])
    (alone,) = positions(monkeypatch, [[longer]])
    assert more < alone / 2


def test_another_picture_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    first, other = positions(monkeypatch, [[ask(seed=2)], [ask(seed=3)]])
    assert other == first


def test_strictly_nothing_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    first, again = positions(monkeypatch, [[edit()], [edit()]], strict=True)
    assert again == first


def test_what_is_taken_over_is_counted() -> None:
    tested = engine()
    tested.run([edit(guidance=2.0)])
    before = tested.load.reused
    tested.run([edit(guidance=2.0)])
    assert tested.load.reused - before > 30
    assert engine().load.reused == 0


def test_each_answer_tells_what_it_took_over_of_its_prompt() -> None:
    tested = engine()
    for request in (ask(seed=2), ask(seed=2), ask("what color?", seed=2), ask(seed=3), draw(seed=1), draw(seed=2)):
        before = tested.load.reused
        (result,) = tested.run([request])
        assert result.usage.cached_ids == min(tested.load.reused - before, result.usage.prompt_ids)
    assert result.usage.cached_ids > 0
    assert engine(strict=True).run([ask()])[0].usage.cached_ids == 0


def test_answers_from_a_used_engine_are_those_from_a_new_one() -> None:
    asked = [edit(seed=3, guidance=1.5), ask(seed=5), chat(seed=8), draw(seed=1, guidance=2.0)]
    used = engine(rows=4)
    for _ in range(3):
        assert [result.ids for result in used.run(asked)] == [engine().run([one])[0].ids for one in asked]


def test_pictures_are_remembered_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    see = Runner.see
    monkeypatch.setattr(Runner, "see", lambda self, images: seen.append(len(images)) or see(self, images))
    memory = Seen(engine()._runner, most=2)
    first, second, third = ({str(n): picture(n)} for n in range(3))
    for shown in (first, second, first, third, first, second):
        memory.features(shown)
    assert seen == [1, 1, 1, 1]  # the second one was forgotten for the third
    assert set(memory.features(first | second | third)) == {"0", "1", "2"}  # all that are asked for at once
