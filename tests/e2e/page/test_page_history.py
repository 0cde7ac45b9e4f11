"""What the page keeps, and how it is used by keys and looks in light and dark."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from fixtures.page_browser import DESKTOP, PHONE, Person, person, same
from fixtures.page_server import PageServer, picture

pytestmark = pytest.mark.xdist_group("browser")


# Conversations


def test_conversations_are_named_deleted_and_brought_back(somebody: Person) -> None:
    somebody.say("a red circle", "Draw")
    somebody.done(1)
    somebody.menu("[data-act=rename]")
    somebody.page.keyboard.type("Circles")
    somebody.page.keyboard.press("Enter")
    expect(somebody.see("#conversations .title")).to_have_text("Circles")
    somebody.menu("#new")
    somebody.say("a blue square")
    somebody.done(1)
    expect(somebody.see("#conversations .title")).to_have_text(["a blue square", "Circles"])
    somebody.see("#conversations .title").nth(1).click()
    somebody.menu("[data-act=delete]")
    expect(somebody.see("#conversations .title")).to_have_text(["a blue square"])
    somebody.page.get_by_role("button", name="Bring it back").click()
    expect(somebody.see("#title")).to_have_text("Circles")
    expect(somebody.see("figure img")).to_be_visible()
    somebody.menu("[data-act=delete]")
    expect(somebody.see("#notice")).to_contain_text("“Circles” is deleted.")
    somebody.come()
    expect(somebody.see("#conversations .title")).to_have_text(["a blue square"])


def test_a_file_carries_conversations_to_another_browser(
    browser: Browser, somebody: Person, server: PageServer, tmp_path: Path
) -> None:
    somebody.set(seed=4)
    somebody.say("a red circle", "Draw")
    somebody.done(1)
    somebody.say("what is it?", "Ask")
    somebody.done(2)
    somebody.press(2, "Answer again")
    somebody.done(2)
    expect(somebody.turn(2).locator(".count")).to_have_text("2/2")
    file = somebody.download("#export", tmp_path)
    with person(browser, server.url, **PHONE) as other:
        other.page.set_input_files("#import-file", file)
        other.done(2)
        expect(other.turn(2).locator(".count")).to_have_text("2/2")
        assert same(other.pixels(other.see("figure img")), picture("a red circle", 4))
        other.come()
        other.done(2)
        other.check()


def turn_of(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(iter(data["conversations"][0]["turns"].values()))
    return found


def hang_on(data: dict[str, Any], turn: str) -> None:
    data["conversations"][0]["first"] = None
    turn_of(data)["after"] = {"turn": turn, "answer": 0}


BROKEN: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("no conversations of this page", lambda data: data.update(format="another")),
    ("version 2", lambda data: data.update(version=2)),
    ("damaged", lambda data: data.update(pictures=3)),
    ("a picture that cannot be read", lambda data: data["pictures"].update(dict.fromkeys(data["pictures"], ""))),
    ("unknown kind", lambda data: turn_of(data).update(kind="run")),
    ("without answers", lambda data: turn_of(data).update(answers=[])),
    ("where words should be", lambda data: turn_of(data).update(text={"a": 1})),
    ("follows nothing", lambda data: hang_on(data, "none")),
    ("where it begins", lambda data: data["conversations"][0].update(first="none")),
    ("leads elsewhere", lambda data: turn_of(data)["answers"][0].update(next=turn_of(data)["id"])),
    ("in a circle", lambda data: hang_on(data, turn_of(data)["id"])),
]  # fmt: skip


def test_a_damaged_file_is_refused_whole(somebody: Person, tmp_path: Path) -> None:
    somebody.say("a red circle", "Draw")
    somebody.done(1)
    whole = somebody.download("[data-act=export]", tmp_path).read_text(encoding="utf-8")
    read = "async (text) => (await import('/static/transfer.js')).imported(text).length"
    assert somebody.page.evaluate(read, whole) == 1
    for message, damage in BROKEN:
        data = json.loads(whole)
        damage(data)
        (tmp_path / "damaged.json").write_text(json.dumps(data), encoding="utf-8")
        somebody.page.set_input_files("#import-file", tmp_path / "damaged.json")
        expect(somebody.see("#notice")).to_contain_text(message)
        expect(somebody.see("#conversations .title")).to_have_count(1)
        somebody.page.click("#notice-close")


def test_two_tabs_tell_each_other(somebody: Person) -> None:
    other = Person(somebody.page.context.new_page(), somebody.url)
    other.come()
    somebody.say("a red circle", "Draw")
    somebody.done(1)
    expect(other.see("#conversations .title")).to_have_text("a red circle")
    other.see("#conversations .title").click()
    other.done(1)
    somebody.say("a blue circle")
    somebody.done(2)
    other.done(2)


# Keys and looks


def test_all_of_it_by_keys(somebody: Person) -> None:
    keyboard = somebody.page.keyboard
    expect(somebody.see("#words")).to_be_focused()
    keyboard.type("/draw a red circle")
    keyboard.press("Enter")
    somebody.done(1)
    keyboard.type("/ask what is it?")
    keyboard.press("Enter")
    somebody.done(2)
    keyboard.type("/undo")
    keyboard.press("Enter")
    somebody.done(1)
    keyboard.press("Shift+Tab")
    keyboard.press("r")
    somebody.done(2)
    keyboard.press("/")
    expect(somebody.see("#words")).to_be_focused()
    keyboard.press("ArrowUp")
    expect(somebody.see("#words")).to_have_value("what is it?")
    somebody.done(1)
    keyboard.press("Shift+Enter")
    expect(somebody.see("#words")).to_have_value("what is it?\n")
    somebody.see("#thread").focus()
    keyboard.press("?")
    expect(somebody.see("#help")).to_be_visible()
    keyboard.press("Escape")
    expect(somebody.see("#help")).to_be_hidden()
    somebody.see("#thread").focus()
    keyboard.press("n")
    somebody.done(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_look_is_the_systems_until_it_is_chosen(browser: Browser, server: PageServer, scheme: str) -> None:
    ground = "() => getComputedStyle(document.body).backgroundColor"
    looks = {"light": "rgb(251, 250, 247)", "dark": "rgb(23, 22, 19)"}
    with person(browser, server.url, **DESKTOP, color_scheme=scheme) as who:
        assert who.page.evaluate(ground) == looks[scheme]
        for look in ("light", "dark"):
            who.page.click("#theme")
            assert who.page.evaluate(ground) == looks[look]
            who.come()
            assert who.page.evaluate(ground) == looks[look]
        who.page.click("#theme")
        assert who.page.evaluate(ground) == looks[scheme]
        who.check()
