"""Events: they are spelt so that nothing ends them early, and a stream ends when its client, or its time, does."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from illume.serve.errors import ApiError, ClientGoneError
from illume.serve.sending import paced
from illume.serve.sse import EventStream, spelt, while_there

TEXT = st.text(max_size=40) | st.sampled_from(["\n\ndata: x", "\r\n", "\u2028", "event: a", "\ud800"])


@given(TEXT)
def test_no_text_ends_an_event_early(text: str) -> None:
    data = spelt({"text": text}, "name")
    assert data.count(b"\n") == 3
    assert data.endswith(b"\n\n")
    assert json.loads(data.split(b"data: ", 1)[1]) == {"text": text}


class Client:
    """The other end of an ASGI connection."""

    def __init__(self, leaves: asyncio.Event | None = None) -> None:
        self.leaves = leaves or asyncio.Event()
        self.got = b""

    async def receive(self) -> dict[str, Any]:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.got += message.get("body", b"")


async def stream(
    client: Client, events: AsyncGenerator[bytes, None], closed: list[int], send_seconds: float = 5.0, beat: float = 5.0
) -> None:
    answer = EventStream(events, lambda: closed.append(1), beat)
    await answer({"type": "http"}, client.receive, paced(client.send, send_seconds))  # type: ignore[arg-type]


async def endless(until: list[str]) -> AsyncGenerator[bytes, None]:
    try:
        yield b"first"
        await asyncio.sleep(60)
        yield b"never"
    finally:
        until.append("ended")


async def some(*events: bytes | Exception) -> AsyncGenerator[bytes, None]:
    for event in events:
        if isinstance(event, Exception):
            raise event
        yield event


def test_events_are_sent_and_the_end_is_told() -> None:
    client, closed = Client(), []
    asyncio.run(stream(client, some(b"a", b"b"), closed))
    assert (client.got, closed) == (b"ab", [1])


def check_leaving_ends_it(make: Any) -> None:
    async def leaving() -> None:
        client, closed, ended = Client(), [], []
        task = asyncio.ensure_future(make(client, endless(ended), closed))
        while not client.got:
            await asyncio.sleep(0)
        client.leaves.set()
        with pytest.raises(ClientGoneError):
            await asyncio.wait_for(task, 1)
        assert (closed, ended) == ([1], ["ended"])

    asyncio.run(leaving())


def test_a_stream_ends_when_its_client_leaves() -> None:
    check_leaving_ends_it(stream)


def test_the_check_catches_a_stream_that_does_not_listen() -> None:
    async def deaf(client: Client, events: AsyncGenerator[bytes, None], closed: list[int]) -> None:
        async for event in events:
            await client.send({"type": "http.response.body", "body": event})

    with pytest.raises((AssertionError, TimeoutError)):
        check_leaving_ends_it(deaf)


def test_a_stream_ends_when_its_client_takes_nothing_in() -> None:
    client, closed = Client(), []

    async def never(message: dict[str, Any]) -> None:
        await asyncio.sleep(60)

    client.send = never  # type: ignore[method-assign]
    with pytest.raises(ClientGoneError):
        asyncio.run(stream(client, some(b"a"), closed, send_seconds=0.01))
    assert closed == [1]


@pytest.mark.parametrize("turns", range(5))
def test_a_stream_that_is_cancelled_as_a_send_ends_is_cancelled(turns: int) -> None:
    """In whatever turn of the loop: or a server that is told to end would wait for it for good."""

    async def cancelling() -> None:
        client, closed, sent = Client(), [], asyncio.Event()

        async def send(message: dict[str, Any]) -> None:
            if message.get("body"):
                client.got += message["body"]
                await sent.wait()

        client.send = send  # type: ignore[method-assign]
        streaming = asyncio.ensure_future(stream(client, endless([]), closed))
        while not client.got:
            await asyncio.sleep(0)
        (sending,) = (task for task in asyncio.all_tasks() if "EventStream._send" in repr(task.get_coro()))
        sent.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(ClientGoneError):
            await asyncio.wait_for(streaming, 1)
        assert closed == [1]

    asyncio.run(cancelling())


def test_a_client_that_left_before_the_first_event_is_noticed() -> None:
    async def gone() -> None:
        leaves, closed = asyncio.Event(), []
        leaves.set()
        client = Client(leaves)

        async def never() -> AsyncGenerator[bytes, None]:
            await asyncio.sleep(60)
            yield b""

        with pytest.raises(ClientGoneError):
            await asyncio.wait_for(stream(client, never(), closed), 1)
        assert closed == [1]

    asyncio.run(gone())


def test_a_silent_stream_says_that_it_is_alive() -> None:
    async def silent() -> AsyncGenerator[bytes, None]:
        await asyncio.sleep(0.05)
        yield b"data: late\n\n"

    client = Client()
    asyncio.run(stream(client, silent(), [], beat=0.01))
    assert client.got.startswith(b": waiting\n\n")
    assert client.got.endswith(b"data: late\n\n")


def test_what_goes_wrong_on_the_way_is_the_last_event() -> None:
    for error, said in ((ApiError(503, "stopping"), "stopping"), (ValueError("secret"), "request id")):
        client = Client()
        asyncio.run(stream(client, some(b"a", error), []))
        assert client.got.startswith(b"aevent: error\ndata: ")
        told = json.loads(client.got.split(b"data: ")[1])["error"]
        assert said in told["message"]
        assert "secret" not in told["message"]


def test_work_ends_when_nobody_waits_for_it() -> None:
    async def leaving() -> None:
        client, ended = Client(), []

        async def work() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(1)

        class Request:
            receive = staticmethod(client.receive)

        task = asyncio.ensure_future(while_there(Request(), work()))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        client.leaves.set()
        with pytest.raises(ClientGoneError):
            await task
        assert ended == [1]

    asyncio.run(leaving())
