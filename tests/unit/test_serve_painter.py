"""Pictures are painted in batches: large ones where that is quick, small ones where answers would have to wait."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from PIL import Image

from fixtures.serving import until
from illume.generate.painting import Drawn
from illume.serve import painter
from illume.serve.job import Order
from illume.serve.memory import Memory
from illume.serve.painter import PaintShop, Task
from illume.vocab.messages import ImageFrame

FRAME = ImageFrame(((1, 1),))


class Painter:
    """Takes so long for each picture."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def pictures(self, drawn: Sequence[Drawn]) -> list[Image.Image]:
        time.sleep(self.seconds * len(drawn))
        return [Image.new("RGB", (8, 8)) for _ in drawn]


class Job:
    """Somebody who waits."""

    order = Order(None)  # type: ignore[arg-type]
    given_up = False


def batches(seconds: float, number: int, beside: bool = False) -> list[int]:
    """How many are painted together, one after the other, of so many that are asked for at once."""
    counted: list[int] = []
    done: list[Any] = []
    shop = PaintShop(Painter(seconds), Memory(), counted.append, lambda work: work(), beside=beside)  # type: ignore[arg-type]
    for seed in range(number):
        shop.ask(Task(Job(), Drawn(FRAME, ((seed,),), seed), done.append, partial(pytest.fail, str)))  # type: ignore[arg-type]
    shop.start()
    until(lambda: len(done) == number)
    shop.stop()
    return counted


def check_no_batch_takes_long() -> None:
    found = batches(0.02, 7)
    assert max(found) * 0.02 <= 0.06
    assert len(found) < 7, "they are painted together as far as there is time"


def test_a_slow_painter_paints_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painter, "_LONGEST", 0.05)
    check_no_batch_takes_long()


def test_the_check_catches_batches_of_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painter, "_LONGEST", 99.0)
    with pytest.raises(AssertionError):
        check_no_batch_takes_long()


def test_one_that_is_slower_still_paints_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painter, "_LONGEST", 0.001)
    assert batches(0.005, 4) == [1] * 4


def test_a_quick_painter_paints_many_at_a_time() -> None:
    assert batches(0.0, 40) == [1, 16, 16, 7]


def test_where_nobody_waits_meanwhile_batches_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painter, "_LONGEST", 0.001)
    assert batches(0.002, 20, beside=True) == [16, 4]
