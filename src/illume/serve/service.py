"""One model being served: its worker, its figures, its limits, and whether it still takes requests.

It does not know the endpoints, nor how they spell what they answer.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from starlette.requests import Request

from illume.api import Illume
from illume.core.errors import IllumeError, UsageError
from illume.generate.engine import Engine
from illume.serve import logs
from illume.serve.answers import Counts
from illume.serve.asker import Asker
from illume.serve.errors import ApiError, bad, of_illume
from illume.serve.job import Job, Order
from illume.serve.keys import Keys
from illume.serve.memory import Memory
from illume.serve.metrics import Metrics
from illume.serve.notes import notes_of
from illume.serve.schema import Drawing
from illume.serve.settings import GIGABYTE, Settings
from illume.serve.sse import EventStream
from illume.serve.urls import Fetcher
from illume.serve.worker import Worker

P = ParamSpec("P")
T = TypeVar("T")
_PREPARED_TOGETHER = 2  # requests whose images are being decoded: each may hold tens of megabytes


class Service:
    """What the endpoints share. `start` and `stop` are called on the event loop that serves."""

    def __init__(self, illume: Illume, settings: Settings) -> None:
        self.illume = illume
        self.settings = settings
        self.limits = settings.limits
        self.row_bytes = illume.row_bytes(settings.max_length)
        self.rows = self._rows()
        self.keys = Keys(settings.keys)
        self.metrics = Metrics()
        memory = Memory()
        beside = illume.parts.model.embedding.text.device.type != "cpu"  # core/threads.py says why
        self._painting = ThreadPoolExecutor(1, "illume-looking-again") if beside else None
        self.fetcher = Fetcher(settings.limits.body) if settings.remote_images else None
        self.worker = Worker(self._engine, illume.painter, memory, self.metrics, settings.limits.open, beside=beside)
        self.asker = Asker(illume, memory, settings.limits.pixels, self.worker.compute)
        self.created = int(time.time())
        self.draining = False
        self.requests = 0  # being answered, of those that may take long
        self._preparing = asyncio.Semaphore(_PREPARED_TOGETHER)
        self._quiet = asyncio.Event()
        self._watch()

    def start(self) -> None:
        """Begin to answer."""
        self.worker.start()

    async def stop(self) -> None:
        """Fail what is open, and end."""
        self.draining = True
        await self.worker.stop()
        if self._painting is not None:
            self._painting.shutdown(wait=False, cancel_futures=True)

    async def drain(self, seconds: float) -> bool:
        """Take nothing new, and wait until all is answered, for so long at most; whether it is."""
        self.draining = True
        try:
            async with asyncio.timeout(seconds):
                while self.requests:
                    self._quiet.clear()
                    await self._quiet.wait()
        except TimeoutError:
            return False
        return True

    @contextmanager
    def entered(self) -> Iterator[None]:
        """While a request is answered. ApiError where none is taken any more, or there are too many."""
        if self.draining:
            raise ApiError(503, "the server is shutting down", headers={"Retry-After": "5", "Connection": "close"})
        if self.requests >= self.limits.open + self.limits.uploads:
            raise ApiError(429, "too many requests at once; try again", headers={"Retry-After": "1"})
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1
            if not self.requests:
                self._quiet.set()

    async def prepare(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Something that takes a while, beside the event loop."""
        async with self._preparing:
            try:
                return await asyncio.to_thread(work, *arguments, **named)
            except IllumeError as error:
                raise of_illume(error) from error

    async def begin(self, orders: Sequence[Order]) -> list[Job]:
        """Have orders answered. ApiError where one of them is not taken: then none is."""
        jobs = self.worker.submit(orders)
        try:
            for job in jobs:
                await job.accepted
        except BaseException:
            self.worker.give_up(jobs)
            raise
        return jobs

    def check_model(self, name: str | None, param: str = "model") -> None:
        """ApiError 404 for another model than this one."""
        if name is not None and name != self.settings.name:
            message = f"there is no model {name!r:.100}; this server has {self.settings.name!r}"
            raise ApiError(404, message, param=param, code="model_not_found")

    def check_drawing(self, body: Drawing) -> None:
        """ApiError for what cannot be honoured of a request to draw."""
        self.check_model(body.model)
        self.check_n(body.n)
        self.asker.check_size(body.size)

    def check_n(self, n: int | None) -> None:
        """ApiError 400 for more answers than one request may ask for."""
        if n is not None and n > self.limits.n:
            raise bad(f"n: at most {self.limits.n} answers a request", "n")
        if n is not None and n > self.limits.open:
            raise bad(f"n: at most {self.limits.open} answers, for so many are taken at once of all requests", "n")

    def stream(self, events: AsyncGenerator[bytes, None], jobs: Sequence[Job]) -> EventStream:
        """A streamed answer of jobs; what is left of them when it ends is given up."""
        return EventStream(events, lambda: self.worker.give_up(jobs), self.settings.beat_seconds)

    def note(self, request: Request, counts: Counts) -> None:
        """What a request took, for its line in the log."""
        notes_of(request.scope).update(usage={"prompt": counts.prompt, "text": counts.text, "image": counts.images})

    def note_words(self, request: Request, words: str) -> None:
        """What a request said, for its line in the log, where that is wanted."""
        if self.settings.log_prompts:
            notes_of(request.scope).update(prompt=words)

    @property
    def about(self) -> dict[str, Any]:
        """The model, as /v1/models tells it."""
        width, height = self.asker.size
        return {
            "id": self.settings.name,
            "object": "model",
            "created": self.created,
            "owned_by": "illume",
            "context_length": self.settings.max_length or self.illume.parts.generation.max_length,
            "image_size": [height, width],
            "partial_images": 3,
        }

    @property
    def health(self) -> str:
        """ "ok", or why nothing is answered."""
        if self.draining:
            return "draining"
        return "ok" if self.worker.alive else "failed"

    def _engine(self) -> Engine:
        settings = {"painting": self._painting} | dict(self.settings.engine)
        engine = self.illume.engine(self.rows, max_length=self.settings.max_length, **settings)
        engine.prepare(lambda kind: logs.event("compiling", step=kind))  # or the first requests would wait for it
        return engine

    def _rows(self) -> int:
        """As many as are asked for, or as fit into the memory for them, but no more than answers could use."""
        memory = self.settings.cache_bytes
        if memory is None:
            return self.settings.rows or self.illume.parts.generation.rows
        rows = min(memory // self.row_bytes, 2 * self.limits.open)
        if rows < 2:
            raise UsageError(
                f"a row takes {self.row_bytes / GIGABYTE:.3g} GB, and a guided drawing two: give a cache of "
                f"{2 * self.row_bytes / GIGABYTE:.3g} GB or more, not {memory / GIGABYTE:.3g}, or a smaller max_length"
            )
        return rows

    def _watch(self) -> None:
        worker, watch = self.worker, self.metrics.watch
        watch("waiting", "Answers waiting for rows", lambda: worker.load.waiting)
        watch("running", "Answers under way", lambda: worker.load.running)
        watch("open", "Answers asked for and not sent yet", lambda: len(worker.open))
        watch("rows", "Rows of the engine", lambda: worker.load.rows)
        watch("busy_rows", "Rows in use", lambda: worker.load.busy_rows)
        watch("reused", "Prompt positions that did not have to be read", lambda: worker.load.reused)
        watch("draining", "1 while the server shuts down", lambda: self.draining)
