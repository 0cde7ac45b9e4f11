"""Pictures at the page: masks by brush, box and keys; pictures of one's own, attached, pasted, dropped."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from fixtures.page_browser import DESKTOP, PHONE, Person, person
from fixtures.page_server import Asked, PageServer, picture, png

pytestmark = pytest.mark.xdist_group("browser")
SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])


# Masks


def masked_by(who: Person, draw: Callable[[dict[str, float]], None]) -> None:
    who.press(1, "Mask")
    canvas = who.see("#masker canvas")
    expect(canvas).to_be_focused()
    box = canvas.bounding_box()
    assert box is not None
    draw(dict(box))
    who.mask()
    who.say("a green square")
    who.done(2)


def mask_of(asked: Asked) -> Image.Image:
    """White where it is to be painted."""
    return Image.open(io.BytesIO(asked.files["mask"])).convert("RGBA").getchannel("A").point(lambda alpha: 255 - alpha)


@SIZES
def test_a_box_is_painted_anew_and_nothing_else(browser: Browser, server: PageServer, size: dict[str, Any]) -> None:
    with person(browser, server.url, **size) as who:
        who.say("a red circle", "Draw")
        who.done(1)

        def draw(box: dict[str, float]) -> None:
            who.see("#masker .kinds label", has_text="Box").click()
            who.page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
            who.page.mouse.down()
            who.page.mouse.move(box["x"] + box["width"] * 3 / 4, box["y"] + box["height"] / 2, steps=4)
            who.page.mouse.up()

        masked_by(who, draw)
        assert mask_of(server.asked[-1]).getbbox() == (8, 8, 24, 16)
        was, now = picture("a red circle", server.asked[0].seed), who.pixels(who.see(".turn:nth-child(2) figure img"))
        assert was.getpixel((16, 20)) == now.getpixel((16, 20))
        assert was.getpixel((16, 12)) != now.getpixel((16, 12))
        expect(who.see(".turn:nth-child(2) .thumb .veil")).to_be_visible()
        who.check()


def test_a_brush_and_an_eraser_mark_what_they_touch(somebody: Person, server: PageServer) -> None:
    somebody.say("a red circle", "Draw")
    somebody.done(1)

    def draw(box: dict[str, float]) -> None:
        middle = box["y"] + box["height"] / 2
        for tool, left, right in (("Brush", 0.2, 0.8), ("Erase", 0.6, 0.9)):
            somebody.see("#masker .kinds label", has_text=tool).click()
            somebody.page.mouse.move(box["x"] + box["width"] * left, middle)
            somebody.page.mouse.down()
            somebody.page.mouse.move(box["x"] + box["width"] * right, middle, steps=8)
            somebody.page.mouse.up()

    masked_by(somebody, draw)
    mask = mask_of(server.asked[-1])
    assert set(mask.tobytes()) == {0, 255}
    assert [mask.getpixel((x, 16)) for x in (6, 10, 14, 22, 26)] == [255, 255, 255, 0, 0]
    assert mask.getpixel((10, 4)) == 0


def test_a_box_can_be_set_by_keys(somebody: Person, server: PageServer) -> None:
    somebody.say("a red circle", "Draw")
    somebody.done(1)
    keys = ["Enter", "ArrowRight", "ArrowDown", "ArrowDown", "Shift+ArrowLeft"]
    masked_by(somebody, lambda _: [somebody.page.keyboard.press(key) for key in keys] and None)
    assert mask_of(server.asked[-1]).getbbox() == (9, 10, 24, 26)


# Pictures of one's own


def test_pictures_are_attached_pasted_and_dropped(somebody: Person, server: PageServer) -> None:
    own = png(picture("yellow", 3))
    somebody.kind("Ask")
    files = [{"name": name, "mimeType": "image/png", "buffer": own} for name in ("a.png", "b.png")]
    somebody.page.set_input_files("#file", files)  # type: ignore[arg-type]
    expect(somebody.see("#attached li")).to_have_count(2)
    give = """([event, bytes]) => {
      const options = {bubbles: true, cancelable: true};
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], "c.png", {type: "image/png"}));
      const name = event === "paste" ? "clipboardData" : "dataTransfer";
      const made = event === "paste" ? ClipboardEvent : DragEvent;
      document.querySelector("#words").dispatchEvent(new made(event, {...options, [name]: transfer}));
    }"""
    for number, event in enumerate(("paste", "drop")):
        somebody.page.evaluate(give, [event, list(own)])
        expect(somebody.see("#attached li")).to_have_count(3 + number)
    somebody.say("what are they?")
    somebody.done(1)
    expect(somebody.turn(1)).to_contain_text("showed 4 pictures")
    expect(somebody.see(".asked .thumb")).to_have_count(4)


def test_what_is_no_picture_is_said_to_be_none(somebody: Person) -> None:
    fake = {"name": "fake.png", "mimeType": "image/png", "buffer": b"no picture"}
    somebody.page.set_input_files("#file", fake)  # type: ignore[arg-type]
    expect(somebody.see("#notice")).to_contain_text("fake.png: not a picture")
    expect(somebody.see("#attached li")).to_have_count(0)


def test_a_large_picture_is_made_smaller_before_it_is_sent(somebody: Person, server: PageServer) -> None:
    file = io.BytesIO()
    Image.new("RGB", (5000, 1000), "red").save(file, "JPEG")
    somebody.kind("Edit")
    somebody.page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()})
    expect(somebody.see("#attached li")).to_have_count(1)
    somebody.say("turn it blue")
    somebody.done(1)
    assert Image.open(io.BytesIO(server.asked[-1].files["image"])).size == (2048, 410)
