"""Bodies of requests: of bounded size, in bounded time, whole or not at all; it knows no endpoint."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from illume.serve.errors import ApiError, ClientGoneError
from illume.serve.settings import Limits

_SILENCE = 1.0  # seconds after which a body that is silent may have to make room for another
_PAUSE = 2.0  # seconds: who sends nothing for so long after a refusal has read it


class Bodies:
    """Lets in bodies within the limits. A 413 comes with OpenAI's error, even to who reads only when all is sent."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.limits = limits
        self._coming: set[Body] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. ApiError 413 or 408 is raised where its body is read, ClientGoneError if it breaks off,
        429 if too many others are coming."""
        body = Body(receive, self.limits, self._coming.discard)
        self._enter(body)
        try:
            await self._answer(body, scope, send)
        finally:
            self._coming.discard(body)

    def _enter(self, body: "Body") -> None:
        """Count a body. Where there are too many, the one that has been silent longest makes room for it."""
        if len(self._coming) >= self.limits.uploads:
            stalled = min(self._coming, key=lambda one: one.heard)
            if time.monotonic() - stalled.heard < _SILENCE:
                raise ApiError(429, "too many requests are being read; try again", headers={"Retry-After": "1"})
            stalled.give_up()
            self._coming.discard(stalled)
        self._coming.add(body)

    async def _answer(self, body: "Body", scope: Scope, send: Send) -> None:
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > self.limits.body:
            await body.too_large().response()(scope, body.receive, body.lingering(send))
            return
        await self.app(scope, body.receive, body.lingering(send))
        if body.broken_off:  # the framework takes that for a body that cannot be read
            raise ClientGoneError


class Body:
    """One body as it arrives. `heard`: when something of it came last; `ended` is called when all of it has."""

    def __init__(self, receive: Receive, limits: Limits, ended: "Callable[[Body], None]") -> None:
        self.broken_off = False
        self.heard = time.monotonic()
        self._receive = receive
        self._ended = ended
        self._waiting: asyncio.Timeout | None = None
        self._most = limits.body
        self._until = time.monotonic() + limits.upload_seconds
        self._size = 0
        self._whole = False
        self._refused = False

    async def receive(self) -> Message:
        """What comes next; ApiError and ClientGoneError as told above."""
        if self._whole:
            return await self._receive()
        try:
            message = await self._next(self._left)
        except TimeoutError as error:
            raise ApiError(408, "the body did not arrive in time") from error
        if message["type"] == "http.disconnect":
            self.broken_off = True
            raise ClientGoneError
        if self._size > self._most:
            raise self.too_large()
        return message

    def give_up(self) -> None:
        """Wait for it no longer: its time is over."""
        self._until = 0.0
        if self._waiting is not None:
            self._waiting.reschedule(0.0)

    def too_large(self) -> ApiError:
        """A refusal after which the connection is closed."""
        self._refused = True
        return ApiError(413, f"a request may have at most {self._most:,} bytes", headers={"Connection": "close"})

    def lingering(self, send: Send) -> Send:
        """`send` for the answer, which after a refusal ends only when what still comes has been thrown away.

        A connection that is closed before is reset, and the answer with it: who has not read it yet never sees it.
        """

        async def sent(message: Message) -> None:
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if last and self._refused and not self._whole:
                await send({**message, "more_body": True})
                await self._throw_away()
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        return sent

    @property
    def _left(self) -> float:
        return max(0.0, self._until - time.monotonic())

    async def _throw_away(self) -> None:
        """Of what still comes so much that, in all, it is twice what a body may have: who sends more is cut off."""
        with suppress(TimeoutError):
            while not self._whole and self._size <= 2 * self._most:
                await self._next(min(_PAUSE, self._left))

    async def _next(self, seconds: float) -> Message:
        try:
            async with asyncio.timeout(seconds) as self._waiting:
                message = await self._receive()
        finally:
            self._waiting = None
        self.heard = time.monotonic()
        self._size += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._whole:
            self._ended(self)
        return message
