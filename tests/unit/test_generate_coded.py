"""Reading by codes: what the engine renders is what training showed, whoever gave the codes; folders; errors."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fixtures.tiny_model_folder import SIZE, tiny_parts
from illume.api import Illume, Parts, Request, load
from illume.core.errors import ModelError, RequestError
from illume.generate.coded import Coder, Codes, coded
from illume.generate.engine import Engine
from illume.tasks import prompts
from illume.vocab.format import render
from illume.vocab.messages import ImageFrame, ImagePart

FRAME = ImageFrame(((4, 4),))


@cache
def parts() -> Parts:
    """A model that reads codes has its drawings before it as they are: nothing is read again."""
    plain = tiny_parts()
    return replace(plain, layout=replace(plain.layout, reread=False), reading="codes")


def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def coder() -> Coder:
    return Coder(parts().tokenizer)


def asked(image: str = "a", pixels: Tensor | None = None) -> Request:
    messages = tuple(prompts.ask(ImagePart(FRAME, image=image), "what?"))
    return Request(messages, "text", max_new_text=4, images={"a": picture() if pixels is None else pixels})


def check_same_context(engine: Engine, request: Request, codes: Codes) -> None:
    """What the model has before it when it is asked: the sample of training, up to the answer."""
    shown = prompts.ask(ImagePart(FRAME, codes, image="a"), "what?", "")
    trained = render(shown, parts().layout, parts().text, "codes")
    prompt = engine._prepared(request).prompt
    assert tuple(prompt.ids) == trained.ids[: len(prompt.ids)]
    assert prompt.places[:-1] == list(trained.places[: len(prompt.ids) - 1])
    assert not prompt.slots


def engine(tokenize: object) -> Engine:
    return Engine(parts().model, parts().layout, parts().text, rows=2, max_length=96, tokenize=tokenize)


def test_the_context_of_an_image_is_that_of_training() -> None:
    check_same_context(engine(coder()), asked(), coder()(picture()))


def test_the_check_catches_codes_in_columns() -> None:
    def turned(pixels: Tensor) -> Codes:
        return coder()(pixels.mT)

    with pytest.raises(AssertionError):
        check_same_context(engine(turned), asked(), coder()(picture()))


def test_the_check_catches_a_model_that_reads_features() -> None:
    with pytest.raises(AssertionError):
        check_same_context(engine(None), asked(), coder()(picture()))


def test_codes_that_a_part_has_are_kept() -> None:
    codes = ((1,) * 16,)
    messages = tuple(prompts.ask(ImagePart(FRAME, codes, image="drawn"), "what?"))
    request = coded(Request(messages), coder())
    assert request.messages == messages


def test_an_image_that_is_shown_twice_is_encoded_once() -> None:
    seen = []

    def tokenize(pixels: Tensor) -> Codes:
        seen.append(pixels)
        return coder()(pixels)

    image = ImagePart(FRAME, image="a")
    request = Request(tuple(prompts.chat([("user", [image, image, "same?"])])), images={"a": picture()})
    parts_of = coded(request, tokenize).messages[0].parts
    assert len(seen) == 1
    assert [part.codes for part in parts_of if isinstance(part, ImagePart)] == [coder()(picture())] * 2


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(RequestError, match="images without pixels in `images`: b"):
        coded(asked("b"), coder())
    with pytest.raises(RequestError, match=r"its pixels make \[32\] codes, its frame in the messages says \[16\]"):
        coded(asked(pixels=picture(size=(8, 16))), coder())


def test_a_saved_model_goes_on_reading_codes(tmp_path: Path) -> None:
    Illume(parts()).save(tmp_path / "model")
    again = load(tmp_path / "model", device="cpu", dtype="float32")
    assert again.parts.reading == "codes"
    assert "read as codes" in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    answers = [model.chat("what?", [images()], max_new_text=4) for model in (again, Illume(parts()))]
    assert answers[0] == answers[1]
    assert again.edit(images(), "make it red")[0].size == SIZE
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"reading": "tea leaves"}))
    with pytest.raises(ModelError, match="reading 'tea leaves'; expected 'features' or 'codes'"):
        load(tmp_path / "model", device="cpu")


def images() -> object:
    return (picture().permute(1, 2, 0).numpy() * 127 + 128).astype("uint8")


def test_a_model_from_before_there_was_a_choice_reads_features(tmp_path: Path) -> None:
    Illume(tiny_parts()).save(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    plain = json.loads(path.read_text())
    del plain["reading"]
    path.write_text(json.dumps(plain))
    assert load(tmp_path / "model", device="cpu").parts.reading == "features"
