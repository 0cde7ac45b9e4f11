"""Large pictures in a session: kept as they are given, read in slices where words answer, else at the base size."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fixtures.tiny_model_folder import SIZE
from fixtures.tiny_sessions import Recording, session_parts
from illume.api import Illume, Request
from illume.core.errors import DataError, RequestError
from illume.images import given, ops
from illume.images.slices import cut
from illume.session import session as session_module
from illume.session.session import Session
from illume.vocab.messages import ImagePart, TextPart

FEW = {"max_new_text": 3}
NAMES = ["picture-1#whole", "\n", "picture-1#0,0", "picture-1#0,1", "\n", "picture-1#1,0", "picture-1#1,1"]


def large(rows: int = 2, columns: int = 2) -> Image.Image:
    shape = (SIZE[0] * rows, SIZE[1] * columns, 3)
    return Image.fromarray(np.random.default_rng(rows + 7 * columns).integers(0, 256, shape, dtype=np.uint8))


def names(request: Request) -> list[str]:
    parts = [part for message in request.messages for part in message.parts]
    return [part.text if isinstance(part, TextPart) else str(part.image) for part in parts if not _size(part)]  # type: ignore[union-attr]


def _size(part: object) -> bool:
    return not isinstance(part, TextPart | ImagePart)


def check_as_chat(picture: Image.Image, levels: int = 1, slices: int = 9) -> None:
    """A session asks about a picture what `chat` does, slice by slice and pixel by pixel, and is answered the same."""
    model = Recording(session_parts(levels), strict=True)
    session = model.session(seed=4, slices=slices)
    said = session.ask("what?", picture, **FEW)
    assert said == model.chat("what?", [picture], seed=4, slices=slices, **FEW)
    held, asked = (record.request for record in model.held)
    assert [name.replace("picture-1", "image 0") for name in names(held)] == names(asked)
    assert list(held.images) == [name.replace("image 0", "picture-1") for name in asked.images]
    for one, other in zip(held.images.values(), asked.images.values(), strict=True):
        assert np.array_equal(one, other)
    assert model.held[0].prompt == model.held[1].prompt


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("shape", [(2, 2), (1, 3), (1, 1)])
def test_a_session_reads_as_chat_does(shape: tuple[int, int], levels: int) -> None:
    check_as_chat(large(*shape), levels)


def test_the_check_catches_a_picture_that_is_kept_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "whole", lambda image: ops.fit(given.opened(image), SIZE))
    with pytest.raises(AssertionError):
        check_as_chat(large())


def asked(session: Session) -> Request:
    held: Request = session.model.held[-1].request  # type: ignore[attr-defined]
    return held


def test_only_words_about_what_is_not_drawn_are_answered_in_detail() -> None:
    session = Recording(session_parts()).session(seed=1, slices=9)
    session.ask("what?", large(), **FEW)
    assert names(asked(session)) == [*NAMES, "what?"]
    session.say("and now?", mode="text", **FEW)
    assert names(asked(session))[:8] == [*NAMES, "what?"], "earlier turns too"
    session.edit("paint it", "picture-1")
    assert not any("#" in name for name in names(asked(session)))
    assert asked(session).images["picture-1"].shape == (3, *SIZE)
    session.ask("what now?", "picture-1", **FEW)
    assert not any("#" in name for name in names(asked(session))), "a drawing is seen: the base size, as in training"
    alone = session.branch(memory=0)
    alone.ask("what?", "picture-1", **FEW)
    assert names(asked(alone)) == [*NAMES, "what?"]
    alone.say("anything", [large(1, 2)], **FEW)
    assert not any("#" in name for name in names(asked(alone))), "it might be answered by a drawing"


def test_pictures_are_kept_as_they_are_given_or_at_the_models_size() -> None:
    model = Illume(session_parts())
    for slices, size in ((9, large().size), (0, SIZE[::-1])):
        session = model.session(slices=slices)
        picture = large()
        session.ask("what?", picture, **FEW)
        picture.putpixel((0, 0), (1, 2, 3))  # what is kept is a copy
        assert session.picture("picture-1").size == size
        assert session.picture("picture-1").getpixel((0, 0)) != (1, 2, 3)
        session.draw("a circle")
        assert session.picture("picture-2").size == SIZE[::-1]
    without, plain = model.session(seed=2, slices=0), model.session(seed=2)
    assert without.ask("what?", large(), **FEW) == plain.ask("what?", large(), **FEW)


def plain(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "session.json").read_text(encoding="utf-8"))
    return loaded


def test_saved_and_loaded_it_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    model = Illume(session_parts())
    session = model.session(seed=3, memory=1, slices=4)
    session.ask("what?", large(), **FEW)
    session.draw("a circle")
    session.save(tmp_path / "talk")
    again = model.session(tmp_path / "talk")
    assert (again.slices, again.memory, again.seed) == (4, 1, 3)
    assert {name: one.tobytes() for name, one in again.pictures.items()} == {
        name: one.tobytes() for name, one in session.pictures.items()
    }
    for one in (session, again):
        one.undo()
        one.ask("and?", "picture-1", **FEW)
    assert session.turns == again.turns
    with pytest.raises(RequestError, match="slices"):
        model.session(tmp_path / "talk", slices=4)


def test_a_session_without_slices_is_written_as_before(tmp_path: Path) -> None:
    model = Illume(session_parts())
    session = model.session(seed=3)
    session.ask("what?", large(), **FEW)
    session.save(tmp_path / "talk")
    assert "slices" not in plain(tmp_path / "talk")


def test_pictures_of_another_size_are_refused_where_none_can_be(tmp_path: Path) -> None:
    """In a session without slices any large one; in one with them, a drawing."""
    model = Illume(session_parts())
    session = model.session(slices=4)
    session.ask("what?", large(), **FEW)
    session.draw("a circle")
    session.save(tmp_path / "talk")
    told = plain(tmp_path / "talk")
    for wrong in (0, -1, 10**9, 1.5, "4"):
        (tmp_path / "talk" / "session.json").write_text(json.dumps({**told, "slices": wrong}))
        with pytest.raises(DataError, match=r"slices|whole numbers"):
            model.session(tmp_path / "talk")
    (tmp_path / "talk" / "session.json").write_text(json.dumps({n: v for n, v in told.items() if n != "slices"}))
    with pytest.raises(DataError, match=r"picture-1.png: 16 x 16|pixels"):
        model.session(tmp_path / "talk")
    (tmp_path / "talk" / "session.json").write_text(json.dumps(told))
    large().save(tmp_path / "talk" / "pictures" / "picture-2.png")
    with pytest.raises(DataError, match=r"picture-2\.png"):
        model.session(tmp_path / "talk")


def test_impossible_slices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Illume(session_parts())
    for wrong in (-1, 10**6):
        with pytest.raises(RequestError, match="slices"):
            model.session(slices=wrong)
    monkeypatch.setitem(ops.upright.__kwdefaults__, "max_pixels", 100)
    with pytest.raises(DataError, match="more than 100"):
        model.session(slices=9).ask("what?", large(), **FEW)


def test_the_overview_shows_the_whole_picture() -> None:
    session = Recording(session_parts()).session(slices=9)
    session.ask("what?", large(1, 3), **FEW)
    shown = asked(session).images["picture-1#whole"]
    assert np.array_equal(ops.from_pixels(shown.numpy()), cut(large(1, 3), SIZE).overview)
