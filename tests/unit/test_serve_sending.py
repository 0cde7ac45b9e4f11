"""What is sent arrives whole, or its client is gone: who takes nothing in keeps nothing."""

import asyncio
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.serving import Served, quiet, served, until
from illume.serve import middleware
from illume.serve.errors import ClientGoneError
from illume.serve.pictures import Format
from illume.serve.sending import PIECE, paced
from illume.serve.settings import Limits


@given(st.lists(st.sampled_from([0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE]), min_size=1, max_size=3))
def test_what_is_sent_arrives_as_it_was_in_pieces(sizes: list[int]) -> None:
    got: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        got.append(message)

    async def sending() -> None:
        sent = paced(send, 5.0)
        for number, size in enumerate(sizes):
            more = number + 1 < len(sizes)
            await sent({"type": "http.response.body", "body": bytes([number]) * size, "more_body": more})

    asyncio.run(sending())
    assert b"".join(one["body"] for one in got) == b"".join(bytes([i]) * size for i, size in enumerate(sizes))
    assert [one["more_body"] for one in got] == [True] * (len(got) - 1) + [False]
    assert all(len(one["body"]) <= PIECE for one in got)


@pytest.mark.parametrize("trouble", ["slow", "broken"])
def test_a_client_that_takes_nothing_in_has_left(trouble: str) -> None:
    async def send(message: Any) -> None:
        if trouble == "broken":
            raise ConnectionResetError
        await asyncio.sleep(60)

    with pytest.raises(ClientGoneError):
        asyncio.run(paced(send, 0.01)({"type": "http.response.body", "body": b"a"}))  # type: ignore[arg-type]


def gone(server: Served) -> float:
    figures = server.service.metrics.requests.labels("/v1/images/generations", "499")
    return float(figures._value.get())


def check_a_slow_reader_is_cut_off(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for a large answer, not streamed, and reads none of it: it counts as long as it is there, and goes."""
    monkeypatch.setattr(Format, "encoded", lambda self, picture: bytes(8_000_000))  # beyond what sockets keep
    body = b'{"prompt": "a red circle"}'
    head = f"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", int(server.url.rsplit(":", 1)[1])))
        line.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
        until(lambda: server.service.requests == 1)
        until(lambda: server.service.requests == 0, 5.0)
        assert gone(server) == 1
        assert not server.server.server_state.connections, "its connection is still there"
    until(lambda: quiet(server.service))


def test_who_does_not_read_a_whole_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(limits=Limits(send_seconds=0.3)) as server:
        check_a_slow_reader_is_cut_off(server, monkeypatch)


def test_the_check_catches_answers_that_are_left_lying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "paced", lambda send, seconds: send)
    with served(limits=Limits(send_seconds=0.3)) as server, pytest.raises(AssertionError):
        check_a_slow_reader_is_cut_off(server, monkeypatch)
