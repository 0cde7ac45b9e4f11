"""The engine gives the answers that the slow way gives: without a cache, without a batch, one forward an id."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from fixtures.tiny_drawing import SIZE, WIDE, SlowAnswer, ask, chat, draw, edit, engine, layout, picture, text_format
from illume.core.errors import ModelError, RequestError
from illume.generate.engine import Engine
from illume.generate.request import Request, Result, Sampling
from illume.generate.runner import Runner
from illume.generate.sequence import Sequence, Stretch
from illume.tasks import prompts
from illume.vocab.format import parse_parts
from illume.vocab.messages import ImagePart, TextPart

VARIED = (
    draw(seed=1),
    draw("two blue squares beside a small green triangle", WIDE, guidance=(0.5, 2.0), seed=12),
    edit(guidance=1.5, seed=3),
    edit(seed=4),
    ask(seed=5),
    ask("what is left of the circle, and what colour has it?", seed=6),
    draw("x", sized=True, guidance=3.0, seed=7),
    chat(seed=8),
    chat("draw two", guidance=2.0, seed=9),
    chat("any size", None, seed=10, guidance=0.5),
)


@cache
def slow_answers() -> list[tuple[int, ...]]:
    return [SlowAnswer(request).ids() for request in VARIED]


@cache
def answers() -> list[Result]:
    return engine(rows=5).run(VARIED)


def check_engine_equals_slow_way(tested: Engine) -> None:
    assert [result.ids for result in tested.run(VARIED)] == slow_answers()


@pytest.mark.parametrize("strict", [False, True])
def test_answers_are_those_of_the_slow_way(strict: bool) -> None:
    check_engine_equals_slow_way(engine(rows=5, strict=strict))


def test_the_varied_requests_cover_what_they_should() -> None:
    results = answers()
    drawn = [part for result in results[7:] for part in result.parts if isinstance(part, ImagePart)]
    assert len(drawn) >= 3, "the conversations should draw"
    assert any(isinstance(part, TextPart) for result in results[7:] for part in result.parts)
    assert {result.finished for result in results} == {"end", "length"}


def _forget_the_dropped_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "dropped", list)


def _let_places_lag_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    take = Sequence.take

    def lagging(self: Sequence, id: int) -> None:
        place = self.node.place
        take(self, id)
        self.written.places[-1] = place

    monkeypatch.setattr(Sequence, "take", lagging)


def _mix_up_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    see = Runner.see
    monkeypatch.setattr(Runner, "see", lambda self, images: see(self, images)[::-1])


def _leave_rows_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runner, "clear", lambda self, row: None)
    monkeypatch.setattr(Runner, "recall", lambda self, source, row, count: None)


def _take_any_image_for_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("illume.generate.sequence.name_of", lambda pixels: "an image")


def _skip_the_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    look_again = Sequence.look_again

    def blind(self: Sequence, *seen: Any) -> Stretch:
        return look_again(self, seen[0], tuple(torch.zeros_like(level) for level in seen[1]))

    monkeypatch.setattr(Sequence, "look_again", blind)


@pytest.mark.parametrize(
    "broken",
    [
        _forget_the_dropped_instruction, _let_places_lag_behind, _mix_up_slots, _leave_rows_full, _skip_the_second_look,
        _take_any_image_for_the_same,
    ],
)  # fmt: skip
def test_the_check_catches_a_broken_engine(monkeypatch: pytest.MonkeyPatch, broken: Any) -> None:
    slow_answers()
    broken(monkeypatch)
    with pytest.raises((AssertionError, RequestError)):  # RequestError: it ran out of positions
        check_engine_equals_slow_way(engine(rows=5))


def test_a_drawn_image_has_the_codes_and_the_frame_that_were_asked_for() -> None:
    (result,) = engine().run([draw(frame=WIDE, sized=True)])
    (image,) = result.parts
    assert isinstance(image, ImagePart)
    assert image.frame == WIDE
    assert image.codes is not None
    assert [len(level) for level in image.codes] == [2, 8]
    assert result.finished == "end"
    assert result.usage.image_ids == len(result.ids) - 1


def test_what_was_painted_for_a_second_look_comes_back_with_its_part() -> None:
    results = answers()[7:9]
    shown = [(part, result) for result in results for part in result.parts if isinstance(part, ImagePart)]
    assert shown
    assert all(result.images[str(part.image)].shape == (3, SIZE, SIZE) for part, result in shown)


def test_the_parts_of_an_answer_are_its_ids_parsed() -> None:
    for result in answers()[:7]:
        assert parse_parts(result.ids, layout(), text_format()) == list(result.parts)


def test_steps_hand_out_each_answer_once_and_in_the_end_all() -> None:
    tested = engine(rows=3)
    keys = [tested.add(request) for request in VARIED]
    found = {}
    while tested.busy:
        for result in tested.step():
            assert result.key not in found
            found[result.key] = result.ids
    assert tested.step() == []
    assert [found[key] for key in keys] == [result.ids for result in answers()]


def test_run_keeps_the_answers_of_others_for_step() -> None:
    tested = engine()
    key = tested.add(draw(seed=5))
    (own,) = tested.run([ask()])
    rest: list[int] = []
    while tested.busy:
        rest += [result.key for result in tested.step()]
    assert rest == [key] != [own.key]


def test_an_image_shared_by_many_requests_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    see = Runner.see
    monkeypatch.setattr(Runner, "see", lambda self, images: counts.append(len(images)) or see(self, images))
    shown = picture(3)
    engine().run([ask(question, images={"shown": shown}) for question in ("one?", "two?", "three?")])
    assert counts == [1]


def test_one_forward_a_step_and_none_for_what_is_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    forwards: list[int] = []
    advance = Runner.advance
    monkeypatch.setattr(Runner, "advance", lambda self, nexts: forwards.append(len(nexts)) or advance(self, nexts))
    engine().run([draw(guidance=2.0), draw("another", seed=3)])
    # the first two ids are prefilled; row ends and markers go in with the code before them
    assert forwards == [3] * (20 - 1)


def test_words_stop_at_their_limit() -> None:
    (result,) = engine().run([ask(max_new_text=3, seed=11)])
    assert result.finished == "length"
    assert result.usage.text_ids == 3 == len(result.ids)


def test_words_stop_where_the_row_ends() -> None:
    tested = engine(max_length=60)
    (result,) = tested.run([replace(ask(seed=11), max_new_text=None)])
    assert result.finished == "length"
    assert result.usage.prompt_ids + len(result.ids) == 61  # the last id is never fed


def test_no_image_begins_where_none_fits() -> None:
    request = replace(chat(), max_new_text=None)
    for result in engine(max_length=110).run([replace(request, seed=seed) for seed in range(4)]):
        assert all(part.codes is not None for part in result.parts if isinstance(part, ImagePart))


@pytest.mark.parametrize(
    ("request_", "settings", "words"),
    [
        (draw("a " * 100), {}, r"needs \d+ positions"),
        (ask(max_new_text=150), {}, "150 for words"),
        (draw(guidance=2.0), {"rows": 1}, "two rows"),
        (replace(ask(), images={}), {}, "shown"),
        (ask(images={"shown": torch.zeros(3, 4, 4)}), {}, "1x1 at level 0"),
    ],
)
def test_a_request_that_cannot_be_served_is_refused(request_: Request, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        engine(**settings).run([request_])


def test_looking_again_needs_a_painter() -> None:
    with pytest.raises(ModelError, match="painter"):
        engine(paint=None).add(chat())


def test_greedy_answers_do_not_depend_on_the_seed() -> None:
    greedy = {"text": Sampling(temperature=0), "image": Sampling(temperature=0)}
    first, second = engine().run([draw(sampling=greedy, seed=1), draw(sampling=greedy, seed=2)])
    assert first.ids == second.ids


@pytest.mark.parametrize("request_", [draw(guidance=(1.0, 2.0, 3.0)), chat("any size", None, guidance=(2.0,))])
def test_guidance_for_other_levels_than_there_are_is_refused(request_: Request) -> None:
    with pytest.raises(RequestError, match=r"guidance has . scales, images 2 levels"):
        engine().add(request_)
