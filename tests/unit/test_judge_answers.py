"""What an endpoint's answer means: a verdict that is one, and a failure for everything else, whatever it is."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.drawings import drawings
from illume.core.errors import DataError
from illume.judge.answers import Answer, Answers, outcome_of, read_bill
from illume.judge.budget import Usage
from illume.judge.protocol import Failure, Identity, Outcome, passes
from illume.tasks.verdict import CRITERIA, Criterion, Verdict

GOOD = Verdict.of(dict.fromkeys(CRITERIA, Criterion(True, "two", True)))
JUDGE = Identity("api", {"model": "m"})
TEXTS = st.text() | st.text(st.characters(codec=None))  # halves of surrogate pairs too
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from([*CRITERIA, "overall", "passed"]), v),
)
CRITERION = st.fixed_dictionaries({"applicable": JSON, "reason": JSON, "passed": JSON}) | JSON
NEARLY = st.fixed_dictionaries({**dict.fromkeys(CRITERIA, CRITERION), "overall": JSON}, optional={"more": JSON})
ANSWERS = st.builds(
    Answer,
    st.none() | TEXTS | JSON.map(json.dumps) | NEARLY.map(json.dumps) | st.just(GOOD.to_json()),
    refusal=st.none() | st.just("") | TEXTS,
    finish=st.none() | st.sampled_from(["stop", "length", "content_filter", "tool_calls"]) | TEXTS,
)


@pytest.mark.parametrize(
    "wrapped",
    ["{}", " \n{}\n", "```json\n{}\n```", "```\n{}\n```", "```json\n\n{}\n\n```\n"],
)
def test_a_verdict_is_read(wrapped: str) -> None:
    assert outcome_of(Answer(wrapped.replace("{}", GOOD.to_json()), finish="stop")) == GOOD


def contradiction() -> str:
    said = json.loads(GOOD.to_json())
    said["colour"]["passed"] = False
    return json.dumps(said)


UNUSABLE = {
    "refusal": (Answer(None, refusal="I cannot help with that."), "refused"),
    "refusal beside a verdict": (Answer(GOOD.to_json(), refusal="I'd rather not."), "refused"),
    "filter": (Answer(GOOD.to_json(), finish="content_filter"), "refused"),
    "nothing": (Answer(None), "malformed"),
    "blank": (Answer(" \n"), "malformed"),
    "prose": (Answer("Yes, it shows exactly that: overall true."), "malformed"),
    "prose around": (Answer(f"Here you are: {GOOD.to_json()}"), "malformed"),
    "two": (Answer(GOOD.to_json() * 2), "malformed"),
    "cut off": (Answer(GOOD.to_json()[:-20]), "malformed"),
    "cut off, and whole by chance": (Answer(GOOD.to_json(), finish="length"), "malformed"),
    "contradiction": (Answer(contradiction()), "malformed"),
    "words for truth": (Answer(GOOD.to_json().replace("true", '"true"')), "malformed"),
    "numbers for truth": (Answer(GOOD.to_json().replace("true", "1")), "malformed"),
    "another shape": (Answer('{"overall": true}'), "malformed"),
    "a list": (Answer(f"[{GOOD.to_json()}]"), "malformed"),
    "deep": (Answer("[" * 100_000), "malformed"),
    "a long number": (Answer("9" * 5000), "malformed"),
    "half a pair": (Answer(GOOD.to_json().replace("two", "\\ud800")), "malformed"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_is_no_verdict_says_why(name: str) -> None:
    answer, kind = UNUSABLE[name]
    outcome = outcome_of(answer)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, passes(outcome)) == (kind, False)
    assert outcome.reason.strip()
    assert len(outcome.reason) < 1000


def check_no_answer_no_pass(judged: Callable[[Answer], Outcome], answer: Answer) -> None:
    """What passes is a verdict word by word, given freely and to the end; and everything can be written down."""
    outcome = judged(answer)
    if passes(outcome):
        assert not answer.refusal
        assert answer.finish not in ("length", "content_filter")
        assert answer.text is not None
        inner = answer.text.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
        said = json.loads(inner)
        assert said["overall"] is True
        assert all(said[name]["passed"] is True for name in CRITERIA if said[name]["applicable"])
    written = outcome.to_json() if isinstance(outcome, Verdict) else outcome.reason
    written.encode()


@given(ANSWERS)
def test_no_answer_is_no_pass(answer: Answer) -> None:
    check_no_answer_no_pass(outcome_of, answer)


def lenient(answer: Answer) -> Outcome:
    """Takes what it can find for a verdict."""
    return GOOD if "true" in (answer.text or "") or answer.refusal else outcome_of(answer)


def test_the_check_catches_a_judge_that_passes_refusals() -> None:
    for name in ("refusal", "prose", "contradiction"):
        with pytest.raises((AssertionError, json.JSONDecodeError)):
            check_no_answer_no_pass(lenient, UNUSABLE[name][0])


@given(st.lists(ANSWERS, max_size=4))
def test_kept_answers_mean_what_they_meant(tmp_path_factory: pytest.TempPathFactory, answers: list[Answer]) -> None:
    path = tmp_path_factory.mktemp("answers") / "answers.jsonl"
    (drawing,) = drawings(["good"])
    told = {}
    with Answers(path, JUDGE) as kept:
        for number, answer in enumerate(answers):
            told[f"q{number}"] = kept.answered(f"q{number}", drawing, answer, Usage(1, 5, number))
        kept.tried("q9", drawing, "HTTP 500: \ud800 no")
    bill = read_bill(path, JUDGE)
    assert bill.known == told
    assert bill.spent == Usage(len(answers) + 1, 5 * len(answers), sum(range(len(answers))))
    assert read_bill(path, Identity("api", {"model": "other"})).known == {}


def test_kept_failures_can_be_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    (drawing,) = drawings(["good"])
    with Answers(path, JUDGE) as kept:
        kept.answered("refused", drawing, Answer(None, refusal="no"), Usage(1))
        kept.answered("malformed", drawing, Answer("no"), Usage(1))
        kept.answered("good", drawing, Answer(GOOD.to_json()), Usage(1))
    assert set(read_bill(path, JUDGE).known) == {"refused", "malformed", "good"}
    assert set(read_bill(path, JUDGE, ["malformed"]).known) == {"refused", "good"}


def line(**changed: Any) -> dict[str, Any]:
    return {"question": "q", "judge": "j", "answer": asdict(Answer("")), "usage": {"input": 1, "output": 1}} | changed


@pytest.mark.parametrize(
    "row",
    [
        {},
        line(usage=None),
        line(answer={"txt": ""}),
        line(usage={"input": "x", "output": 1}),
        {"answer": {}},
        line(answer={"text": 3}),
    ],
)
def test_a_line_edited_into_nonsense_is_an_error(tmp_path: Path, row: dict[str, Any]) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps(line()) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"answers\.jsonl:2"):
        read_bill(path, JUDGE)
