"""Logs and figures: a line of JSON an event, by request id, with no word of what was asked; figures add up."""

import asyncio
import gc
import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fixtures.serving import Served, data_url, png, served, some_picture
from illume.generate.engine import Engine
from illume.serve import images, logs

SECRET = "violet elephants"


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    names = ("illume.serve", *logs._OTHERS)
    before = {name: (logging.getLogger(name).handlers, logging.getLogger(name).propagate) for name in names}
    to = io.StringIO()
    logs.set_up(to=to)
    yield to
    logging.captureWarnings(False)
    for name, (handlers, propagate) in before.items():
        logging.getLogger(name).handlers, logging.getLogger(name).propagate = handlers, propagate


def lines(to: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in to.getvalue().splitlines()]


def ask_everything(found: Served) -> None:
    """Requests of all kinds, good and bad, each with the secret in all places that can hold it."""
    said = [{"role": "system", "content": SECRET}, {"role": "user", "content": SECRET}]
    bodies: list[tuple[str, Any]] = [
        ("/v1/images/generations", {"prompt": SECRET}),
        ("/v1/images/generations", {"prompt": SECRET, "stream": True, "partial_images": 1}),
        ("/v1/images/generations", {"prompt": SECRET * 50}),
        ("/v1/images/generations", {"prompt": SECRET, SECRET: SECRET}),
        ("/v1/images/generations", {"prompt": [SECRET]}),
        ("/v1/chat/completions", {"messages": said, "max_tokens": 2, "user": SECRET}),
        ("/v1/chat/completions", {"messages": said, "max_tokens": 2, "stream": True}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": f"\ud800{SECRET}"}]}),
        ("/v1/responses", {"input": SECRET, "instructions": SECRET, "max_output_tokens": 2}),
        ("/v1/responses", {"input": SECRET, "stream": True, "max_output_tokens": 2}),
    ]
    with found.http() as http:
        for path, body in bodies:
            content = json.dumps(body).encode()
            http.post(path, content=content, headers={"content-type": "application/json"})
        http.post(f"/v1/{SECRET}?q={SECRET}", json={})
        http.get(f"/v1/models/{SECRET}")
        http.get("/v1/models", headers={"authorization": f"Bearer {SECRET}", "user-agent": SECRET})
        http.post("/v1/images/edits", data={"prompt": SECRET}, files={"image": (f"{SECRET}.png", png(some_picture()))})
        http.post("/v1/images/edits", data={"prompt": SECRET}, files={"image": (f"{SECRET}.png", SECRET.encode())})


def fail(engine: Engine, request: Any) -> Any:
    raise ValueError(f"cannot take {request.messages}")


def check_no_words(to: io.StringIO) -> None:
    assert lines(to), "nothing was logged"
    for word in SECRET.split():
        assert word not in to.getvalue()


def test_logs_have_no_word_of_a_prompt(logged: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    with served() as found:
        ask_everything(found)
        monkeypatch.setattr(Engine, "add", fail)
        ask_everything(found)
    check_no_words(logged)
    assert any(line.get("error") == "ValueError" for line in lines(logged)), "what failed is told by its kind"


def test_the_check_catches_logs_that_tell_errors_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    to = io.StringIO()
    logs.set_up(log_prompts=True, to=to)
    with served() as found:
        monkeypatch.setattr(Engine, "add", fail)
        ask_everything(found)
    with pytest.raises(AssertionError):
        check_no_words(to)


def test_prompts_are_logged_where_that_is_asked(logged: io.StringIO) -> None:
    with served(log_prompts=True) as found, found.http() as http:
        http.post("/v1/images/generations", json={"prompt": SECRET})
    assert [line["prompt"] for line in lines(logged) if "prompt" in line] == [SECRET]


def test_a_request_is_a_line_with_its_id_key_and_usage(logged: io.StringIO) -> None:
    with served(keys=("a", "b")) as found, found.http(headers={"authorization": "Bearer b"}) as http:
        answer = http.post("/v1/images/generations", json={"prompt": "a red circle"})
        http.get("/v1/nowhere")
    usage = answer.json()["usage"]
    line, other = [one for one in lines(logged) if one["event"] == "request"]
    about = {name: line[name] for name in ("level", "method", "path", "status", "key", "request_id")}
    assert about == {
        "level": "info", "method": "POST", "path": "/v1/images/generations", "status": 200, "key": 2,
        "request_id": answer.headers["x-request-id"],
    }  # fmt: skip
    details = usage["output_tokens_details"]
    assert line["usage"] == {"prompt": usage["input_tokens"], "text": details["text_tokens"],
                             "image": details["image_tokens"]}  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
    assert (other["path"], other["status"]) == ("other", 404)


async def forgotten() -> None:
    async def failing() -> None:
        raise ValueError(SECRET)

    task = asyncio.ensure_future(failing())
    await asyncio.wait({task})
    del task
    gc.collect()


def test_what_the_event_loop_tells_is_a_line_without_words(logged: io.StringIO) -> None:
    asyncio.run(forgotten())
    (line,) = lines(logged)
    assert (line["event"], line["error"]) == ("Task exception was never retrieved", "ValueError")
    check_no_words(logged)


def broken(*_: Any) -> Any:
    raise ValueError(SECRET)


def check_a_failure_is_told_by_request_id(
    logged: io.StringIO, owner: Any, name: str, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is told that the log says why, by the request id, finds it there."""
    with served() as found, found.http() as http:
        monkeypatch.setattr(found.illume.painter if owner is None else owner, name, broken)
        answer = http.post("/v1/images/generations", json={"prompt": SECRET, "stream": stream})
    assert "its log says why, by the request id" in answer.text
    told = [line for line in lines(logged) if line["level"] == "error" and line.get("error") == "ValueError"]
    assert told
    for line in told:
        assert answer.headers["x-request-id"] in (line.get("request_id"), *line.get("request_ids", ()))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("owner", "name"), [(Engine, "add"), (Engine, "step"), (None, "painted"), (images, "_event"), (images, "as_base64")]
)
def test_what_fails_is_told_by_request_id(
    logged: io.StringIO, owner: Any, name: str, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stream or name != "_event":
        check_a_failure_is_told_by_request_id(logged, owner, name, stream, monkeypatch)


@pytest.mark.parametrize(("owner", "name"), [(Engine, "add"), (None, "painted"), (images, "as_base64")])
def test_the_check_catches_failures_without_an_id(
    logged: io.StringIO, owner: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = logs.event
    monkeypatch.setattr(
        logs, "event", lambda *given, **fields: event(*given, **(fields | {"request_id": None, "request_ids": ()}))
    )
    with pytest.raises(AssertionError):
        check_a_failure_is_told_by_request_id(logged, owner, name, True, monkeypatch)


def figures(found: Served) -> dict[str, float]:
    with found.http() as http:
        answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.text)
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value for one in families for sample in one.samples
    }


def test_figures_add_up() -> None:
    with served() as found, found.http() as http:
        usage = http.post("/v1/images/generations", json={"prompt": "a red circle", "n": 3}).json()["usage"]
        stream = {"prompt": "a red circle", "stream": True, "partial_images": 2}
        http.post("/v1/images/generations", json=stream)
        http.post("/v1/images/generations", json={})
        seen = figures(found)
    assert seen["illume_requests_total /v1/images/generations 200"] == 2
    assert seen["illume_requests_total /v1/images/generations 400"] == 1
    assert seen["illume_tokens_total image"] == usage["output_tokens_details"]["image_tokens"] / 3 * 4
    assert seen["illume_tokens_total prompt"] == usage["input_tokens"] * 4
    assert (seen["illume_images_total whole"], seen["illume_images_total partial"]) == (4, 2)
    for name, count in {"queue": 4, "image": 4, "first_partial": 1, "first_word": 0}.items():
        assert seen[f"illume_{name}_seconds_count"] == count, name
    assert seen["illume_rows"] == found.service.worker.load.rows
    assert [seen[f"illume_{name}"] for name in ("open", "running", "waiting", "busy_rows", "draining")] == [0] * 5
    assert seen["illume_steps_total"] > 0


def test_a_conversation_with_an_image_is_no_more_told_than_words(logged: io.StringIO) -> None:
    url = data_url(some_picture())
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": SECRET}]
    with served() as found, found.http() as http:
        answer = http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": parts}]})
        assert answer.status_code == 200
    check_no_words(logged)
    assert url[40:60] not in logged.getvalue()
