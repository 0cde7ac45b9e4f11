"""Those who ask: polite ones, who wait for their answers, and rude ones, who leave, dawdle or break off.

Each asks in turn until the time is over, and each request is bounded in time. It does not judge the server's state.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx2

from benchmarks.soak.asking import GOOD, Ask, Maker, chatting, drawing_streamed, editing, problem_of

PATIENCE = 60.0  # seconds: who has no answer by then was not answered
_MOST_PROBLEMS = 20  # that are told


@dataclass
class Tally:
    """What became of requests, by kind."""

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    problems: list[str] = field(default_factory=list)

    def note(self, kind: str, outcome: str, problem: str | None = None) -> None:
        """One request."""
        self.outcomes[kind][outcome if problem is None else "problem"] += 1
        if problem is not None and len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(f"{kind}: {problem}")

    def total(self, outcome: str | None = None) -> int:
        """How many of all kinds had this outcome; None: any."""
        counts = self.outcomes.values()
        return sum(sum(one.values()) if outcome is None else one[outcome] for one in counts)


@dataclass
class Crowd:
    """All who ask one server. `until`: of time.monotonic."""

    http: httpx2.AsyncClient
    port: int
    key: str
    until: float
    bad: tuple[Maker, ...]
    tally: Tally = field(default_factory=Tally)

    async def polite(self, chance: random.Random) -> None:
        """Waits for each answer."""
        makers, weights = zip(*GOOD, strict=True)
        await self.ask(chance.choices(makers, weights)[0](chance))

    async def wrong(self, chance: random.Random) -> None:
        """Sends what cannot be answered."""
        await self.ask(chance.choice(self.bad)(chance))
        await asyncio.sleep(0.05)

    async def in_bursts(self, chance: random.Random) -> None:
        """Asks for more at once than there is room for, then rests."""
        await asyncio.gather(*(self.ask(drawing_streamed(chance)) for _ in range(30)))
        await asyncio.sleep(5)

    async def vanishing(self, chance: random.Random) -> None:
        """Leaves without a word: before an answer, or in the middle of it."""
        ask = chance.choice((drawing_streamed, drawing_streamed, editing, chatting))(chance)
        reader, writer = await self._sent(self._spelt(ask))
        try:
            if chance.random() < 0.7:
                async with asyncio.timeout(chance.uniform(0.0, 0.6)):
                    while await reader.read(chance.randint(1, 2000)):
                        pass
            self.tally.note("vanish", "left")
        except TimeoutError:
            self.tally.note("vanish", "left")
        finally:
            await _closed(writer, at_once=chance.random() < 0.5)

    async def dawdling(self, chance: random.Random) -> None:
        """Takes in an answer a little at a time."""
        reader, writer = await self._sent(self._spelt(drawing_streamed(chance)), limit=1024)
        end, got = time.monotonic() + PATIENCE / 2, b""
        try:
            while time.monotonic() < end:
                async with asyncio.timeout(PATIENCE):
                    more = await reader.read(512)
                got += more
                if not more or got.endswith(b"0\r\n\r\n"):
                    break
                await asyncio.sleep(0.02)
            status = int(got.split(b" ", 2)[1]) if got else 0
            good = status == 429 or b"image_generation.completed" in got or time.monotonic() >= end
            self.tally.note("dawdle", "refused" if status == 429 else "answered", None if good else repr(got[-200:]))
        except TimeoutError:
            self.tally.note("dawdle", "", "not answered")
        finally:
            await _closed(writer)

    async def breaking_off(self, chance: random.Random) -> None:
        """Sends a part of a request, waits a while, and leaves."""
        request = self._spelt(editing(chance))
        _, writer = await self._sent(request[: chance.randrange(1, len(request))])
        await asyncio.sleep(chance.uniform(0, 1))
        await _closed(writer)
        self.tally.note("break off", "left")

    async def ask(self, ask: Ask) -> int:
        """Send a request, and judge what comes; its status, 0 where none came."""
        headers = {"authorization": f"Bearer {self.key}", **ask.headers}
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await self.http.request(ask.method, ask.path, headers=headers, **ask.options)
        except (TimeoutError, httpx2.HTTPError) as error:
            self.tally.note(ask.kind, "", f"not answered: {type(error).__name__} {error}"[:200])
            return 0
        text = answer.text
        problem = problem_of(ask, answer.status_code, text)
        self.tally.note(ask.kind, "answered" if answer.status_code == 200 else "refused", problem)
        if answer.status_code in (429, 503):
            await asyncio.sleep(0.2)
        return int(answer.status_code)

    async def going_on(self, what: Callable[[random.Random], Awaitable[None]], seed: int) -> None:
        """Somebody who does the same again and again until the time is over."""
        chance = random.Random(seed)
        while time.monotonic() < self.until:
            try:
                await what(chance)
            except OSError as error:
                self.tally.note(what.__name__, "", f"no connection: {error}")
                await asyncio.sleep(0.5)

    def everyone(self) -> list[Awaitable[None]]:
        """The crowd."""
        kinds = ((self.polite, 6), (self.wrong, 2), (self.in_bursts, 1), (self.vanishing, 3))
        kinds += ((self.dawdling, 2), (self.breaking_off, 1))
        people = [what for what, count in kinds for _ in range(count)]
        return [self.going_on(what, seed) for seed, what in enumerate(people)]

    async def _sent(self, data: bytes, limit: int = 2**16) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=limit)
        writer.write(data)
        await writer.drain()
        return reader, writer

    def _spelt(self, ask: Ask) -> bytes:
        """A request's bytes."""
        request = self.http.build_request(ask.method, ask.path, **ask.options)
        headers = dict(request.headers) | {"authorization": f"Bearer {self.key}"}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{ask.method} {ask.path} HTTP/1.1\r\n{head}\r\n".encode() + request.read()


async def _closed(writer: asyncio.StreamWriter, at_once: bool = False) -> None:
    if at_once:
        writer.transport.abort()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
