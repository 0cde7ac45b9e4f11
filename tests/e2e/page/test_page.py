"""A sitting at the page: draw, ask, edit, take back, branch, stop, choose; at a desk and on a phone."""

import io
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from fixtures.page_browser import DESKTOP, PHONE, Person, impatient, person, same
from fixtures.page_server import BLANK, PageServer, picture

pytestmark = pytest.mark.xdist_group("browser")
SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])


# A whole sitting, at a desk and on a phone


@SIZES
def test_draws_asks_edits_undoes_branches_and_remembers(
    browser: Browser, server: PageServer, size: dict[str, Any]
) -> None:
    with person(browser, server.url, **size) as who:
        expect(who.see("#welcome")).to_be_visible()
        server.held.clear()
        who.set(seed=5)
        who.say("a red circle left of a blue square", "Draw")
        coming = who.see(".coming img")
        expect(coming).to_have_attribute("data-rows", "2")
        so_far = who.pixels(coming)
        assert same(so_far, picture("a red circle left of a blue square", 5, rows=2))
        assert so_far.getpixel((3, 30)) == BLANK
        expect(who.turn(1).get_by_role("button", name="Answer again")).to_be_disabled()
        expect(who.see("progress")).to_have_attribute("value", "2")
        server.held.set()
        who.done(1)
        drawn = picture("a red circle left of a blue square", 5)
        expect(who.turn(1).get_by_role("button", name="Answer again")).to_be_enabled()
        assert same(who.pixels(who.see(".turn:nth-child(1) figure img")), drawn)
        expect(who.turn(1)).to_contain_text("seed 5")
        expect(who.turn(1)).to_contain_text("16 ids")

        who.say("how many objects are there?", "Ask")
        who.done(2)
        expect(who.turn(2)).to_contain_text(
            "You said “how many objects are there?” and showed 1 pictures, after 2 messages."
        )
        said = server.asked[-1].fields["messages"]
        assert [one["role"] for one in said] == ["user", "assistant", "user"]
        assert said[0]["content"] == "Generate an image of a red circle left of a blue square"
        assert said[1]["images"][0]["image_url"]["url"].startswith("data:image/png;base64,")

        who.say("turn the circle green", "Edit")
        who.done(3)
        asked = server.asked[-1]
        assert asked.path == "/v1/images/edits"
        assert same(Image.open(io.BytesIO(asked.files["image"])), drawn)
        assert same(who.pixels(who.see(".turn:nth-child(3) figure img")), picture("turn the circle green", 5))
        who.check()

        who.page.click("#undo")
        who.done(2)
        who.page.click("#redo")
        who.done(3)
        who.page.click("#undo")
        who.press(2, "Say it in other words")
        who.done(1)
        expect(who.see("#words")).to_have_value("how many objects are there?")
        who.say("what is left?")
        who.done(2)
        expect(who.turn(2).locator(".count")).to_have_text("2/2")
        expect(who.turn(2)).to_contain_text("what is left?")

        who.come_again()
        who.done(2)
        expect(who.turn(2)).to_contain_text("what is left?")
        assert same(who.pixels(who.see(".turn:nth-child(1) figure img")), drawn)
        who.press(2, "The branch before")
        expect(who.turn(2)).to_contain_text("how many objects are there?")
        who.page.click("#redo")
        who.done(3)
        who.press(1, "Go on from here")
        who.done(1)
        who.check()


# Stopping


def check_escape_stops(who: Person, server: PageServer) -> None:
    """Escape ends a drawing: the server sees its client leave."""
    server.held.clear()
    who.set(n=2)
    who.say("two green crosses", "Draw")
    expect(who.see(".coming img[data-rows='2']")).to_have_count(2)
    who.page.keyboard.press("Escape")
    expect(who.see(".answer.stopped")).to_have_count(2)
    who.until(lambda: len(server.left) >= 2)


