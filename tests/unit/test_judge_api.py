"""The API judge against a real server on loopback that misbehaves in every way; what it may never do, and does not."""

import asyncio
import json
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fixtures.chat_server import (
    Asked,
    ChatServer,
    Drop,
    Late,
    Raw,
    Reaction,
    Say,
    Status,
    chat_server,
    honest,
    verdict_on,
)
from fixtures.drawings import drawings
from illume.core.errors import ConfigError, DataError, JudgeError
from illume.data import json_log
from illume.judge import answers as answers_module
from illume.judge import endpoint
from illume.judge.answers import Answers, read_bill
from illume.judge.api import ApiJudge
from illume.judge.api_config import ApiConfig, Limits, Prices
from illume.judge.budget import Ledger, Usage
from illume.judge.endpoint import _wait_of, verdict_schema
from illume.judge.protocol import Drawing, Failure, Judgement, passes
from illume.judge.run import judge_drawings
from illume.tasks.verdict import Verdict

KEY = "sk-secret-0123456789"
PROMPTS = [f"{'good' if i % 3 else 'bad'} {i}" for i in range(9)]


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(json_log.os, "fsync", lambda file: None)  # no test here pulls the plug, and disks may be busy


def config(server: ChatServer, **changed: Any) -> ApiConfig:
    plain: dict[str, Any] = {"key_env": "TEST_KEY", "first_wait": 0.001, "concurrency": 3, "timeout": 20.0}
    return ApiConfig("some-model", server.url, **{**plain, **changed})


def judged(server: ChatServer, path: Path, prompts: list[str] = PROMPTS, **changed: Any) -> dict[str, Judgement]:
    judge = ApiJudge(config(server, **changed), path)
    return {judgement.drawing.prompt: judgement for judgement in judge.judge(drawings(prompts))}


def once(*first: Reaction) -> Callable[[Asked], Reaction]:
    """Each prompt gets these reactions, one a request, and then an honest answer."""
    return lambda asked: first[asked.before] if asked.before < len(first) else honest(asked)


def only(prompt: str, reaction: Reaction) -> Callable[[Asked], Reaction]:
    """This prompt gets this reaction, always; the others an honest answer."""
    return lambda asked: reaction if asked.prompt == prompt else honest(asked)


def test_it_is_asked_as_the_protocol_says(tmp_path: Path) -> None:
    with chat_server(honest) as server:
        found = judged(server, tmp_path / "a.jsonl")
    assert {prompt: judgement.outcome for prompt, judgement in found.items()} == {p: verdict_on(p) for p in PROMPTS}
    asked = server.asked[0]
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert (asked.body["model"], asked.body["temperature"], asked.body["max_tokens"]) == ("some-model", 0.0, 600)
    assert asked.body["response_format"]["json_schema"]["schema"] == verdict_schema()
    system, user = asked.body["messages"]
    assert (system["role"], user["role"]) == ("system", "user")
    image, text = user["content"]
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    assert text == {"type": "text", "text": f"Assess whether the image shows {asked.prompt}"}
    assert server.most_together <= 3


def test_the_first_question_goes_alone_and_the_rest_together(tmp_path: Path) -> None:
    """Three are under way at once: each answer waits until three have come."""
    three = threading.Barrier(3)

    def react(asked: Asked) -> Reaction:
        if len(server.asked) > 1:
            three.wait(20)
        return honest(asked)

    with chat_server(react) as server:
        assert len(judged(server, tmp_path / "a.jsonl", PROMPTS[:7])) == 7
    assert server.most_together == 3


