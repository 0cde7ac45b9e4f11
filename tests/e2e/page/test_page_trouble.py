"""What goes wrong at the page is told in place; what is said is only ever text; nothing comes from elsewhere."""

import re

import pytest
from playwright.sync_api import Browser, expect

from fixtures.page_browser import DESKTOP, PHONE, Person, impatient, person
from fixtures.page_server import STATIC, PageServer, Refusal

pytestmark = pytest.mark.xdist_group("browser")


# What goes wrong


def test_a_refusal_is_told_in_place_and_can_be_tried_again(somebody: Person, server: PageServer) -> None:
    server.refusals = [Refusal(429, "the queue is full", {"Retry-After": "3"}, "too_many_requests")]
    somebody.say("a red circle", "Draw")
    failed = somebody.see(".error")
    expect(failed).to_contain_text("The queue is full. Try again in 3 s.")
    expect(failed).to_contain_text("HTTP 429 · too_many_requests · request req-1")
    failed.get_by_role("button", name="Try again").click()
    somebody.done(1)
    expect(somebody.see("figure img")).to_be_visible()


def test_a_conversation_that_is_too_long_can_be_answered_without_it(somebody: Person, server: PageServer) -> None:
    somebody.say("one", "Ask")
    somebody.done(1)
    server.refusals = [Refusal(400, "the conversation is too long", code="context_length_exceeded")]
    somebody.say("two")
    somebody.see(".error").get_by_role("button", name="Answer without the earlier turns").click()
    somebody.done(2)
    assert len(server.asked[-1].fields["messages"]) == 1


def test_a_key_is_asked_for_used_and_kept_if_wanted(browser: Browser, server: PageServer) -> None:
    server.key = "right"
    with person(browser, server.url, **PHONE) as who:
        expect(who.see("#keybar")).to_be_visible()
        who.page.fill("#key", "wrong")
        who.page.press("#key", "Enter")
        expect(who.see("#key-wrong")).to_be_visible()
        who.page.fill("#key", "right")
        who.page.check("#key-keep")
        who.page.press("#key", "Enter")
        expect(who.see("#keybar")).to_be_hidden()
        who.say("a red circle", "Draw")
        who.done(1)
        who.come_again()
        expect(who.see("#model option")).to_have_text("canned")
        expect(who.see("#keybar")).to_be_hidden()
        server.key = "another"  # changed while the page is open: what it refuses is asked again with the new key
        who.say("a blue circle", "Draw")
        expect(who.see(".error")).to_be_visible()
        who.page.fill("#key", "another")
        who.page.press("#key", "Enter")
        who.done(2)
        expect(who.see("figure img")).to_have_count(2)
        who.check()


def test_a_server_that_is_gone_is_said_to_be(browser: Browser, server: PageServer) -> None:
    with person(browser, server.url, **DESKTOP) as who:
        who.page.context.set_offline(True)
        who.say("a red circle", "Draw")
        expect(who.see(".error")).to_contain_text("can't be reached")


def test_settings_say_what_they_may_be(somebody: Person, server: PageServer) -> None:
    somebody.set(top_p="1.5")
    somebody.say("a red circle", "Draw")
    expect(somebody.see("#notice")).to_contain_text("may not have")
    somebody.page.click("#tune")
    expect(somebody.see("#wrong-top_p")).to_have_text("Top-p: a number from 0.01 to 1.")
    assert not server.asked
    somebody.page.click("#reset")
    somebody.page.press("#words", "Enter")
    somebody.done(1)


# Words are words


MARKUP = "<img src=x onerror=\"document.title='run'\"><b>bold</b> & <script>document.title='run'</script>"


def check_words_stay_words(who: Person) -> None:
    who.say(MARKUP, "Ask")
    who.done(1)
    expect(who.turn(1).locator(".asked .words")).to_have_text(MARKUP)
    expect(who.turn(1).locator(".answer .words")).to_contain_text(MARKUP)
    expect(who.see("#conversations .title")).to_contain_text(MARKUP[:50])
    assert who.see("#turns b, #turns script, #turns img").count() == 0


def test_what_is_said_is_only_ever_text(somebody: Person) -> None:
    check_words_stay_words(somebody)


def test_the_check_of_words_catches_a_page_that_parses_them(browser: Browser, server: PageServer) -> None:
    server.broken["thread.js"] = (
        'el("p", { class: "words" }, turn.text)',
        "Object.assign(el('p', {class: 'words'}), {innerHTML: turn.text})",
    )
    with person(browser, server.url, **DESKTOP) as who, impatient(), pytest.raises(AssertionError):
        check_words_stay_words(who)


def test_the_page_is_whole_in_itself() -> None:
    """No text is parsed as HTML, no style or script inside, nothing from elsewhere."""
    for file in STATIC.iterdir():
        text = file.read_text(encoding="utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser", text
        ), file
        addresses = re.findall(r"https?://[^\s\"')]+", text)
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, file
        if file.suffix == ".html":
            assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)", text)


def test_a_browser_that_keeps_nothing_is_told_of(browser: Browser, server: PageServer) -> None:
    held = browser.new_context()
    held.add_init_script("Object.defineProperty(window, 'indexedDB', {value: undefined})")
    who = Person(held.new_page(), server.url)
    who.come()
    expect(who.see("#notice")).to_contain_text("keeps nothing")
    who.say("a red circle", "Draw")
    who.done(1)
    expect(who.see("figure img")).to_be_visible()
    held.close()