def test_escape_stops_and_the_server_knows(somebody: Person, server: PageServer) -> None:
    check_escape_stops(somebody, server)
    server.held.set()
    somebody.turn(1).get_by_role("button", name="Try again").first.click()
    somebody.done(1)
    expect(somebody.see(".answer.done")).to_have_count(1)
    assert server.asked[-1].seed == min(asked.seed for asked in server.asked[:2])


def test_the_check_of_stopping_catches_a_page_that_only_looks_away(browser: Browser, server: PageServer) -> None:
    server.broken["api.js"] = ("{ ...options, headers }", "{ ...options, headers, signal: undefined }")
    with person(browser, server.url, **DESKTOP) as who, impatient(), pytest.raises(AssertionError):
        check_escape_stops(who, server)


def test_words_stop_where_they_are(somebody: Person, server: PageServer) -> None:
    server.held.clear()
    somebody.say("hello", "Ask")
    expect(somebody.see(".answer.running .words")).to_have_text("You said “hello”")
    somebody.page.click("#send")
    expect(somebody.see(".answer.stopped")).to_contain_text("You said “hello”")
    somebody.until(lambda: len(server.left) >= 1)


def test_an_answer_goes_on_while_another_conversation_is_read(somebody: Person, server: PageServer) -> None:
    server.held.clear()
    somebody.say("a red circle", "Draw")
    expect(somebody.see(".coming img")).to_be_visible()
    somebody.menu("#new")
    somebody.done(0)
    expect(somebody.see("#conversations .dot")).to_have_count(1)
    server.held.set()
    expect(somebody.see("#conversations .dot")).to_have_count(0)
    somebody.menu("#conversations .title")
    somebody.done(1)
    expect(somebody.see("figure img")).to_be_visible()


# The best of several


def test_the_picked_candidate_is_gone_on_with(somebody: Person, server: PageServer) -> None:
    somebody.set(n=3, seed=7, guidance=2.5, temperature=0.5, top_k=9, top_p=0.75)
    somebody.say("a red circle", "Draw")
    somebody.done(1)
    assert sorted(asked.seed for asked in server.asked) == [7, 8, 9]
    sampling = {"guidance_scale": 2.5, "temperature": 0.5, "top_k": 9, "top_p": 0.75}
    assert all(sampling.items() <= asked.fields.items() for asked in server.asked)
    expect(somebody.see(".answer.chosen")).to_contain_text("seed 7")
    somebody.see(".pick").nth(2).click()
    expect(somebody.see(".answer.chosen")).to_contain_text("seed 9")
    somebody.set(n="", seed=1)
    somebody.say("turn it blue", "Edit")
    somebody.done(2)
    assert same(Image.open(io.BytesIO(server.asked[-1].files["image"])), picture("a red circle", 9))
    somebody.see(".pick").nth(0).click()  # nothing has followed this one
    somebody.done(1)
    somebody.see(".pick").nth(2).click()
    somebody.done(2)


def test_answers_may_hold_pictures_if_they_may_draw(somebody: Person, server: PageServer) -> None:
    somebody.kind("Ask")
    somebody.page.click("#tune")
    somebody.page.check("#set-draws")
    somebody.say("draw yellow")
    somebody.done(1)
    assert set(server.asked[-1].fields["modalities"]) == {"text", "image"}
    assert same(somebody.pixels(somebody.see("figure img")), picture("draw yellow", server.asked[-1].seed))


def test_a_model_of_short_memory_is_asked_without_earlier_turns(browser: Browser, server: PageServer) -> None:
    server.model["context_length"] = 128
    with person(browser, server.url, **DESKTOP) as who:
        who.say("one", "Ask")
        who.done(1)
        who.say("two")
        who.done(2)
        assert len(server.asked[-1].fields["messages"]) == 1
        who.set(memory=5)
        who.say("three")
        who.done(3)
        assert len(server.asked[-1].fields["messages"]) == 5
