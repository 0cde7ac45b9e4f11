"""One answer under way, as the event loop sees it: what has come of it, in its order, whenever it came.

Nothing of it grows without end, however slowly it is read: words are joined, and where only the newest partial picture
counts, it takes the place of the one before. It does not know threads, engines or HTTP.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from PIL import Image

from illume.generate.request import Request, Result
from illume.serve.logs import REQUEST_ID
from illume.serve.pictures import Format

Partials: TypeAlias = int | Literal["rows"]
"""How many partial pictures of a drawing are wanted; "rows": one for each finished row, as far as there is time."""


@dataclass(frozen=True)
class Order:
    """An answer that is wanted. `words`: as they come. `finish`: what is done with a drawing before it is sent.

    `image_ids`: how many of the prompt's ids stand for images.
    """

    request: Request
    image_ids: int = 0
    format: Format = Format()
    words: bool = False
    partials: Partials = 0
    finish: Callable[[Image.Image], Image.Image] | None = None


@dataclass(frozen=True)
class Words:
    """More words."""

    text: str


@dataclass(frozen=True)
class Began:
    """Picture `number` of the answer, from 0, is being drawn."""

    number: int


@dataclass(frozen=True)
class Sketch:
    """Picture `number` so far, as a file; the `index`-th of its partial pictures, from 0."""

    number: int
    index: int
    rows: int
    of: int
    data: bytes


@dataclass(frozen=True)
class Shown:
    """Picture `number`, as a file."""

    number: int
    data: bytes


@dataclass(frozen=True)
class Ended:
    """The answer is whole."""

    result: Result


Event: TypeAlias = Words | Began | Sketch | Shown | Ended


@dataclass(eq=False)
class _Place:
    """Where a picture stands in the answer, until it is painted: what comes after waits for it."""

    number: int


@dataclass(eq=False)
class Job:
    """An answer under way. All of it happens on the event loop, but `given_up`, which other threads read.

    `request_id`: of the request that wants it, for the log.
    """

    order: Order
    request_id: str | None = field(default_factory=REQUEST_ID.get)
    accepted: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    given_up: bool = False
    ended: bool = False
    _coming: "deque[Event | _Place | BaseException]" = field(default_factory=deque)
    _more: asyncio.Event = field(default_factory=asyncio.Event)
    _sketches: dict[int, int | None] = field(default_factory=dict)

    def accept(self) -> None:
        """The engine has taken the request."""
        if not self.accepted.done():
            self.accepted.set_result(None)

    def say(self, text: str) -> None:
        """More words."""
        last = self._coming[-1] if self._coming else None
        if isinstance(last, Words):
            self._coming[-1] = Words(last.text + text)
        else:
            self._put(Words(text))

    def begin(self, number: int) -> None:
        """A picture is being drawn."""
        self._put(Began(number))

    def place(self, number: int) -> None:
        """A picture is drawn; it will be shown here once it is painted."""
        self._put(_Place(number))

    def sketch(self, number: int, rows: int, of: int, data: bytes) -> None:
        """A partial picture; one that comes after the picture itself is dropped."""
        count = self._sketches.get(number, 0)
        if count is None:
            return
        place = next((i for i, one in enumerate(self._coming) if _is_place(one, number)), len(self._coming))
        before = self._coming[place - 1] if place else None
        if self.order.partials == "rows" and isinstance(before, Sketch) and before.number == number:
            self._coming[place - 1] = Sketch(number, before.index, rows, of, data)
        else:
            self._sketches[number] = count + 1
            self._coming.insert(place, Sketch(number, count, rows, of, data))
        self._more.set()

    def show(self, number: int, data: bytes) -> None:
        """The picture, in its place."""
        self._sketches[number] = None
        for i, one in enumerate(self._coming):
            if _is_place(one, number):
                self._coming[i] = Shown(number, data)
                self._more.set()
                return

    def end(self, result: Result) -> None:
        """Nothing more will come."""
        self.ended = True
        self._put(Ended(result))

    @property
    def complete(self) -> bool:
        """Whether the answer is whole, with all its pictures."""
        return self.ended and not any(isinstance(one, _Place) for one in self._coming)

    def fail(self, error: BaseException) -> None:
        """Nothing more will come, as something went wrong; what was there waits for nothing any more."""
        if not self.accepted.done():
            self.accepted.set_exception(error)
            self.accepted.exception()  # whoever waits for it is told; nobody has to
        self._coming = deque(one for one in self._coming if not isinstance(one, _Place | Ended))
        self._put(error)

    async def events(self) -> AsyncIterator[Event]:
        """All that comes, once, up to `Ended`. Raises what the job failed of."""
        while True:
            while not self._coming or isinstance(self._coming[0], _Place):
                self._more.clear()
                await self._more.wait()
            event = self._coming.popleft()
            assert not isinstance(event, _Place)
            if isinstance(event, BaseException):
                raise event
            yield event
            if isinstance(event, Ended):
                return

    def _put(self, event: "Event | _Place | BaseException") -> None:
        self._coming.append(event)
        self._more.set()


def _is_place(event: object, number: int) -> bool:
    return isinstance(event, _Place) and event.number == number
