"""Requests join, leave and are given up at any step; reading and painting do not hold up those who write."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from fixtures.tiny_drawing import LARGE, WIDE, ask, chat, draw, edit, engine, paint
from illume.generate.engine import Engine
from illume.generate.painting import Drawn
from illume.generate.request import Key, Load, Progress, Result, Sampling
from illume.generate.runner import Job, Runner


def finish(tested: Engine) -> dict[Key, Result]:
    found: dict[Key, Result] = {}
    while tested.busy:
        found |= {result.key: result for result in tested.step()}
    return found


def test_a_cancelled_request_frees_its_rows_at_once() -> None:
    tested = engine(rows=4)
    keys = [tested.add(draw(seed=seed, guidance=2.0)) for seed in range(4)]
    for _ in range(3):
        tested.step()
    assert tested.load == Load(waiting=2, running=2, rows=4, busy_rows=4, reused=tested.load.reused)
    assert tested.cancel(keys[0])
    assert tested.load.busy_rows == 2
    tested.step()
    assert tested.load == Load(waiting=1, running=2, rows=4, busy_rows=4, reused=tested.load.reused)
    assert tested.cancel(keys[3])
    assert set(finish(tested)) == {keys[1], keys[2]}
    assert tested.load.busy_rows == 0
    assert not tested.cancel(keys[0])
    assert not tested.cancel(keys[1])
    assert not tested.cancel(999)


@pytest.mark.parametrize("steps", range(0, 40, 3))
def test_cancelling_leaves_no_trace_in_the_answers_of_others(steps: int) -> None:
    tested = engine(rows=5)
    given_up = [tested.add(one) for one in (chat(seed=8), edit(seed=3, guidance=1.5))]
    kept = {tested.add(one): one for one in (draw(seed=1, guidance=2.0), ask(seed=5))}
    found = {result.key: result for _ in range(steps) for result in tested.step()}
    for key in given_up:
        tested.cancel(key)
    found |= finish(tested)
    assert {key: found[key].ids for key in kept} == {key: engine().run([one])[0].ids for key, one in kept.items()}


def test_progress_grows_to_the_answer() -> None:
    tested = engine(rows=2)
    keys = [tested.add(draw(frame=WIDE, sized=True, seed=2)), tested.add(chat(seed=8)), tested.add(ask(seed=5))]
    assert [tested.progress(key).begun for key in keys] == [False] * 3  # type: ignore[union-attr]
    seen: dict[Key, list[Progress]] = {key: [] for key in keys}
    found: dict[Key, Result] = {}
    while tested.busy:
        found |= {result.key: result for result in tested.step()}
        for key in keys:
            progress = tested.progress(key)
            assert (progress is None) == (key in found)
            if progress is not None:
                seen[key].append(progress)
    check_progress(seen, found)
    shown = [one.drawing for one in seen[keys[0]] if one.drawing]
    assert [one.rows for one in shown] == sorted(one.rows for one in shown)
    assert {one.of for one in shown} == {3}
    final = found[keys[0]].parts[0].codes  # type: ignore[union-attr]
    for partial in shown:
        assert all(level == whole[: len(level)] for level, whole in zip(partial.codes, final, strict=True))


def check_progress(seen: dict[Key, list[Progress]], found: dict[Key, Result]) -> None:
    for key, steps in seen.items():
        texts = [step.text for step in steps if step.begun] + [found[key].text]
        assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
        usages = [step.usage.text_ids + step.usage.image_ids for step in steps] + [
            found[key].usage.text_ids + found[key].usage.image_ids
        ]
        assert usages == sorted(usages)
        assert all(step.usage.prompt_ids == found[key].usage.prompt_ids for step in steps)


def test_a_long_prompt_does_not_hold_up_those_who_write(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    advance, read = Runner.advance, Runner.read
    monkeypatch.setattr(Runner, "advance", lambda self, nexts: events.append("write") or advance(self, nexts))
    monkeypatch.setattr(Runner, "read", lambda self, jobs: events.append("read") or read(self, jobs))
    tested = engine(rows=4, chunk=4)
    tested.add(draw(seed=1))
    while "write" not in events:
        tested.step()
    events.clear()
    tested.add(edit(seed=2))
    finish(tested)
    reading = events[: len(events) - events[::-1].index("read")]
    assert reading.count("read") > 5
    assert reading.count("write") >= reading.count("read") - 1


def test_only_so_many_positions_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sums: list[int] = []
    read = Runner.read

    def watching(self: Runner, jobs: Sequence[Job]) -> None:
        sums.append(sum(min(job.left, self.chunk) for job in jobs))
        read(self, jobs)

    monkeypatch.setattr(Runner, "read", watching)
    requests = [ask(seed=seed) for seed in range(6)]
    expected = [result.ids for result in engine().run(requests)]
    assert max(sums) > 32
    sums.clear()
    assert [result.ids for result in engine(read_at_once=32).run(requests)] == expected
    assert max(sums) == 32


def test_each_row_samples_in_its_own_way() -> None:
    ways = [Sampling(0), Sampling(1.3), Sampling(0.8, 5), Sampling(0.8, 12, 0.7), Sampling(1.0, 0, 0.5)]
    requests = [draw(seed=7, sampling={"image": way}, guidance=1 + n % 2) for n, way in enumerate(ways)]
    for strict in (False, True):
        together = [result.ids for result in engine(rows=8, strict=strict).run(requests)]
        assert together == [engine(rows=8, strict=strict).run([one])[0].ids for one in requests]
        assert len(set(together)) == len(ways)


def test_requests_begin_in_the_order_in_which_they_came() -> None:
    tested = engine(rows=3)
    first = tested.add(draw(seed=1))
    pairs = [tested.add(draw(seed=seed, guidance=2.0)) for seed in (2, 3)]
    alone = tested.add(ask(seed=4))
    tested.step()
    begun = [key for key in (first, *pairs, alone) if tested.progress(key).begun]  # type: ignore[union-attr]
    assert begun == [first, pairs[0]]
    tested.cancel(first)
    tested.step()  # one row is free; the pair that waits longer than the question is not passed over
    assert not tested.progress(alone).begun  # type: ignore[union-attr]


class Slow:
    """Paints when it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.sizes: list[int] = []

    def __call__(self, drawn: Sequence[Drawn]) -> list[torch.Tensor]:
        self.go.wait(60)
        self.sizes.append(len(drawn))
        return paint(drawn)


