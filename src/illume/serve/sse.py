"""Server-sent events: how they are spelt, and a response that ends when its client does; it knows no event."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from illume.serve import logs
from illume.serve.errors import ApiError, ClientGoneError, internal

DONE = b"data: [DONE]\n\n"
_BEAT = b": waiting\n\n"


def spelt(data: Mapping[str, Any], event: str | None = None) -> bytes:
    """One event. JSON in ASCII has no line break, so nothing that it holds can end it early."""
    named = f"event: {event}\n" if event else ""
    return f"{named}data: {json.dumps(data, allow_nan=False, separators=(',', ':'))}\n\n".encode("ascii")


class EventStream(Response):
    """Events as they come, until they or the client's connection end; then the generator is closed, at once.

    Where nothing comes for `beat_seconds`, a comment says that the stream is alive.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], closing: Callable[[], None], beat_seconds: float) -> None:
        """closing: called at the end, however that comes, and even where no event was ever asked for."""
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self.events = events
        self.closing = closing
        self.beat_seconds = beat_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancelled(sending, leaving)
            self.closing()
            await self.events.aclose()
        if sending.cancelled():
            raise ClientGoneError
        sending.result()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for data in with_beats(guarded(self.events), self.beat_seconds):
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def guarded(events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The events; what goes wrong among them is an event too, and the last one."""
    try:
        async for event in events:
            yield event
    except ApiError as error:
        yield spelt(error.body(), "error")
    except ClientGoneError:
        raise
    except Exception as error:
        logs.event("stream_failed", logs.logging.ERROR, error)
        yield spelt(internal().body(), "error")


async def with_beats(events: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    """The events, and a comment wherever none came for so long."""
    coming: asyncio.Task[bytes] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(_next(events))
            while not (await asyncio.wait({coming}, timeout=seconds))[0]:
                yield _BEAT
            try:
                yield coming.result()
            except StopAsyncIteration:
                return
    finally:
        if coming is not None:
            await _cancelled(coming)


async def while_there(request: Request, work: Any) -> Any:
    """The result of a coroutine, unless the client leaves before: then it is cancelled, and ClientGoneError raised."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancelled(working, leaving)
    if working.cancelled():
        raise ClientGoneError
    return working.result()


async def _next(events: AsyncIterator[bytes]) -> bytes:
    return await anext(events)


async def _left(receive: Receive) -> None:
    """Until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancelled(*tasks: "asyncio.Task[Any] | asyncio.Future[Any]") -> None:
    """Cancel what is not done, and wait for it to have ended."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(BaseException):
            await task
