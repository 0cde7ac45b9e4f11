"""A real server keeps to its limits: keys, bodies, pixels, n, queue, context, origins, time."""

import json
import re
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from PIL import Image

from fixtures.serving import Served, data_url, drawer, png, quiet, served, some_picture, talker, until
from illume.api import Illume
from illume.generate.engine import Engine
from illume.serve.service import Service
from illume.serve.settings import Limits
from illume.serve.worker import Worker

DRAW = {"prompt": "a red circle", "seed": 3}
LIMITS = Limits(body=20_000, pixels=5_000, images=2, text=300, n=4, open=6, uploads=8, upload_seconds=0.5)


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(keys=("one", "two"), limits=LIMITS) as found:
        yield found


@pytest.fixture(scope="module")
def http(server: Served) -> Iterator[httpx2.Client]:
    with server.http(headers={"authorization": "Bearer two"}) as client:
        yield client


def check_error(answer: httpx2.Response, status: int, code: str | None = None) -> str:
    """OpenAI's shape, with a request id; what it says."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert code is None or error["code"] == code
    return str(error["message"])


def test_without_a_key_nothing_is_answered(server: Served) -> None:
    with server.http() as http:
        for method, path in [("POST", "/v1/images/generations"), ("GET", "/v1/models"), ("GET", "/metrics"),
                             ("GET", "/openapi.json"), ("GET", "/nowhere"), ("DELETE", "/v1/models")]:  # fmt: skip
            for headers in ({}, {"authorization": "Bearer three"}, {"authorization": "Basic one"}):
                check_error(http.request(method, path, headers=headers), 401, "invalid_api_key")
        assert http.get("/health").status_code == 200
        assert http.get("/").status_code in (200, 404)  # 404: the page is not built


def test_health_can_be_asked_for_its_head(server: Served) -> None:
    with server.http() as http:
        whole, head = http.get("/health"), http.head("/health")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]


def test_a_body_is_not_read_without_a_key(server: Served) -> None:
    port = int(server.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), 10) as line:
        line.sendall(b"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n")
        assert line.recv(4000).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v2", 404), ("POST", "/v1/images", 404), ("GET", "/v1/images/edits", 405), ("PUT", "/v1/models", 405),
     ("GET", "/v1/models/other", 404), ("GET", "/static/../app.py", 404), ("GET", "/static/%2e%2e/app.py", 404)],
)  # fmt: skip
def test_other_paths_are_errors_in_shape(http: httpx2.Client, method: str, path: str, status: int) -> None:
    answer = http.request(method, path)
    check_error(answer, status)
    assert status != 405 or answer.headers["allow"]


BAD: tuple[tuple[str, Any, int, str], ...] = (
    ("/v1/images/generations", {}, 400, "prompt"),
    ("/v1/images/generations", {"prompt": ""}, 400, "prompt"),
    ("/v1/images/generations", {**DRAW, "n": 5}, 400, "n: at most 4"),
    ("/v1/images/generations", {**DRAW, "size": "1024x1024"}, 400, "8x8"),
    ("/v1/images/generations", {**DRAW, "model": "gpt-image-2"}, 404, "gpt-image-2"),
    ("/v1/images/generations", {"prompt": "a " * 200}, 400, "positions"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a" * 301}]}, 400, "at most 300"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "guidance_scale": 2.0}, 400, "guidance"),
    ("/v1/responses", {"input": "a" * 301}, 400, "at most 300"),
    ("/v1/responses", {"input": "a", "tools": [{"type": "image_generation", "size": "9x9"}]}, 400, "tools.0.size"),
    ("/v1/responses", {"input": "a", "tools": [{"type": "image_generation", "model": "gpt-image-1"}]}, 404, "gpt"),
    ("/v1/responses", {"input": "a", "tools": [{"type": "image_generation", "action": "edit"}]}, 400, "tools.0.action"),
    ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:"}]}],
                       "tools": [{"type": "image_generation", "action": "generate"}]}, 400, "tools.0.action"),
)  # fmt: skip


@pytest.mark.parametrize(("path", "body", "status", "said"), BAD)
def test_what_is_wrong_is_said(http: httpx2.Client, path: str, body: Any, status: int, said: str) -> None:
    assert said in check_error(http.post(path, json=body), status)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"nan", b"\xff", b'"a"', b"[" * 9000, b'{"prompt":NaN}',
                                     b"1" * 5000, b'{"prompt": "\\ud800"}'])  # fmt: skip
@pytest.mark.parametrize(
    "path", ["/v1/images/generations", "/v1/chat/completions", "/v1/responses", "/v1/images/edits"]
)
def test_what_is_no_json_is_a_400(http: httpx2.Client, path: str, content: bytes) -> None:
    check_error(http.post(path, content=content, headers={"content-type": "application/json"}), 400)
    check_error(http.post(path, content=content), 400)


def shown(*urls: str) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"messages": [{"role": "user", "content": parts}], "max_tokens": 2}


@pytest.mark.parametrize(
    ("url", "status", "code"),
    [
        ("https://example.com/a.png", 400, "remote_images_off"),
        ("http://127.0.0.1/a.png", 400, "remote_images_off"),
        ("file:///etc/passwd", 400, "remote_images_off"),
        ("data:image/png;base64,AAAA", 422, "invalid_image"),
        ("data:image/png,AAAA", 400, "invalid_image_url"),
        (data_url(Image.new("RGB", (80, 80))), 413, "image_too_large"),
    ],
)
def test_images_that_cannot_be_used_are_refused(http: httpx2.Client, url: str, status: int, code: str) -> None:
    check_error(http.post("/v1/chat/completions", json=shown(url)), status, code)


def test_more_images_than_may_be_are_refused(http: httpx2.Client) -> None:
    url = data_url(some_picture())
    check_error(http.post("/v1/chat/completions", json=shown(url, url, url)), 400, "too_many_images")


def form(http: httpx2.Client, files: Any, **fields: Any) -> httpx2.Response:
    return http.post("/v1/images/edits", data={"prompt": "make it red", **fields}, files=files)


def test_forms_that_cannot_be_used_are_refused(http: httpx2.Client) -> None:
    file = ("a.png", png(some_picture()), "image/png")
    check_error(form(http, {"other": file}), 400, "unknown_parameter")
    check_error(form(http, {"mask": file}), 400, "missing_required_parameter")
    check_error(form(http, {"image": ("a.png", b"no picture", "image/png")}), 422, "invalid_image")
    check_error(form(http, [("image[]", file), ("image[]", file)]), 400)
    check_error(form(http, {"image": file}, n="many"), 400)
    check_error(form(http, {"image": file}, prompt=""), 400, "missing_required_parameter")
    check_error(form(http, {"image": file, "mask": ("m.png", png(some_picture(size=(4, 4))), "image/png")}), 422)
    check_error(form(http, {"image": file, "mask": ("m.png", b"no", "image/png")}), 422)
    broken = {"content-type": "multipart/form-data; boundary=x"}
    check_error(http.post("/v1/images/edits", content=b"--x\r\nno form", headers=broken), 400)
    check_error(http.post("/v1/images/edits", content=b"--x", headers={"content-type": "multipart/form-data"}), 400)


def test_a_body_that_is_too_large_is_a_413(http: httpx2.Client, server: Served) -> None:
    large = {"prompt": "a", "user": "x" * 30_000}
    check_error(http.post("/v1/images/generations", json=large), 413, "request_too_large")

    def pieces() -> Iterator[bytes]:  # of no length that is told before
        yield from [b"x" * 1000] * 40

    with server.http(headers={"authorization": "Bearer two"}) as other:
        check_error(other.post("/v1/images/generations", content=pieces(),
                               headers={"content-type": "application/json"}), 413)  # fmt: skip


def test_a_body_that_does_not_come_is_a_408(server: Served) -> None:
    port = int(server.url.rsplit(":", 1)[1])
    head = "POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer one\r\nContent-Length: 100\r\n"
    with socket.create_connection(("127.0.0.1", port), 10) as line:
        line.sendall(f"{head}Content-Type: application/json\r\n\r\n{{".encode())
        assert line.recv(4000).startswith(b"HTTP/1.1 408")


class Held:
    """An engine that does not step until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        step = Engine.step
        monkeypatch.setattr(Engine, "step", lambda engine: self.go.wait(30) and step(engine))