def broken(drawn: Sequence[Drawn]) -> list[torch.Tensor]:
    raise ZeroDivisionError


def drawing_seed() -> int:
    """Of a chat that draws."""
    return next(s for s in range(8) if engine().run([chat("draw two", seed=s)])[0].images)


@pytest.mark.parametrize("beside", [False, True])
def test_a_picture_that_cannot_be_painted_costs_its_own_answer_alone(beside: bool) -> None:
    with ThreadPoolExecutor(1) as executor:
        tested = engine(paint=broken, painting=executor if beside else None)
        parked, other = tested.add(chat("draw two", seed=drawing_seed())), tested.add(draw(seed=5))
        found = finish(tested)
    assert isinstance(found[parked].error, ZeroDivisionError)
    assert found[other].ids == engine().run([draw(seed=5)])[0].ids
    assert found[other].error is None
    assert tested.load.busy_rows == 0


def test_run_raises_what_an_answer_fails_of_and_keeps_nothing_of_it() -> None:
    tested = engine(paint=broken)
    with pytest.raises(ZeroDivisionError):
        tested.run([draw(seed=5), chat("draw two", seed=drawing_seed())])
    assert not tested.busy
    assert tested.run([draw(seed=5)])[0].ids == engine().run([draw(seed=5)])[0].ids


def test_others_write_while_a_drawing_is_painted() -> None:
    seed = next(s for s in range(8) if engine().run([chat("draw two", seed=s)])[0].images)
    slow = Slow()
    with ThreadPoolExecutor(1) as executor:
        tested = engine(paint=slow, painting=executor)
        parked = tested.add(chat("draw two", seed=seed))
        while not (progress := tested.progress(parked)) or not progress.images:
            tested.step()
        other = tested.add(draw(seed=5))
        found: dict[Key, Result] = {}
        while other not in found:
            found |= {result.key: result for result in tested.step()}
        assert parked not in found
        assert not slow.sizes
        slow.go.set()
        found |= finish(tested)
    assert found[parked].ids == engine().run([chat("draw two", seed=seed)])[0].ids
    assert found[other].ids == engine().run([draw(seed=5)])[0].ids


def test_a_request_given_up_while_it_is_painted_leaves() -> None:
    seed = next(s for s in range(8) if engine().run([chat("draw two", seed=s)])[0].images)
    slow = Slow()
    with ThreadPoolExecutor(1) as executor:
        tested = engine(paint=slow, painting=executor)
        key = tested.add(chat("draw two", seed=seed))
        while not (progress := tested.progress(key)) or not progress.images:
            tested.step()
        assert tested.cancel(key)
        assert not tested.busy
        slow.go.set()
    assert tested.run([draw(seed=5)])[0].ids == engine().run([draw(seed=5)])[0].ids


def test_a_request_with_a_grid_of_its_own_shares_the_batch() -> None:
    requests = [replace(draw(seed=n, guidance=1 + n % 3), frame=(LARGE, WIDE)[n % 2]) for n in range(6)]
    assert [r.ids for r in engine(rows=5).run(requests)] == [engine().run([one])[0].ids for one in requests]