HALF = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"choices": [{"mess'
PASSING = {
    "500": Status(500, {"error": {"message": "overloaded"}}),
    "503 with HTML": Status(503, "<html>"),
    "429": Status(429, {"error": {"message": "slow down", "type": "rate_limit"}}),
    "a dropped connection": Drop(),
    "an answer that breaks off": Drop(HALF),
    "no HTTP": Drop(b"hello\r\n\r\n"),
    "truncated JSON": Raw(b'{"choices": [{"message": {"content": "{'),
    "an error in disguise": Raw(b'{"error": {"message": "upstream failed"}}'),
    "another shape": Raw(b'{"choices": [{"message": {"content": 7}}]}'),
    "no choices": Raw(b'{"choices": []}'),
    "a list": Raw(b"[]"),
    "deep JSON": Raw(b"[" * 100_000),
    "no text at all": Raw(b"\xff\xfe"),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_asked_again(tmp_path: Path, name: str) -> None:
    with chat_server(once(PASSING[name], PASSING[name])) as server:
        found = judged(server, tmp_path / "a.jsonl", PROMPTS[:4])
    assert {p: j.outcome for p, j in found.items()} == {p: verdict_on(p) for p in PROMPTS[:4]}
    assert len(server.asked) == 12
    bill = read_bill(tmp_path / "a.jsonl", config(server).identity)
    assert (bill.spent.requests, bill.own) == (12, Usage(4, 400, 40))


def test_what_does_not_pass_is_a_failure_and_asked_again_next_time(tmp_path: Path) -> None:
    with chat_server(only("bad 3", Status(500, {"error": {"message": "no"}}))) as server:
        judge = ApiJudge(config(server, attempts=3), tmp_path / "a.jsonl")
        lines = judge_drawings(judge, drawings(PROMPTS), tmp_path / "v.jsonl")
        failed = [line for line in lines if isinstance(line.outcome, Failure)]
        assert [(line.prompt, line.outcome.kind, line.passed) for line in failed] == [  # type: ignore[union-attr]
            ("bad 3", "unavailable", False)
        ]
        assert "after 3 attempts" in failed[0].outcome.reason  # type: ignore[union-attr]
        server.react = honest
        lines = judge_drawings(judge, drawings(PROMPTS), tmp_path / "v.jsonl")
    assert all(isinstance(line.outcome, Verdict) for line in lines)
    assert set(server.answered.values()) - {0} == {1}


NO_VERDICT = {
    "refusal": (Say(None, refusal="I can't help with that."), "refused"),
    "filter": (Say(verdict_on("good").to_json(), finish="content_filter"), "refused"),
    "refused request": (Status(400, {"error": {"message": "no", "code": "content_policy_violation"}}), "refused"),
    "prose": (Say("It all passes: true."), "malformed"),
    "truncated": (Say(verdict_on("good").to_json()[:-9], finish="length"), "malformed"),
    "nothing": (Say(None), "malformed"),
    "too large": (Status(413, {"error": {"message": "image too large"}}), "unfit"),
}


def check_no_pass_without_a_verdict(path: Path, name: str) -> None:
    """It is kept as what it is, is never a pass, and is not paid for again."""
    reaction, kind = NO_VERDICT[name]
    with chat_server(only("good 4", reaction)) as server:
        judge = ApiJudge(config(server), path / "a.jsonl")
        for _ in range(2):
            lines = judge_drawings(judge, drawings(PROMPTS), path / "v.jsonl")
    found = {line.prompt: line for line in lines}["good 4"]
    assert isinstance(found.outcome, Failure)
    assert (found.outcome.kind, found.passed, passes(found.outcome)) == (kind, False, False)
    assert sum(line.passed for line in lines) == sum("good" in prompt for prompt in PROMPTS) - 1
    assert len(server.asked) == len(PROMPTS)


@pytest.mark.parametrize("name", NO_VERDICT)
def test_no_pass_without_a_verdict(tmp_path: Path, name: str) -> None:
    check_no_pass_without_a_verdict(tmp_path, name)


def test_the_check_catches_a_judge_that_counts_refusals_as_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers_module, "outcome_of", lambda answer: verdict_on("good"))
    with pytest.raises(AssertionError):
        check_no_pass_without_a_verdict(tmp_path, "refusal")


@pytest.mark.parametrize(
    ("refused", "form"),
    [
        ({"json_schema"}, "object"),
        ({"json_schema", "json_object"}, "words"),
        ({"max_tokens"}, "schema"),
        ({"max_tokens", "json_schema"}, "object"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_a_server_is_asked_as_it_understands(tmp_path: Path, refused: set[str], form: str, named: bool) -> None:
    """A format it refuses is not tried again, whether it says what it refuses or not."""

    def react(asked: Asked) -> Reaction:
        given = asked.body.get("response_format", {}).get("type")
        wrong = [name for name in refused if name == given or (name == "max_tokens" and name in asked.body)]
        if not wrong:
            return honest(asked)
        said = f"unsupported: {wrong[0]}" if named or wrong[0] == "max_tokens" else "bad request"
        return Status(400, {"error": {"message": said}})

    with chat_server(react) as server:
        found = judged(server, tmp_path / "a.jsonl")
    assert sum(j.passed for j in found.values()) == 6
    assert len(server.asked) == len(PROMPTS) + len(refused)
    kept = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert {line["answer"]["form"] for line in kept if "answer" in line} == {form}


FATAL = {
    401: (Status(401, {"error": {"message": "Incorrect API key provided: sk-secret-0123456789"}}), "not accepted"),
    403: (Status(403, {"error": {"message": "no"}}), "may not"),
    402: (Status(402, {"error": "pay first"}), "nothing is left"),
    404: (Status(404, {"error": {"message": "The model some-model does not exist"}}), "some-model"),
    400: (Status(400, {"error": {"message": "temperature is not supported", "param": "temperature"}}), "temperature"),
    301: (Status(301, "", {"Location": "https://elsewhere/"}), "elsewhere"),
    429: (Status(429, {"error": {"message": "you exceeded", "code": "insufficient_quota"}}), "nothing is left"),
}


@pytest.mark.parametrize("code", FATAL)
def test_what_is_no_use_is_said_at_once_and_nothing_is_lost(tmp_path: Path, code: int) -> None:
    reaction, said = FATAL[code]
    with chat_server(honest) as server:
        judge = ApiJudge(config(server, concurrency=1), tmp_path / "a.jsonl")
        list(judge.judge(drawings(PROMPTS[:1])))
        server.react = lambda asked: reaction
        before = len(server.asked)
        if code != 400:  # from one who has answered before, a 400 is about this question
            with pytest.raises(JudgeError, match=said):
                judge_drawings(judge, drawings(PROMPTS), tmp_path / "v.jsonl")
            assert len(server.asked) - before == 1
        server.react = honest
        assert len(judge_drawings(judge, drawings(PROMPTS), tmp_path / "v.jsonl")) == 9
    assert set(server.answered.values()) == {1}


@pytest.mark.parametrize("code", FATAL)
def test_what_is_no_use_from_the_start_is_said_at_once(tmp_path: Path, code: int) -> None:
    reaction, said = FATAL[code]
    with chat_server(lambda asked: reaction) as server, pytest.raises(JudgeError, match=said) as told:
        judged(server, tmp_path / "a.jsonl")
    assert len(server.asked) <= 3  # a 400 may be about the way of asking: that is tried
    assert KEY not in str(told.value)


def test_an_unreachable_endpoint_is_said_at_once(tmp_path: Path) -> None:
    with chat_server(honest) as server:
        pass
    with pytest.raises(JudgeError, match=r"cannot be reached.*Is the server running"):
        judged(server, tmp_path / "a.jsonl", first_wait=1000.0)


def test_a_wrong_path_is_said(tmp_path: Path) -> None:
    with chat_server(honest) as server, pytest.raises(JudgeError, match="no such endpoint"):
        list(ApiJudge(replace(config(server), url=server.url + "/more"), tmp_path / "a.jsonl").judge(drawings(PROMPTS)))


def test_a_server_that_goes_away_is_waited_for_and_then_said(tmp_path: Path) -> None:
    with chat_server(honest) as server:
        judge = ApiJudge(config(server, attempts=2, stop_after=3, concurrency=1), tmp_path / "a.jsonl")
        with closing(judge.judge(drawings(PROMPTS))) as found:  # type: ignore[type-var]
            next(found)
            server.react = lambda asked: Drop()
            with pytest.raises(JudgeError, match="3 questions in a row"):
                list(found)
        server.react = honest
        assert len(judged(server, tmp_path / "a.jsonl")) == 9
    assert max(server.answered.values()) == 1


def test_a_slow_answer_is_given_up_and_asked_again(tmp_path: Path) -> None:
    never = threading.Event()
    with chat_server(lambda asked: honest(asked) if asked.before else Late(never, Drop())) as server:
        found = judged(server, tmp_path / "a.jsonl", PROMPTS[:2], timeout=0.3)
        never.set()
    assert {p: j.outcome for p, j in found.items()} == {p: verdict_on(p) for p in PROMPTS[:2]}


def check_left_alone(path: Path, wait: float) -> None:
    """Nobody asks anything before Retry-After has passed."""
    told: list[float] = []

    def react(asked: Asked) -> Reaction:
        if asked.prompt == PROMPTS[1] and not asked.before:
            told.append(asked.at)
            return Status(429, {"error": "slow down"}, {"Retry-After": str(wait)})
        return honest(asked)

    with chat_server(react) as server:
        assert len(judged(server, path, concurrency=1)) == 9
    assert all(asked.at >= told[0] + wait for asked in server.asked[2:])


def test_retry_after_is_honoured(tmp_path: Path) -> None:
    check_left_alone(tmp_path / "a.jsonl", 0.3)


def test_the_check_catches_one_that_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_wait_of", lambda response: None)
    with pytest.raises(AssertionError):
        check_left_alone(tmp_path / "a.jsonl", 0.3)


def test_retry_after_is_seconds_or_a_date() -> None:
    def waits(said: str) -> float | None:
        return _wait_of(httpx2.Response(429, headers={"Retry-After": said}))

    assert (waits("7"), waits("0.5"), waits(""), waits("soon")) == (7.0, 0.5, None, None)
    later, earlier = (format_datetime(datetime.now(UTC) + timedelta(hours=h), usegmt=True) for h in (1, -1))
    assert 3500 < (waits(later) or 0) <= 3600
    assert waits(earlier) == 0.0


def test_a_wait_that_is_too_long_is_said(tmp_path: Path) -> None:
    react = only("good 4", Status(429, {"error": "tomorrow"}, {"Retry-After": "86400"}))
    with chat_server(react) as server, pytest.raises(JudgeError, match="left alone for 86400 s"):
        judged(server, tmp_path / "a.jsonl")


def check_budget(path: Path, limits: Limits) -> None:
    """No limit is ever exceeded, over however many runs; then it goes on where it was, and nothing is asked twice."""
    prices = Prices(input=1e6, output=2e6)  # a token is 1 or 2 in money
    with chat_server(honest) as server:
        for _ in range(3):
            with pytest.raises(JudgeError, match="limit of"):
                judged(server, path, limits=limits, prices=prices, max_answer_tokens=10, detail="low")
            took = read_bill(path, config(server).identity).spent
            assert took.requests <= (limits.requests or 10**9)
            assert took.input + took.output <= (limits.tokens or 10**9)
            assert (took.cost(prices) or 0) <= (limits.money or 1e9)
        assert 0 < len(server.asked) < len(PROMPTS)
        found = judged(server, path, max_answer_tokens=10, detail="low")
    assert len(found) == len(PROMPTS)
    assert set(server.answered.values()) == {1}


BUDGETS = [Limits(requests=4), Limits(tokens=1000), Limits(money=1100.0), Limits(requests=5, tokens=900)]


@pytest.mark.parametrize("limits", BUDGETS, ids=str)
def test_a_budget_is_kept(tmp_path: Path, limits: Limits) -> None:
    check_budget(tmp_path / "a.jsonl", limits)


def test_the_check_catches_a_ledger_that_forgets_what_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(self: Ledger, need: Usage, took: Usage) -> None:
        self.pending.clear()

    monkeypatch.setattr(Ledger, "settle", forgetful)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check_budget(tmp_path / "a.jsonl", BUDGETS[0])


CUT_OFF, TAKEN_LATE, FAILED = Raw(b'{"choices": [{'), Late(threading.Event(), Drop()), Status(500, {"error": "no"})


@pytest.mark.parametrize(("trouble", "billed"), [(CUT_OFF, True), (TAKEN_LATE, True), (FAILED, False)])
def test_what_may_have_been_billed_without_an_answer_counts(tmp_path: Path, trouble: Reaction, billed: bool) -> None:
    """In the limits of this run and of the next. A server that says it failed asks no money."""
    path, limits = tmp_path / "a.jsonl", Limits(tokens=1000)
    with chat_server(lambda asked: trouble if server.answered else honest(asked)) as server:
        for _ in range(2):
            with pytest.raises(JudgeError, match="limit of 1000 tokens" if billed else "gives no answer"):
                judged(server, path, limits=limits, max_answer_tokens=10, detail="low", timeout=0.3, stop_after=2)
            spent = read_bill(path, config(server).identity).spent
            assert spent.requests == len(server.asked)
            assert 110 < spent.input + spent.output <= 1000 if billed else spent.input + spent.output == 110
    TAKEN_LATE.event.set()


def test_nothing_may_be_spent(tmp_path: Path) -> None:
    with chat_server(honest) as server, pytest.raises(JudgeError, match="limit of 0 requests"):
        judged(server, tmp_path / "a.jsonl", limits=Limits(requests=0))
    assert not server.asked


def test_the_estimate_holds_what_is_spent_and_asks_nobody(tmp_path: Path) -> None:
    prices = Prices(input=2.5, output=10.0)
    with chat_server(lambda asked: Say(verdict_on(asked.prompt).to_json(), usage=(400, 100))) as server:
        judge = ApiJudge(config(server, prices=prices, detail="low"), tmp_path / "a.jsonl")
        before = judge.estimate(drawings([*PROMPTS, PROMPTS[0]]))
        assert not server.asked
        assert not (tmp_path / "a.jsonl").exists()
        list(judge.judge(drawings(PROMPTS[:6])))
        after = judge.estimate(drawings(PROMPTS))
    spent = read_bill(tmp_path / "a.jsonl", judge.identity).spent
    assert (before.expected.requests, before.known, before.measured) == (10, 0, False)
    assert before.most.input >= spent.input
    assert before.most.cost(prices) > (spent.cost(prices) or 0)  # type: ignore[operator]
    assert (after.known, after.measured, after.expected) == (6, True, Usage(3, 1200, 300))
    assert "3 questions to ask, 6 answered before" in str(after)
    other = ApiJudge(replace(judge.config, model="other"), tmp_path / "a.jsonl").estimate(drawings(PROMPTS))
    assert (other.known, other.measured, other.expected.requests) == (0, False, 9)


def test_many_refusals_in_a_row_are_answers(tmp_path: Path) -> None:
    refused = Status(400, {"error": {"message": "no", "code": "content_policy_violation"}})
    with chat_server(lambda asked: refused) as server:
        found = judged(server, tmp_path / "a.jsonl", stop_after=2)
    assert [judgement.passed for judgement in found.values()] == [False] * 9
    assert len(server.asked) == 9


def check_nothing_is_paid_twice(path: Path) -> None:
    """However often and wherever the file of answers was torn, what it still holds is not asked again."""
    whole = path / "whole.jsonl"
    with chat_server(honest) as server:
        for _ in range(2):
            judged(server, whole, PROMPTS[:3], concurrency=1)
        assert len(server.asked) == 3
        data = whole.read_bytes()
        for end in range(0, len(data) + 1, 97):
            torn = path / f"{end}.jsonl"
            torn.write_bytes(data[:end])
            before = len(server.asked)
            assert len(judged(server, torn, PROMPTS[:3], concurrency=1)) == 3
            assert len(server.asked) - before == 3 - data[:end].count(b"\n")
            assert torn.read_bytes() == data


def test_nothing_is_paid_twice(tmp_path: Path) -> None:
    check_nothing_is_paid_twice(tmp_path)


def test_the_check_catches_a_judge_that_keeps_no_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "_add", lambda *args: None)
    with pytest.raises(AssertionError):
        check_nothing_is_paid_twice(tmp_path)


def test_drawings_alike_are_asked_once_though_many_go_together(tmp_path: Path) -> None:
    (one,) = drawings(["good 1"])
    alike = [Drawing(one.prompt, one.image, str(i)) for i in range(6)]
    first, *_ = drawings(["first"])
    with chat_server(honest) as server:
        found = list(ApiJudge(config(server), tmp_path / "a.jsonl").judge([first, *alike]))
    assert len(found) == 7
    assert server.answered == {"first": 1, "good 1": 1}


def test_failures_are_paid_again_only_on_request(tmp_path: Path) -> None:
    with chat_server(only("good 4", Say("no JSON"))) as server:
        judged(server, tmp_path / "a.jsonl")
        judge = ApiJudge(config(server), tmp_path / "a.jsonl", again=["malformed"])
        server.react = honest
        assert all(judgement.outcome for judgement in judge.judge(drawings(PROMPTS)))
    assert [prompt for prompt, times in server.answered.items() if times == 2] == ["good 4"]


def test_closing_keeps_what_is_under_way_and_asks_no_more(tmp_path: Path) -> None:
    held, after_first = threading.Event(), PROMPTS[1:4]

    def react(asked: Asked) -> Reaction:
        if held.is_set() or asked.prompt not in after_first:
            return honest(asked)
        threading.Timer(0.3, held.set).start()
        return Late(held, honest(asked))

    with chat_server(react) as server:
        with closing(ApiJudge(config(server), tmp_path / "a.jsonl").judge(drawings(PROMPTS))) as found:  # type: ignore[type-var]
            next(found)
        assert len(server.asked) <= 4
        judged(server, tmp_path / "a.jsonl")
    assert set(server.answered.values()) == {1}


def test_closing_does_not_wait_for_ever(tmp_path: Path) -> None:
    never = threading.Event()
    with chat_server(lambda asked: Late(never, Drop()) if asked.prompt in PROMPTS[1:] else honest(asked)) as server:
        judge = ApiJudge(config(server, patience=0.1), tmp_path / "a.jsonl")
        with closing(judge.judge(drawings(PROMPTS))) as found:  # type: ignore[type-var]
            next(found)
        never.set()
    assert len(server.asked) <= 4


def test_it_works_inside_a_running_loop(tmp_path: Path) -> None:
    """As in a notebook."""

    async def cell(server: ChatServer) -> int:
        return len(judged(server, tmp_path / "a.jsonl"))

    with chat_server(honest) as server:
        assert asyncio.run(cell(server)) == 9


def test_the_key_is_written_nowhere(tmp_path: Path) -> None:
    echo = once(Status(500, {"error": {"message": f"bad {KEY}"}}), Raw(f'{{"you": "{KEY}"}}'.encode()))
    with chat_server(echo) as server:
        judge = ApiJudge(config(server), tmp_path / "a.jsonl")
        judge_drawings(judge, drawings(PROMPTS[:3]), tmp_path / "v.jsonl")
    written = (tmp_path / "a.jsonl").read_text() + (tmp_path / "v.jsonl").read_text()
    assert "***" in written
    assert KEY not in written + repr(judge.config) + repr(judge.identity)


@pytest.mark.parametrize("key", [None, "", "  ", "sk with space", "sk-\u00e9"])
def test_a_missing_key_is_said_before_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    monkeypatch.delenv("TEST_KEY") if key is None else monkeypatch.setenv("TEST_KEY", key)
    with pytest.raises(ConfigError, match="TEST_KEY"):
        ApiJudge(ApiConfig("m", key_env="TEST_KEY"), tmp_path / "a.jsonl")


def test_a_server_without_keys_gets_none(tmp_path: Path) -> None:
    with chat_server(honest) as server:
        judged(server, tmp_path / "a.jsonl", key_env="")
    assert "authorization" not in server.asked[0].headers


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "localhost:8000"},
        {"url": "http://key@host/v1"},
        {"url": "http://host:99999/v1"},
        {"url": "https://host/v1?key=1"},
        {"url": "https://host/v1/chat/completions"},
        {"model": " "},
        {"concurrency": 0},
        {"timeout": 0.0},
        {"timeout": float("nan")},
        {"limits": Limits(money=1.0)},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ApiConfig(**{"model": "m", **wrong})


def test_the_identity_is_what_a_verdict_depends_on() -> None:
    one = ApiConfig("m").identity.fingerprint
    same = ApiConfig("m", key_env="X", concurrency=1, limits=Limits(requests=3), attempts=2).identity.fingerprint
    others = [ApiConfig("n"), ApiConfig("m", temperature=1.0), ApiConfig("m", detail="low"), ApiConfig("m", "http://h")]
    assert one == same
    assert one not in {other.identity.fingerprint for other in others}


def test_a_damaged_file_of_answers_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    with chat_server(honest) as server, pytest.raises(DataError, match=r"a\.jsonl:1"):
        judged(server, tmp_path / "a.jsonl")
    assert not server.asked
