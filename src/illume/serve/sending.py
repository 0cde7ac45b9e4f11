"""Answers sent piece by piece, as long as the client takes them in; it knows neither endpoints nor sockets."""

import asyncio
from collections.abc import Iterator

from starlette.types import Message, Send

from illume.serve.errors import ClientGoneError

PIECE = 64 * 1024  # bytes: so many a connection keeps before it lets who sends more wait


def paced(send: Send, seconds: float) -> Send:
    """`send`, by pieces. ClientGoneError where one of them is not taken in within so many seconds, or cannot be."""

    async def sent(message: Message) -> None:
        try:
            for piece in _pieces(message):
                async with asyncio.timeout(seconds):  # in 3.11 wait_for forgets who cancels it as a send ends
                    await send(piece)
        except (TimeoutError, OSError) as error:
            raise ClientGoneError from error

    return sent


def _pieces(message: Message) -> Iterator[Message]:
    """A large body in several; its end is sent by itself, and so waits until most of the rest is on its way."""
    body = message.get("body", b"")
    if len(body) <= PIECE:
        yield message
        return
    for start in range(0, len(body), PIECE):
        yield {**message, "body": body[start : start + PIECE], "more_body": True}
    if not message.get("more_body", False):
        yield {**message, "body": b""}