def test_more_than_may_wait_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)
    with served(limits=LIMITS) as found, ThreadPoolExecutor(8) as pool, found.http() as http:
        first = [pool.submit(http.post, "/v1/images/generations", json={**DRAW, "n": 2}) for _ in range(3)]
        until(lambda: len(found.service.worker.open) == 6)
        answer = http.post("/v1/images/generations", json=DRAW)
        check_error(answer, 429, "too_many_requests")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        held.go.set()
        assert [one.result().status_code for one in first] == [200, 200, 200]
        assert http.post("/v1/images/generations", json=DRAW).status_code == 200
        until(lambda: quiet(found.service))


def test_more_answers_than_are_ever_taken_at_once_are_refused_for_good() -> None:
    with served(limits=Limits(open=2)) as found, found.http() as http:
        for path, body in (("images/generations", DRAW), ("chat/completions", shown(data_url(some_picture())))):
            assert "at most 2" in check_error(http.post(f"/v1/{path}", json={**body, "n": 3}), 400)
        assert http.post("/v1/images/generations", json={**DRAW, "n": 2}).status_code == 200


def test_another_page_may_not_ask_unless_it_is_named() -> None:
    origins = {"https://page.test": 200, "https://other.test": 403, "null": 403}
    with served(cors=("https://page.test",)) as found, found.http() as http:
        for origin, status in origins.items():
            answer = http.get("/v1/models", headers={"origin": origin})
            assert answer.status_code == status
            assert (answer.headers.get("access-control-allow-origin") == origin) == (status == 200)
        asked = {"origin": "https://page.test", "access-control-request-method": "POST",
                 "access-control-request-headers": "authorization,content-type,x-stainless-os"}  # fmt: skip
        assert http.options("/v1/chat/completions", headers=asked).status_code == 200
        assert (
            http.options("/v1/chat/completions", headers={**asked, "origin": "https://other.test"}).status_code == 400
        )
        assert http.get("/v1/models", headers={"origin": found.url}).status_code == 200


