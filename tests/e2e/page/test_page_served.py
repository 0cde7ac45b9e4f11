"""The page and the real server, with a tiny model: the same sitting as with canned pictures."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from fixtures.page_browser import DESKTOP, PHONE, Person, person, same
from fixtures.serving import Served, served, until

pytestmark = pytest.mark.xdist_group("browser")


@pytest.fixture(scope="module")
def real() -> Iterator[Served]:
    with served(keys=("right",)) as found:
        yield found


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def who(request: pytest.FixtureRequest, browser: Browser, real: Served) -> Iterator[Person]:
    with person(browser, f"{real.url}/", **request.param) as found:
        expect(found.see("#keybar")).to_be_visible()
        found.page.fill("#key", "right")
        found.page.press("#key", "Enter")
        expect(found.see("#keybar")).to_be_hidden()
        yield found
        found.check()


def drawn(who: Person, turn: int) -> Any:
    return who.pixels(who.see(f".turn:nth-child({turn}) figure img"))


def test_a_sitting_with_a_real_model(who: Person, real: Served) -> None:
    who.set(seed=5, temperature=0.5, guidance=2)
    who.say("a red circle", "Draw")
    who.done(1)
    (wanted,) = real.illume.draw("a red circle", seed=5, temperature=0.5, guidance=2)
    assert same(drawn(who, 1), wanted)

    who.page.click("#tune")
    who.page.click("#reset")
    who.say("how many objects are there?", "Ask")
    who.done(2)
    expect(who.see(".answer.done")).to_have_count(2)

    who.set(seed=6, n=3)
    who.say("color the circle green", "Edit")
    who.done(3)
    expect(who.see(".turn:nth-child(3) .answer.done")).to_have_count(3)
    edits = real.illume.edit(wanted, "color the circle green", n=3, seed=6)
    for number, edit in enumerate(edits):
        assert same(who.pixels(who.see(".turn:nth-child(3) figure img").nth(number)), edit)

    who.set(n="")
    who.press(1, "Mask")
    expect(who.see("#masker canvas")).to_be_focused()
    who.page.keyboard.press("Enter")
    who.mask()
    who.say("a green square")
    who.done(4)
    inside = (2, 2, 6, 6)
    (painted,) = real.illume.edit(wanted, "a green square", seed=6, mask=inside)
    assert same(drawn(who, 4), painted)

    who.page.click("#undo")
    who.done(3)
    who.page.click("#redo")
    who.done(4)
    until(lambda: real.service.worker.load.busy_rows == 0)


def test_stopping_frees_the_rows(who: Person, real: Served) -> None:
    who.set(n=8)
    who.say("two green crosses", "Draw")
    who.page.wait_for_selector(".answer.running")
    who.page.keyboard.press("Escape")
    expect(who.see(".answer.running")).to_have_count(0)
    until(lambda: not real.service.worker.open and real.service.worker.load.busy_rows == 0)
    who.say("how many?", "Ask")
    expect(who.see(".turn:nth-child(2) .answer.done").first).to_be_visible()
