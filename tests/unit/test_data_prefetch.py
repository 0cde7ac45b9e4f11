"""Prefetching: the same batches, errors where they belong, no thread left behind."""

import threading
import time

import pytest

from illume.core.errors import DataError
from illume.data.prefetch import Prefetch


class Steps:
    """A loader that notes what it was asked for; fails at a step, if told to."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.asked: list[int] = []
        self.fails_at = fails_at

    def batches(self, step: int) -> list[str]:
        self.asked.append(step)
        if step == self.fails_at:
            raise DataError(f"sample draw[{step}]: broken")
        return [f"step {step}"]


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "illume-prefetch"]


def wait_until_made(steps: Steps, count: int) -> None:
    for _ in range(500):
        if len(steps.asked) >= count:
            return
        time.sleep(0.01)
    raise AssertionError(f"only {steps.asked} was made")


def test_it_gives_what_the_loader_gives_in_any_order() -> None:
    with Prefetch(Steps()) as loader:
        assert [loader.batches(step) for step in (0, 1, 2, 2, 7, 8, 0)] == [
            [f"step {step}"] for step in (0, 1, 2, 2, 7, 8, 0)
        ]
    assert threads() == []


def test_it_works_ahead_but_not_further_than_told() -> None:
    steps = Steps()
    with Prefetch(steps, depth=2) as loader:
        loader.batches(0)
        wait_until_made(steps, 4)  # one taken, two waiting, one in hand
        time.sleep(0.05)
        assert steps.asked == [0, 1, 2, 3]


def test_an_error_comes_with_its_step_and_not_before() -> None:
    loader = Prefetch(Steps(fails_at=2))
    assert loader.batches(0) == ["step 0"]
    assert loader.batches(1) == ["step 1"]
    with pytest.raises(DataError, match=r"draw\[2\]"):
        loader.batches(2)
    assert threads() == []
    assert loader.batches(3) == ["step 3"], "another step may still be asked for"
    loader.close()
    assert threads() == []


def test_closing_twice_or_before_use_is_fine() -> None:
    loader = Prefetch(Steps())
    loader.close()
    loader.close()
    with pytest.raises(ValueError, match="depth"):
        Prefetch(Steps(), depth=0)
