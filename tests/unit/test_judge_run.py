"""Judging into a file: killed anywhere and run again it ends with the same file, and nothing is asked twice."""

import random
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from fixtures.chat_server import verdict_on
from fixtures.drawings import drawings, picture
from illume.core.errors import DataError, JudgeError
from illume.judge import run
from illume.judge.protocol import Drawing, Failure, Identity, Judgement, Outcome
from illume.judge.run import judge_drawings
from illume.judge.verdicts import Judged, read_verdicts

PROMPTS = [f"{'good' if i % 3 else 'bad'} {i}" for i in range(7)] + ["refuse", "away"]


def say(drawing: Drawing) -> Outcome:
    if drawing.prompt == "refuse":
        return Failure("refused", "no")
    return Failure("unavailable", "HTTP 500") if drawing.prompt == "away" else verdict_on(drawing.prompt)


class Scripted:
    """Answers in a shuffled order and is killed after so many answers; it remembers what was asked, like a server."""

    def __init__(self, asked: Counter[str], kill_after: int = 10**6, seed: int = 0, name: str = "scripted") -> None:
        self.identity = Identity(name, {"seed": 3})
        self.asked = asked
        self.left = kill_after
        self.seed = seed
        self.closed = False

    def judge(self, drawings: Iterable[Drawing]) -> Iterator[Judgement]:
        try:
            for drawing in self._order(list(drawings)):
                if not self.left:
                    raise KeyboardInterrupt
                self.left -= 1
                self.asked[drawing.prompt] += 1
                yield Judgement(drawing, say(drawing))
        finally:
            self.closed = True

    def _order(self, drawings: list[Drawing]) -> list[Drawing]:
        return random.Random(self.seed).sample(drawings, len(drawings))


class InTurn(Scripted):
    """One that answers in the order in which it was asked."""

    def _order(self, drawings: list[Drawing]) -> list[Drawing]:
        return drawings


def whole(path: Path) -> bytes:
    judge_drawings(Scripted(Counter()), drawings(PROMPTS), path)
    return path.read_bytes()


def check_killed_anywhere(folder: Path, judge: type[Scripted], most_asked: int) -> None:
    """After so many answers it is killed, then run to the end: the file is that of a run left alone."""
    expected = whole(folder / "whole.jsonl")
    for kill_after in range(len(PROMPTS) + 1):
        path, asked = folder / f"{kill_after}.jsonl", Counter[str]()
        try:
            judge_drawings(judge(asked, kill_after, seed=kill_after), drawings(PROMPTS), path)
        except KeyboardInterrupt:
            judge_drawings(judge(asked, seed=99), drawings(PROMPTS), path, again=())
        assert path.read_bytes() == expected
        assert max(asked.values()) <= most_asked


def test_a_failure_that_comes_out_the_same_is_written_once(tmp_path: Path) -> None:
    path, asked = tmp_path / "verdicts.jsonl", Counter[str]()
    expected = whole(path)
    lines = judge_drawings(Scripted(asked), drawings(PROMPTS), path)
    assert asked == {"away": 1}
    assert lines[-1].outcome == Failure("unavailable", "HTTP 500")
    assert path.read_bytes() == expected


def test_killed_anywhere_it_ends_with_the_same_file(tmp_path: Path) -> None:
    check_killed_anywhere(tmp_path, InTurn, most_asked=1)


def test_answers_out_of_turn_end_in_the_same_file(tmp_path: Path) -> None:
    """Then an answer that overtook others may be asked again: keeping it is the judge's own matter."""
    check_killed_anywhere(tmp_path, Scripted, most_asked=2)


def test_the_check_catches_lines_written_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def as_they_come(
        waiting: Sequence[Drawing], outcomes: dict[str, Outcome], judgements: Iterator[Judgement], identity: Identity
    ) -> Generator[Judged, None, None]:
        for found in judgements:
            outcomes[found.drawing.content] = found.outcome
            yield Judged(found.drawing.key, found.drawing.content, found.drawing.prompt, identity, found.outcome)

    monkeypatch.setattr(run, "_in_order", as_they_come)
    with pytest.raises(AssertionError):
        check_killed_anywhere(tmp_path, Scripted, most_asked=2)


def test_the_check_catches_a_run_that_forgets_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "latest", lambda lines, judge=None: {})
    with pytest.raises(AssertionError):
        check_killed_anywhere(tmp_path, InTurn, most_asked=1)


