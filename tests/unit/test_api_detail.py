"""A picture read in detail through the interface: what the engine is asked, and that it changes what is answered."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from fixtures.tiny_model_folder import SIZE, tiny_illume
from illume import cli
from illume.api import Illume, Request, Result, Turn
from illume.core.errors import RequestError
from illume.generate.shown import seen
from illume.images.slices import cut
from illume.tasks import prompts
from illume.vocab.messages import ImagePart, TextPart


def picture(rows: int = 2, columns: int = 2) -> Image.Image:
    shape = (SIZE[0] * rows, SIZE[1] * columns, 3)
    return Image.fromarray(np.random.default_rng(rows + 10 * columns).integers(0, 256, shape, dtype=np.uint8))


class Asked(Illume):
    """Keeps what it is asked."""

    def run(self, requests):
        self.requests: list[Request] = list(requests)
        return super().run(self.requests)


def asked(*arguments: object, **settings: object) -> Request:
    model = Asked(tiny_illume().parts)
    model.chat(*arguments, max_new_text=2, **settings)  # type: ignore[call-overload]
    return model.requests[0]


def names(request: Request) -> list[str]:
    parts = [part for message in request.messages for part in message.parts]
    return [part.text if isinstance(part, TextPart) else str(part.image) for part in parts]  # type: ignore[union-attr]


SLICES = ["image 0#whole", "\n", "image 0#0,0", "image 0#0,1", "\n", "image 0#1,0", "image 0#1,1"]


def check_read_in_detail(request: Request, shown: Image.Image) -> None:
    """The overview, then the slices, in their order and each with its own pixels."""
    assert names(request) == [*SLICES, "what?"]
    found = cut(shown, SIZE)
    images = [found.overview, *(piece for row in found.rows for piece in row)]
    keys = [name for name in SLICES if name != "\n"]
    assert request.images.keys() == set(keys)
    for key, image in zip(keys, images, strict=True):
        whole = (request.images[key].permute(1, 2, 0) + 1) * 127.5
        assert torch.equal(whole.round().to(torch.uint8), torch.from_numpy(np.array(image)))


def test_a_picture_is_read_as_overview_and_slices() -> None:
    check_read_in_detail(asked("what?", [picture()], slices=9), picture())


def test_the_check_catches_another_picture() -> None:
    with pytest.raises(AssertionError):
        check_read_in_detail(asked("what?", [picture()], slices=9), picture().rotate(90))


def test_as_many_slices_as_asked_for_and_none_where_none_help() -> None:
    assert names(asked("what?", [picture()], slices=1)) == ["image 0#whole", "what?"]
    assert names(asked("what?", [picture(1, 1)], slices=9)) == ["image 0#whole", "what?"]
    assert names(asked("what?", [picture()])) == ["image 0", "what?"]
    assert names(asked("what?", [picture(1, 2)], slices=2))[1:4] == ["\n", "image 0#0,0", "image 0#0,1"]


def test_in_messages_and_in_earlier_turns_too() -> None:
    model = tiny_illume()
    messages = prompts.ask(ImagePart(model.frame, image="image 0"), "what?")
    check_read_in_detail(asked(messages, {"image 0": picture()}, slices=9), picture())
    history = (Turn("first?", (picture(1, 2),), "yes"),)
    told = names(asked("and?", [picture(1, 1)], history=history, slices=4))
    assert told == ["image 0#whole", "\n", "image 0#0,0", "image 0#0,1", "first?", "yes", "image 1#whole", "and?"]


def test_what_is_in_a_slice_alone_is_seen() -> None:
    """Two pictures whose overviews are the same to the bit are told apart by their slices."""
    one = np.full((2 * SIZE[0], 2 * SIZE[1], 3), 128, dtype=np.uint8)
    ways = [Image.fromarray(one), Image.fromarray(one.copy())]
    model = tiny_illume()
    found = [cut(way, SIZE) for way in ways]
    assert found[0].overview.tobytes() == found[1].overview.tobytes()
    messages, pixels = seen(prompts.ask(ImagePart(model.frame, image="a"), "what?"), {"a": ways[0]}, SIZE, 9)
    changed = {name: value if name != "a#1,1" else -value - 0.5 for name, value in pixels.items()}
    answers: list[Result] = []
    for images in (pixels, changed):
        request = model.request("ask", messages, images, temperature=1.0, max_new_text=12)
        answers += model.run([request])
    assert answers[0].ids != answers[1].ids


@pytest.mark.parametrize("settings", [{"slices": -1}, {"slices": 4, "mode": "auto"}])
def test_impossible_slices_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(RequestError, match="slices"):
        tiny_illume().chat("what?", [picture()], **settings)  # type: ignore[call-overload]


def test_more_than_fits_is_told() -> None:
    with pytest.raises(RequestError, match="positions"):
        tiny_illume().chat("what?", [picture(3, 3)], slices=9)


def test_the_command_line_asks_for_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Asked(tiny_illume().parts)
    monkeypatch.setattr("illume.cli.commands.load_model", lambda name, device: model)
    picture().save(tmp_path / "a.png")
    question = ["chat", "model", "what?", "--image", str(tmp_path / "a.png"), "--slices", "9"]
    assert CliRunner().invoke(cli.app, question).exit_code == 0
    check_read_in_detail(model.requests[0], picture())
    lines = f"/image {tmp_path / 'a.png'}\n/ask what?\n"
    talk = ["chat", "model", "--slices", "9", "--out", str(tmp_path / "drawn")]
    assert CliRunner().invoke(cli.app, talk, input=lines).exit_code == 0
    assert [name.replace("picture-1", "image 0") for name in names(model.requests[0])] == [*SLICES, "what?"]
