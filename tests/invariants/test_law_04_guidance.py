"""Law 4, the engine's half: at scale 1 guidance is no guidance; the second row reads the dropped conversation."""

from collections.abc import Sequence as Seq
from dataclasses import replace

import pytest
import torch

from fixtures.tiny_drawing import WIDE, chat, draw, edit, engine, layout, text_format
from illume.generate.request import Request, Scale
from illume.generate.runner import Job, Runner
from illume.tasks.prompts import dropped
from illume.vocab.format import render
from illume.vocab.messages import ImagePart

REQUESTS = (draw(seed=1), draw("a very small green triangle", WIDE, sized=True, seed=2), edit(seed=3), chat(seed=4))
ALMOST_ONE = 1 + 1e-9  # asks for the second row, whose logits then weigh nothing


def guided(requests: Seq[Request], scale: Scale) -> list[Request]:
    return [replace(request, guidance=scale) for request in requests]


def ids(requests: Seq[Request]) -> list[tuple[int, ...]]:
    return [result.ids for result in engine(rows=8).run(requests)]


def check_scale_one_is_no_guidance() -> None:
    assert ids(guided(REQUESTS, ALMOST_ONE)) == ids(guided(REQUESTS, 1.0))


def test_guidance_at_scale_one_is_no_guidance() -> None:
    check_scale_one_is_no_guidance()


def test_guidance_at_another_scale_is_felt() -> None:
    assert ids(guided(REQUESTS[:3], 4.0)) != ids(guided(REQUESTS[:3], 1.0))


def codes(scale: Scale) -> list[tuple[tuple[int, ...], ...]]:
    """The codes of each drawing, level by level."""
    results = engine(rows=8).run(guided([draw(seed=seed) for seed in range(4)], scale))
    return [part.codes for result in results for part in result.parts if isinstance(part, ImagePart)]


def check_a_level_is_guided_alone() -> None:
    assert codes((4.0, 4.0)) == codes(4.0)
    plain, later, first = codes(1.0), codes((1.0, 4.0)), codes((4.0, 1.0))
    assert [one[0] for one in later] == [one[0] for one in plain]  # what comes first knows nothing of the second level
    assert [one[1] for one in later] != [one[1] for one in plain]
    assert [one[0] for one in first] == [one[0] for one in codes(4.0)]


def test_a_scale_for_a_level_is_felt_there_alone() -> None:
    check_a_level_is_guided_alone()


def test_the_check_catches_one_scale_for_all_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Request, "guidance_of", lambda self, region: self.scales[-1])
    with pytest.raises(AssertionError):
        check_a_level_is_guided_alone()


def test_the_check_catches_a_formula_off_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("illume.generate.guidance.combine", lambda cond, uncond, scale: cond + 2 * (cond - uncond))
    with pytest.raises(AssertionError):
        check_scale_one_is_no_guidance()


def test_scale_zero_draws_what_the_dropped_conversation_draws() -> None:
    plain = [replace(request, messages=tuple(dropped(request.messages))) for request in REQUESTS[:3]]
    assert ids(guided(REQUESTS[:3], 0.0)) == ids(plain)


def watched(requests: Seq[Request], monkeypatch: pytest.MonkeyPatch) -> dict[int, list[list[int]]]:
    """All ids that each row took in: one list for each time it was read into, what was drawn there appended."""
    taken: dict[int, list[list[int]]] = {}
    read, advance = Runner.read, Runner.advance

    def reading(self: Runner, jobs: Seq[Job]) -> None:
        for job in jobs:
            if not job.at:
                taken.setdefault(job.row, []).append(list(job.stretch.ids))
        read(self, jobs)

    def advancing(self: Runner, nexts: dict) -> None:
        for row, stretch in nexts.items():
            taken[row][-1] += stretch.ids
        advance(self, nexts)

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "read", reading)
        patch.setattr(Runner, "advance", advancing)
        engine(rows=8).run(requests)
    return taken


def check_rows_differ_only_in_the_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    for request in guided(REQUESTS[:3], 2.0):
        taken = watched([request], monkeypatch)
        prompts = [
            render(list(m), layout(), text_format(), prompt=True).ids
            for m in (request.messages, dropped(request.messages))
        ]
        written = [taken[row][0][len(prompt) :] for row, prompt in enumerate(prompts)]
        assert [tuple(taken[row][0][: len(prompt)]) for row, prompt in enumerate(prompts)] == prompts
        assert written[0] == written[1]
        assert written[0]


def test_the_rows_differ_only_in_the_instruction_and_take_the_same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    check_rows_differ_only_in_the_instruction(monkeypatch)


def test_the_check_catches_a_second_row_that_reads_the_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("illume.tasks.prompts.dropped", list)
    with pytest.raises(AssertionError):
        check_rows_differ_only_in_the_instruction(monkeypatch)


def test_the_second_row_lives_from_the_start_of_an_image_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    start, end = layout().marker("start_of_image"), layout().marker("end_of_image")
    asked = [watched([request], monkeypatch) for request in guided([chat(seed=seed) for seed in range(6)], 2.0)]
    second = [ids_of_row for taken in asked for ids_of_row in taken.get(1, [])]  # a new engine's first pair: 0 and 1
    assert second, "one of the conversations should draw"
    for ids_of_row in second:
        assert ids_of_row.count(start) - ids_of_row.count(end) == 1  # the end itself concerns the first row alone


def test_guidance_is_felt_only_inside_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    widths: set[int] = set()

    def watching(cond: torch.Tensor, uncond: torch.Tensor, scale: object) -> torch.Tensor:
        widths.add(cond.shape[-1])
        return cond

    monkeypatch.setattr("illume.generate.guidance.combine", watching)
    engine(rows=8).run(guided(REQUESTS, 2.0))
    assert widths == {24, 40}  # the codebooks; never words