def test_every_drawing_has_its_line_in_order(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    told: list[int] = []
    judged = judge_drawings(Scripted(Counter()), drawings(PROMPTS), path, on_progress=told.append)
    assert judged == read_verdicts(path)
    assert [line.prompt for line in judged] == PROMPTS
    assert [line.passed for line in judged] == ["good" in prompt for prompt in PROMPTS]
    assert sum(told) == len(PROMPTS)


def test_drawings_alike_are_asked_about_once(tmp_path: Path) -> None:
    asked = Counter[str]()
    alike = [Drawing("good", picture(1), key) for key in "abc"]
    judged = judge_drawings(Scripted(asked), [*alike, Drawing("good", picture(2), "d")], tmp_path / "v.jsonl")
    assert asked == {"good": 2}
    assert [line.key for line in judged] == list("abcd")
    later = judge_drawings(Scripted(asked), [*alike, Drawing("good", picture(1), "e")], tmp_path / "v.jsonl")
    assert asked == {"good": 2}
    assert [line.key for line in read_verdicts(tmp_path / "v.jsonl")] == list("abcde")
    assert [line.passed for line in later] == [True] * 4


def test_what_was_not_answered_is_asked_again_and_failures_on_request(tmp_path: Path) -> None:
    path, asked = tmp_path / "v.jsonl", Counter[str]()
    for again in (("unavailable",), ("unavailable",), ("refused",), ()):
        judge_drawings(Scripted(asked), drawings(PROMPTS), path, again=again)  # type: ignore[arg-type]
    assert {prompt for prompt, times in asked.items() if times > 1} == {"away", "refuse"}
    assert (asked["away"], asked["refuse"]) == (2, 2)


def test_judges_do_not_take_each_others_verdicts(tmp_path: Path) -> None:
    asked, path = Counter[str](), tmp_path / "v.jsonl"
    judge_drawings(Scripted(asked, name="a"), drawings(PROMPTS), path)
    judge_drawings(Scripted(asked, name="b"), drawings(PROMPTS), path)
    assert set(asked.values()) == {2}
    assert len(read_verdicts(path)) == 2 * len(PROMPTS)


def test_a_changed_picture_is_judged_anew_and_an_edited_line_stands(tmp_path: Path) -> None:
    path, asked = tmp_path / "v.jsonl", Counter[str]()
    some = drawings(["good 1", "bad 2"])
    judge_drawings(Scripted(asked), some, path)
    path.write_text(path.read_text().replace('"reason":"good 1"', '"reason":"mine"'))
    first, _ = judge_drawings(Scripted(asked), [some[0], Drawing("bad 2", picture(9), "d1")], path)
    assert first.outcome.object.reason == "mine"  # type: ignore[union-attr]
    assert asked == {"good 1": 1, "bad 2": 2}


def test_a_damaged_picture_is_found_before_anything_is_asked(tmp_path: Path) -> None:
    asked = Counter[str]()
    (tmp_path / "a.png").write_bytes(b"no")
    with pytest.raises(DataError, match="the drawing 'broken'"):
        judge_drawings(
            Scripted(asked), [*drawings(PROMPTS), Drawing("p", tmp_path / "a.png", "broken")], tmp_path / "v"
        )
    assert not asked
    assert not (tmp_path / "v").exists()


def test_a_judge_that_leaves_a_drawing_out_is_told_so(tmp_path: Path) -> None:
    class Lazy(InTurn):
        def judge(self, drawings: Iterable[Drawing]) -> Iterator[Judgement]:
            return (j for j in super().judge(drawings) if j.drawing.prompt != "good 2")

    with pytest.raises(JudgeError, match="said nothing of the drawing 'd2'"):
        judge_drawings(Lazy(Counter()), drawings(PROMPTS), tmp_path / "v.jsonl")
    assert [line.key for line in read_verdicts(tmp_path / "v.jsonl")] == ["d0", "d1"]


@pytest.mark.parametrize("kill_after", [0, 3])
def test_a_judge_is_stopped_when_the_run_stops(tmp_path: Path, kill_after: int) -> None:
    judge = Scripted(Counter(), kill_after)
    with pytest.raises(KeyboardInterrupt):
        judge_drawings(judge, drawings(PROMPTS), tmp_path / "v.jsonl")
    assert judge.closed
