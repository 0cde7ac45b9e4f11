"""Bodies that are too large, or break off: who sends a little too much reads why, who leaves is no failure of ours."""

import io
import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from select import select

import pytest

from fixtures.serving import Served, served, until
from illume.serve import bodies, logs
from illume.serve.settings import Limits

BODY = 400_000
SENT = 620_000  # what the check below sends: half as much again, and a piece
LIMITS = Limits(body=BODY, upload_seconds=5.0)
FORM = "multipart/form-data; boundary=x"
FORM_BEGUN = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(limits=LIMITS) as found:
        yield found


def connected(server: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), 10)


def statuses(*lines: socket.socket) -> list[bytes]:
    return [line.recv(4000)[9:12] for line in lines]


def stalled(server: Served, number: int) -> list[socket.socket]:
    """So many clients that send the half of a request, and then nothing."""
    lines = [connected(server) for _ in range(number)]
    for line in lines:
        line.sendall(head("/v1/images/generations", "application/json", 100) + b'{"prompt"')
    until(lambda: server.service.requests == number)
    return lines


def check_stalled_bodies_block_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there may be stall: who comes after a moment is answered, and the first of them gives way."""
    monkeypatch.setattr(bodies, "_SILENCE", 0.2)
    with served(limits=Limits(open=2, uploads=3, upload_seconds=20.0)) as server, server.http() as http:
        lines = stalled(server, 3)
        until(lambda: http.post("/v1/images/generations", json={"prompt": "a"}).status_code == 200, 5.0)
        assert server.service.requests == 2
        assert statuses(lines[0]) == [b"408"]
        for line in lines:
            line.close()


def test_bodies_that_stall_block_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    check_stalled_bodies_block_nobody(monkeypatch)


def test_the_check_catches_bodies_that_keep_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies.Body, "give_up", lambda self: None)
    with pytest.raises(AssertionError):
        check_stalled_bodies_block_nobody(monkeypatch)


def test_more_bodies_than_may_come_at_once_are_refused() -> None:
    with served(limits=Limits(uploads=3)) as server, server.http() as http:
        lines = stalled(server, 3)
        answer = http.post("/v1/images/generations", json={"prompt": "a"})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert answer.json()["error"]["code"] == "too_many_requests"
        for line in lines:
            line.close()


def head(path: str, kind: str, length: int | None, more: str = "") -> bytes:
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{size}\r\n{more}\r\n".encode()


def everything(line: socket.socket) -> bytes:
    got = b""
    while more := line.recv(65536):
        got += more
    return got


def check_refusal_is_read(server: Served, length: int | None) -> None:
    """A client that reads only when it has sent all reads a 413, and then the connection's end, not a reset."""
    piece = b"x" * 20_000
    sent = piece if length is not None else b"%x\r\n%s\r\n" % (len(piece), piece)
    with connected(server) as line:
        line.sendall(head("/v1/images/generations", "application/json", length))
        for _ in range(0, BODY + 1, len(piece)):
            line.sendall(sent)
        assert select([line], [], [], 10)[0], "it is not refused"
        time.sleep(0.2)  # time enough to close the connection
        for _ in range(0, BODY // 2, len(piece)):
            line.sendall(sent)
            time.sleep(0.005)
        if length is None:
            line.sendall(b"0\r\n\r\n")
        answer = everything(line)
    assert answer.startswith(b"HTTP/1.1 413")
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert error["code"] == "request_too_large"


@pytest.mark.parametrize("length", [SENT, None])
def test_who_sends_too_much_reads_why(server: Served, length: int | None) -> None:
    check_refusal_is_read(server, length)


@pytest.mark.parametrize("length", [SENT, None])
def test_the_check_catches_a_connection_closed_at_once(
    server: Served, length: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies.Body, "lingering", lambda body, send: send)
    with pytest.raises((AssertionError, OSError)):
        check_refusal_is_read(server, length)


def test_who_goes_on_sending_is_cut_off(server: Served) -> None:
    sent = 0
    with connected(server) as line, suppress(ConnectionError):
        line.sendall(head("/v1/images/generations", "application/json", 1000 * BODY))
        while sent < 100 * BODY:
            sent += line.send(b"x" * 50_000)
    assert sent < 50 * BODY
    until(lambda: server.service.requests == 0)


def test_who_waits_to_be_let_in_is_refused_at_once_and_not_waited_for_long(server: Served) -> None:
    with connected(server) as line:
        line.sendall(head("/v1/images/generations", "application/json", 2 * BODY, "Expect: 100-continue\r\n"))
        assert everything(line).startswith(b"HTTP/1.1 413")


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    before = logs.LOGGER.handlers, logs.LOGGER.level
    to = io.StringIO()
    handler = logging.StreamHandler(to)
    handler.setFormatter(logs.JsonLines())
    logs.LOGGER.handlers = [handler]
    logs.LOGGER.setLevel(logging.INFO)
    yield to
    logs.LOGGER.handlers = before[0]
    logs.LOGGER.setLevel(before[1])


def check_told_as_left(server: Served, to: io.StringIO, path: str, kind: str, begun: bytes) -> None:
    """One line, of level info and status 499."""
    with connected(server) as line:
        line.sendall(head(path, kind, 10_000) + begun)
        until(lambda: server.service.requests == 1)
    until(lambda: '"request"' in to.getvalue())
    lines = [json.loads(one) for one in to.getvalue().splitlines()]
    assert [(one["level"], one["event"], one.get("status")) for one in lines] == [("info", "request", 499)]
    assert lines[0]["path"] == path


LEFT = (
    ("/v1/images/edits", FORM, FORM_BEGUN),
    ("/v1/images/generations", "application/json", b'{"prompt": '),
    ("/v1/chat/completions", "application/json", b""),
)


@pytest.mark.parametrize(("path", "kind", "begun"), LEFT)
def test_a_body_that_breaks_off_is_no_failure(
    server: Served, logged: io.StringIO, path: str, kind: str, begun: bytes
) -> None:
    check_told_as_left(server, logged, path, kind, begun)


@pytest.mark.parametrize(("path", "kind", "begun"), LEFT[:2])
def test_the_check_catches_a_body_that_breaks_off_unseen(
    server: Served, logged: io.StringIO, monkeypatch: pytest.MonkeyPatch, path: str, kind: str, begun: bytes
) -> None:
    """As it was: a form raised what nobody knew, JSON was told to be wrong."""

    async def unseen(body: bodies.Body) -> object:
        return await body._receive()

    monkeypatch.setattr(bodies.Body, "receive", unseen)
    with pytest.raises(AssertionError):
        check_told_as_left(server, logged, path, kind, begun)
