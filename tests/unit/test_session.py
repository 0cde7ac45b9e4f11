"""A session: its ids are those of its messages, its answers come again, taking back and branching leave no trace."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fixtures.tiny_model_folder import SIZE
from fixtures.tiny_sessions import Held, Recording, pictures_of, session_parts
from illume.api import Illume
from illume.core.errors import ContextError, DataError, RequestError
from illume.images import ops
from illume.session.session import Session
from illume.session.turns import MOST, Conversation, messages_of
from illume.tasks import prompts
from illume.tasks.verdict import CRITERIA, Criterion, Verdict
from illume.vocab.format import render, render_read
from illume.vocab.messages import ImagePart, Message, TextPart

VERDICT = Verdict.of({name: Criterion(True, "seen", True) for name in CRITERIA})
FEW = {"max_new_text": 3}


def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def model(levels: int = 1, **settings: Any) -> Recording:
    return Recording(session_parts(levels), **settings)


@pytest.fixture(scope="module")
def illume() -> Recording:
    return model()


Operation = tuple[str, int]
OPERATIONS = st.tuples(
    st.sampled_from(["say", "show", "draw", "edit", "ask", "which", "undo", "branch"]), st.integers(0, 3)
)


def perform(session: Session, operation: Operation) -> Session:
    """One operation; the session to go on with. What needs a picture where there is none draws one."""
    name, number = operation
    have = len(session.pictures)
    if name in ("edit", "ask", "which") and not have:
        name = "draw"
    if name == "say":
        session.say(f"words {number}", **FEW)
    elif name == "show":
        session.say("these", [picture(number), picture(number + 1)][: 1 + number % 2], **FEW)
    elif name == "draw":
        session.draw(f"a {number}")
    elif name == "edit":
        session.edit("turn it", f"picture-{1 + number % have}" if number else None)
    elif name == "ask":
        session.ask("how many?", picture(number) if number == 3 else None, **FEW)
    elif name == "which":
        session.ask("which of them?", ["picture-1", f"picture-{have}"], **FEW)
    elif name == "undo" and session.turns:
        session.undo(1 + number % len(session.turns))
    elif name == "branch" and session.turns:
        return session.branch(max(0, len(session.turns) - number))
    return session


def check_ids_go_on(held: Sequence[Held], parts: Any) -> int:
    """Each prompt is its messages, and begins with the one before it and what was answered; a drawing is read again.

    Words whose ids no text has (bytes that are no UTF-8) come again as the ids of their text; how many did not.
    """
    compared = 0
    for request, prompt, _ in held:
        assert prompt == render(request.messages, parts.layout, parts.text, prompt=True).ids
    for (request, before, result), (_, after, _) in pairwise(held):
        ids = tuple(id for id in result.ids if id != parts.text.end)
        if request.mode == "image" and parts.layout.reread:
            ids += render_read(ImagePart(request.frame), parts.layout).ids
        words = [part.text for part in result.parts if isinstance(part, TextPart)]
        if any("\ufffd" in text for text in words):
            continue
        expected = (*before, *ids, parts.text.end)
        assert after[: len(expected)] == expected
        compared += 1
    return compared


@pytest.mark.parametrize(("levels", "strict"), [(1, False), (2, False), (2, True)])
def test_ids_go_on_where_they_were(levels: int, strict: bool) -> None:
    tested = model(levels, strict=strict)
    session = tested.session(seed=5)
    for turn in ("say", "draw", "show", "say", "edit", "which", "draw"):
        perform(session, (turn, len(session.turns) % 4))
    kinds = [type(part) for turn in session.turns if turn.ability == "say" for part in turn.answer.parts]
    assert {TextPart, ImagePart} <= set(kinds)  # answers of words and pictures were among them
    assert check_ids_go_on(tested.held, tested.parts) >= 4


def test_the_check_catches_a_context_that_lacks_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    tested = model()
    session = tested.session()
    monkeypatch.setattr(Session, "context", lambda self: list(messages_of(self.turns[:-1])))
    session.draw("one")
    session.draw("two")
    with pytest.raises(AssertionError):
        check_ids_go_on(tested.held, tested.parts)


def test_the_check_catches_drawings_that_are_not_read_again() -> None:
    tested = Recording(session_parts(reread=False))
    session = tested.session()
    session.draw("one")
    session.draw("two")
    assert check_ids_go_on(tested.held, tested.parts) == 1  # such a model was trained without
    with pytest.raises(AssertionError):
        check_ids_go_on(tested.held, session_parts())


def test_a_session_says_what_training_says(illume: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    session, mine = illume.session(), picture()
    session.draw("a red circle")
    said = session.ask("how many?", **FEW)
    session.edit("make it blue")
    which = session.ask("which of them?", ["picture-1", "picture-2"], **FEW)
    with monkeypatch.context() as patch:
        patch.setattr(Verdict, "from_json", lambda text: VERDICT)
        assert session.assess("a blue circle", mine, max_new_text=3) == VERDICT
        judged = session.turns[-1].text
        one, two = (turn.answer.parts[0] for turn in session.turns if turn.ability in ("draw", "edit"))
        given = ImagePart(illume.frame, image="picture-3")
        expected = [
            *prompts.draw("a red circle", one),
            *prompts.ask(one, "how many?", said),
            *prompts.edit(one, "make it blue", two),
            *prompts.chat([("user", [one, two, "which of them?"]), ("assistant", which)]),
            *prompts.chat([("user", [given, prompts.ASSESS + "a blue circle"]), ("assistant", judged)]),
        ]
        parts = illume.parts
        ids = render(session.messages, parts.layout, parts.text)
        assert ids.ids == render(expected, parts.layout, parts.text).ids
        assert [run.image for run in ids.slots] == [
            f"picture-{n}"
            for n in (1, 1, 1, 2, 1, 2, 3)  # drawn and read again, asked, edited, read again, both, mine
        ]


def test_what_is_read_is_what_is_seen(illume: Recording) -> None:
    """The pixels of every picture of a request are those of its PNG, within an answer too."""
    session = illume.session(seed=5)
    for _ in range(4):
        session.say("go on", **FEW)
    request = illume.held[-1].request
    assert request.images
    for name, pixels in request.images.items():
        assert torch.equal(pixels, torch.from_numpy(ops.to_pixels(session.pictures[name])))
    painted = [(name, pixels) for _, _, result in illume.held for name, pixels in result.images.items()]
    assert painted
    for _, pixels in painted:
        assert np.array_equal(ops.to_pixels(ops.from_pixels(pixels.numpy())), pixels.numpy())


@settings(max_examples=6)
@given(st.lists(OPERATIONS, min_size=3, max_size=6), st.data())
def test_saved_and_loaded_anywhere_it_goes_on_the_same(
    tmp_path_factory: pytest.TempPathFactory, operations: list[Operation], data: Any
) -> None:
    stop = data.draw(st.integers(0, len(operations)), label="saved after")
    levels, memory = data.draw(st.sampled_from([(1, None), (2, None), (1, 1)]), label="levels, memory")
    folder = tmp_path_factory.mktemp("sessions") / "one"
    straight = model(levels).session(seed=3, memory=memory)
    stopped = model(levels).session(seed=3, memory=memory)
    for index, operation in enumerate(operations):
        if index == stop:
            stopped.save(folder)
            stopped = model(levels).session(folder)
        straight, stopped = perform(straight, operation), perform(stopped, operation)
    assert stopped.turns == straight.turns
    assert [m.parts for m in stopped.messages] == [m.parts for m in straight.messages]
    assert pictures_of(stopped) == pictures_of(straight)


@settings(max_examples=6)
@given(st.lists(OPERATIONS, min_size=1, max_size=3), st.lists(OPERATIONS, min_size=1, max_size=3))
def test_a_branch_does_not_disturb_its_origin(before: list[Operation], after: list[Operation]) -> None:
    shared = model()
    origin, untouched = shared.session(seed=1), model().session(seed=1)
    for operation in before:
        origin, untouched = perform(origin, operation), perform(untouched, operation)
    branch = origin.branch()
    told = (branch.turns, pictures_of(branch))
    for operation in after:
        branch = perform(branch, operation)
    branch.draw("something else")
    assert (origin.turns, pictures_of(origin)) == told
    origin.say("go on", **FEW)
    untouched.say("go on", **FEW)
    assert (origin.turns, pictures_of(origin)) == (untouched.turns, pictures_of(untouched))


def test_taken_back_and_said_again_it_is_answered_the_same(illume: Recording) -> None:
    session = illume.session(seed=2)
    session.draw("one")
    held: list[Any] = []
    for _ in range(2):
        session.say("and now?", [picture(3)], **FEW)
        session.edit("turn it")
        held.append((session.turns, pictures_of(session)))
        assert [turn.ability for turn in session.undo(2)] == ["say", "edit"]
        assert list(session.pictures) == ["picture-1"]
    assert held[0] == held[1]
    with pytest.raises(RequestError, match="1 turns, so 2"):
        session.undo(2)
    with pytest.raises(RequestError):
        session.undo(0)


def test_seeds_are_those_of_a_drawing_alone(illume: Recording) -> None:
    session = illume.session(seed=7)
    assert session.draw("a cross").tobytes() == illume.draw("a cross", seed=7)[0].tobytes()
    assert illume.session(seed=8).draw("a cross").tobytes() != session.picture("picture-1").tobytes()
    other = illume.session(seed=0)
    assert other.draw("a cross", seed=7).tobytes() == session.picture("picture-1").tobytes()
    assert [turn.seed for turn in (*session.turns, *other.turns)] == [7, 7]
    for seed in (-1, MOST):
        with pytest.raises(RequestError, match="seed"):
            session.draw("a cross", seed=seed)
        with pytest.raises(RequestError, match="seed"):
            illume.session(seed=seed)


def test_memory_is_how_many_turns_an_answer_sees(illume: Recording) -> None:
    session = illume.session(seed=1, memory=1)
    for prompt in ("one", "two", "three"):
        session.draw(prompt)
    assert [turn.saw for turn in session.turns] == [0, 1, 1]
    assert session.context(2) == list(messages_of(session.turns[1:2]))
    assert illume.held[-1][0].messages == (*session.context(2), session.turns[2].asked)
    alone = session.branch(memory=0)
    asked = alone.ask("how many?", "picture-1", **FEW)
    request = illume.held[-1][0]
    assert (len(request.messages), list(request.images)) == (1, ["picture-1"])
    again = illume.run([illume.request("ask", request.messages, request.images, alone.turns[-1].seed, **FEW)])
    assert again[0].text == asked
    with pytest.raises(RequestError, match="memory"):
        illume.session(memory=-1)


def test_memory_that_is_not_said_is_the_model_s() -> None:
    parts = session_parts()
    lone = Illume(replace(parts, generation=replace(parts.generation, memory=0)))
    assert [lone.session().memory, Session(lone).memory, lone.session(memory=2).memory] == [0, 0, 2]
    assert lone.session(memory=None).memory is Illume(parts).session().memory is None
    with pytest.raises(ValueError, match="memory"):
        replace(parts.generation, memory=-1)


def test_pictures_that_are_given_out_are_copies(illume: Recording) -> None:
    session = illume.session()
    for given_out in (session.draw("x"), session.pictures["picture-1"], session.picture("picture-1")):
        before = session.picture("picture-1").tobytes()
        given_out.paste((0, 0, 0), (0, 0, *SIZE))
        assert session.picture("picture-1").tobytes() == before
    mine = picture()
    session.say("look", [mine], mode="text", **FEW)
    before = session.picture("picture-2").tobytes()
    mine.paste((0, 0, 0), (0, 0, *SIZE))
    assert session.picture("picture-2").tobytes() == before


def test_a_conversation_too_long_says_how_long() -> None:
    short = Illume(session_parts(max_length=140))
    session = short.session()
    with pytest.raises(ContextError, match=r"undo.*branch.*memory") as caught:
        all(session.draw("one") for _ in range(9))
    needed, turns = caught.value.needed, session.turns
    assert needed > caught.value.available == 140
    assert f"{needed} ids" in str(caught.value)
    assert f"turn {len(turns)}" in str(caught.value)
    assert len(turns) >= 1
    session.branch(memory=0).draw("one")
    session.undo()
    session.draw("one")
    assert session.turns == turns


def check_unchanged(session: Session, attempt: Callable[[], object], error: type[BaseException], words: str) -> None:
    before = (session.turns, pictures_of(session))
    with pytest.raises(error, match=words):
        attempt()
    assert (session.turns, pictures_of(session)) == before


def test_what_fails_leaves_the_session_as_it_was(illume: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = illume.session()
    check_unchanged(empty, lambda: empty.ask("how many?"), RequestError, "no picture in this session")
    session = illume.session(seed=4)
    session.draw("one")
    attempts: list[tuple[Callable[[], object], type[BaseException], str]] = [
        (lambda: session.assess("one", max_new_text=4), DataError, "verdict"),
        (lambda: session.say("half \ud800"), Exception, "surrogate"),
        (lambda: session.say("this", ["no-such.png"]), DataError, "no-such"),
        (lambda: session.say("this", [picture(), b"not one"]), DataError, "not an image"),
        (lambda: session.ask("which?", []), RequestError, "one picture or more"),
        (lambda: session.draw("x", temperature=-1), RequestError, "temperature"),
        (lambda: session.draw("x", max_new_text=3), RequestError, "max_new_text"),
        (lambda: session.ask("x", guidance=2.0), RequestError, "guidance"),
        (lambda: session.branch(2), RequestError, "no turn 2"),
        (lambda: session.context(1), RequestError, "no turn 1"),
        (lambda: session.picture("picture-2"), RequestError, "no picture-2"),
    ]
    for attempt, error, words in attempts:
        check_unchanged(session, attempt, error, words)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("illume.generate.runner.Runner.advance", stopped)
        check_unchanged(session, lambda: session.draw("two"), KeyboardInterrupt, "^$")
    fresh = model().session(seed=4)
    fresh.draw("one")
    assert session.draw("two").tobytes() == fresh.draw("two").tobytes()  # nothing half-done is left in the engine


def test_answers_tell_words_from_pictures(illume: Recording) -> None:
    session = illume.session(seed=5)
    answers = [session.say("draw, then speak", max_new_text=6) for _ in range(3)]
    mixed = next(answer for answer in answers if answer.pictures and answer.text)
    assert str(mixed) == mixed.text == "".join(part for part in mixed.parts if isinstance(part, str))
    assert all(one.size == SIZE for one in mixed.pictures)
    names = [name for turn in session.turns for name in turn.drawn]
    assert names == list(session.pictures)
    words = session.say("only words", mode="text", **FEW)
    assert (words.pictures, words.finished) == ((), session.turns[-1].finished)


def test_a_name_is_a_picture_of_the_session_before_it_is_a_file(
    illume: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    picture(9).save("picture-1", "PNG")
    session = illume.session()
    session.say("mine", ["picture-1"], mode="text", **FEW)  # there is none of this name yet: the file
    session.say("again", ["picture-1"], mode="text", **FEW)
    session.say("the file", [Path("picture-1")], mode="text", **FEW)
    assert list(session.pictures) == ["picture-1", "picture-2"]
    assert session.turns[1].asked == Message("user", (ImagePart(illume.frame), TextPart("again")))


def test_a_model_that_reads_codes_holds_sessions_too(tmp_path: Path) -> None:
    coded = Recording(replace(session_parts(), reading="codes"))
    session = coded.session(seed=2)
    session.draw("one")
    session.edit("turn it")
    session.say("which of them?", ["picture-1", picture()], **FEW)
    session.save(tmp_path / "s")
    loaded = coded.session(tmp_path / "s")
    assert loaded.say("go on", **FEW).text == session.say("go on", **FEW).text
    assert not any(coded.parts.layout.slot in held.prompt for held in coded.held)


def test_a_session_takes_seed_and_memory_from_its_folder(illume: Recording, tmp_path: Path) -> None:
    illume.session(seed=6, memory=2).save(tmp_path / "s")
    loaded = illume.session(tmp_path / "s")
    assert (loaded.seed, loaded.memory, loaded.turns) == (6, 2, ())
    with pytest.raises(RequestError, match="has its seed"):
        illume.session(tmp_path / "s", seed=1)


WRONG_NUMBERS = (1.5, "a", "1", True, None, -1, MOST, [1], np.float64(2))


def test_what_could_not_be_loaded_again_is_not_begun(illume: Recording, tmp_path: Path) -> None:
    for wrong in WRONG_NUMBERS:
        for name in ("seed", "memory", "slices"):
            if wrong is not None or name == "slices":
                with pytest.raises(RequestError, match=f"{name}.* is a whole number"):
                    Session(illume, replace(Conversation(), **{name: wrong}))
        if wrong is not None:
            with pytest.raises(RequestError, match="seed is a whole number"):
                illume.session().draw("one", seed=wrong)
            with pytest.raises(RequestError, match="memory"):
                illume.session().branch(memory=wrong)
            with pytest.raises(RequestError, match="turn"):
                illume.session().branch(wrong)
        with pytest.raises(RequestError, match="turns"):
            illume.session().undo(wrong)
    for one in (np.int64(3), np.uint8(3), 3):
        session = illume.session(seed=one, memory=one)
        session.draw("one", seed=one)
        session.save(tmp_path / "s")
        again = illume.session(tmp_path / "s")
        assert (again.seed, again.memory, again.turns[0].seed) == (3, 3, 3)


def test_without_the_check_a_session_is_saved_that_cannot_be_loaded(
    illume: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("illume.session.session.checked", lambda conversation: conversation)
    illume.session(seed=1.5).save(tmp_path / "s")
    with pytest.raises(DataError, match="whole numbers"):
        illume.session(tmp_path / "s")


def test_arguments_are_not_taken_for_others(illume: Recording) -> None:
    session = illume.session()
    for mode in ("txt", "image", "", None, ["text"]):
        with pytest.raises(RequestError, match="mode is one of 'auto', 'text'"):
            session.say("hello", mode=mode)
    for alone in ("a.png", b"a", picture(), np.zeros((2, 2, 3), np.uint8), Path("a.png"), {"a": picture()}, None):
        with pytest.raises(RequestError, match="in a list"):
            session.say("hello", alone)
    assert session.turns == ()