def test_no_page_may_ask_where_none_is_named() -> None:
    with served() as found, found.http() as http:
        for origin in ("https://other.test", "null", "http://[", "http://[::1", "//", "\x7f"):
            check_error(http.get("/v1/models", headers={"origin": origin}), 403)
        answer = http.get("/v1/models", headers={"origin": found.url})
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers


def test_without_keys_a_made_up_name_of_this_host_is_refused(server: Served, http: httpx2.Client) -> None:
    with served() as found, found.http() as plain:
        check_error(plain.get("/v1/models", headers={"host": "rebound.test"}), 403)
        for host in ("localhost", "127.0.0.1:99", "[::1]:80"):
            assert plain.get("/v1/models", headers={"host": host}).status_code == 200
    assert http.get("/v1/models", headers={"host": "rebound.test"}).status_code == 200  # it knows a key


def test_a_request_id_is_ones_own_if_it_is_one(http: httpx2.Client) -> None:
    assert http.get("/health", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    for bad in ("", "a b", "x" * 65, "<script>"):
        given = http.get("/health", headers={"x-request-id": bad}).headers["x-request-id"]
        assert re.fullmatch(r"req_[0-9a-f]{32}", given)


def check_rows_are_freed(leave: Callable[[Served], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that leaves in the middle: its rows are free at once, others get their answers."""
    with served() as found:
        steps: list[int] = []
        step = Engine.step

        def slow(engine: Engine) -> Any:
            steps.append(engine.load.running)
            time.sleep(0.02)
            return step(engine)

        monkeypatch.setattr(Engine, "step", slow)
        leave(found)
        until(lambda: quiet(found.service))
        assert len(steps) < 15, "it went on drawing for nobody"
        assert found.service.metrics.cancelled._value.get() >= 1
        with found.http() as http:
            assert http.post("/v1/images/generations", json=DRAW).status_code == 200


def leave_a_stream(found: Served) -> None:
    with found.http() as http:
        body = {**DRAW, "stream": True, "partial_images": "rows"}
        with http.stream("POST", "/v1/images/generations", json=body) as answer:
            next(answer.iter_raw())


def leave_while_waiting(found: Served) -> None:
    port = int(found.url.rsplit(":", 1)[1])
    body = json.dumps({**DRAW, "n": 4}).encode()
    head = f"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection(("127.0.0.1", port), 10) as line:
        line.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
        until(lambda: found.service.worker.load.running)


@pytest.mark.parametrize("leave", [leave_a_stream, leave_while_waiting])
def test_a_client_that_leaves_frees_its_rows(leave: Callable[[Served], None], monkeypatch: pytest.MonkeyPatch) -> None:
    check_rows_are_freed(leave, monkeypatch)


def test_the_check_catches_rows_that_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "cancel", lambda engine, key: False)
    with pytest.raises(AssertionError):
        check_rows_are_freed(leave_while_waiting, monkeypatch)


def test_a_step_that_fails_costs_the_answers_under_way_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(drawer()) as found, found.http() as http:
        step, failures = Engine.step, [RuntimeError("out of memory")]

        def failing(engine: Engine) -> Any:
            if failures and engine.load.running:
                raise failures.pop()
            return step(engine)

        monkeypatch.setattr(Engine, "step", failing)
        assert "memory" not in check_error(http.post("/v1/images/generations", json=DRAW), 500)
        assert http.post("/v1/images/generations", json=DRAW).status_code == 200
        assert http.get("/health").status_code == 200


def test_an_engine_that_only_fails_is_given_up_and_health_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(engine: Engine) -> Any:
        raise RuntimeError

    with served() as found, found.http() as http:
        monkeypatch.setattr(Engine, "step", fail)
        for _ in range(3):
            check_error(http.post("/v1/images/generations", json=DRAW), 500)
        until(lambda: not found.service.worker.alive)
        answer = http.get("/health")
        assert (answer.status_code, answer.json()) == (503, {"status": "failed"})
        check_error(http.post("/v1/images/generations", json=DRAW), 503)


def check_one_engine_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a new engine is made, the one whose step failed is gone: there may not be memory for both."""
    engines: list[weakref.ref[Engine]] = []
    there: list[int] = []
    make = Service._engine

    def making(service: Service) -> Engine:
        there.append(sum(one() is not None for one in engines))
        engines.append(weakref.ref(made := make(service)))
        return made

    def failing(engine: Engine) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Service, "_engine", making)
    with served() as found, found.http() as http:
        with monkeypatch.context() as patch:
            patch.setattr(Engine, "_step", failing)
            check_error(http.post("/v1/images/generations", json=DRAW), 500)
        assert http.post("/v1/images/generations", json=DRAW).status_code == 200
    assert there == [0, 0]


def test_an_engine_that_failed_is_gone_when_the_next_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    check_one_engine_at_a_time(monkeypatch)


def test_the_check_catches_an_engine_that_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("illume.serve.worker.traceback.clear_frames", lambda frames: None)
    with pytest.raises(AssertionError):
        check_one_engine_at_a_time(monkeypatch)


def check_nobody_waits_for_the_next_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was being answered is told before a new engine is made, which may take minutes where it compiles."""
    make, made, go = Service._engine, list[Engine](), threading.Event()

    def making(service: Service) -> Engine:
        if made:
            assert go.wait(20)
        made.append(make(service))
        return made[-1]

    def failing(engine: Engine) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Service, "_engine", making)
    with served() as found, found.http() as http:
        try:
            with monkeypatch.context() as patch:
                patch.setattr(Engine, "_step", failing)
                check_error(http.post("/v1/images/generations", json=DRAW, timeout=8), 500)
        except httpx2.ReadTimeout as error:
            raise AssertionError("nobody was told") from error
        finally:
            go.set()


def test_nobody_waits_for_the_next_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    check_nobody_waits_for_the_next_engine(monkeypatch)


def test_the_check_catches_who_is_told_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = Worker._start_over

    def start_over(worker: Worker, *given: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Worker, "_tell", lambda worker: None)
            failed(worker, *given)

    monkeypatch.setattr(Worker, "_start_over", start_over)
    with pytest.raises(AssertionError, match="nobody was told"):
        check_nobody_waits_for_the_next_engine(monkeypatch)


def test_what_fails_between_steps_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with served() as found, found.http() as http:
        found.service.worker._orders.put(lambda: 1 / 0)
        assert http.post("/v1/images/generations", json=DRAW).status_code == 200
        assert http.get("/health").status_code == 200


def test_what_only_fails_between_steps_gives_the_engine_up_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)
    with served() as found, found.http() as http, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(http.post, "/v1/images/generations", json=DRAW)
        until(lambda: found.service.worker.open)
        for _ in range(3):
            found.service.worker._orders.put(lambda: 1 / 0)
        held.go.set()
        assert waiting.result().status_code in (500, 503)
        until(lambda: not found.service.worker.alive)
        assert not found.service.worker.open
        check_error(http.post("/v1/images/generations", json=DRAW), 503)


def test_a_picture_that_cannot_be_painted_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with served() as found, found.http() as http:
        with monkeypatch.context() as patch:
            patch.setattr(found.illume.painter, "painted", lambda drawn: 1 / 0)
            check_error(http.post("/v1/images/generations", json=DRAW), 500)
        assert http.post("/v1/images/generations", json=DRAW).status_code == 200
        until(lambda: quiet(found.service))


def test_a_picture_that_cannot_be_looked_at_costs_its_own_answer_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Illume, "_paint", lambda self, drawn: 1 / 0)
    both = {
        "messages": [{"role": "user", "content": "draw and tell"}],
        "modalities": ["image", "text"],
        "max_tokens": 8,
    }
    with served(talker()) as found, found.http() as http:
        check_error(http.post("/v1/chat/completions", json={**both, "seed": 0}), 500)
        assert found.service.metrics.failures._value.get() == 0, "the engine started over"
        assert http.post("/v1/images/generations", json=DRAW).status_code == 200
        until(lambda: quiet(found.service))


def test_a_picture_that_is_painted_when_the_engine_has_ended_is_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between steps there is no time any more: the thread that waited for one does it."""
    with served() as found:
        worker = found.service.worker
        worker._orders.put(worker._end)
        until(lambda: not worker._thread.is_alive())
        assert worker._between_steps(lambda: [some_picture()])[0].size == (8, 8)
        with pytest.raises(ZeroDivisionError):
            worker._between_steps(lambda: [1 / 0])  # type: ignore[list-item]
