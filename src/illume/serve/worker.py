"""The thread that owns the engine: requests come in by a queue, what becomes of them goes out to the event loop.

Neither side polls: an idle worker sleeps until something is asked, the loop is called when there are news. It knows
orders and jobs, but nothing of HTTP.

On a CPU pictures are painted and encoded in the engine's thread too, between its steps (core/threads.py says why).
"""

import asyncio
import math
import queue
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from functools import partial
from typing import Any, TypeVar

from illume.core.errors import IllumeError
from illume.core.threads import in_passing
from illume.generate.draw import Painter
from illume.generate.engine import Engine
from illume.generate.request import Key, Result
from illume.serve import logs
from illume.serve.errors import ApiError, internal, of_illume
from illume.serve.job import Job, Order
from illume.serve.memory import Memory
from illume.serve.metrics import Metrics
from illume.serve.painter import PaintShop, PartialDrawn, Task
from illume.serve.running import Running
from illume.serve.tracker import Drawing, News, Picture, Said

_MOST_FAILURES = 3  # in a row: then the engine is given up, and health says so
_MOST_WAIT = 60  # seconds, of Retry-After
_PATIENCE = 0.5  # seconds after which who waits for the engine's thread looks whether it is alive
Action = Callable[[], None]
T = TypeVar("T")


class Worker:
    """Answers orders. `submit` and `give_up` are called on the event loop, on which `start` was called too."""

    def __init__(
        self,
        make_engine: Callable[[], Engine],
        painter: Painter,
        memory: Memory,
        metrics: Metrics,
        most_open: int,
        *,
        beside: bool,
    ) -> None:
        """beside: pictures are painted and encoded beside the engine's steps, not between them."""
        self.failed = False
        self.open: set[Job] = set()
        self._make_engine = make_engine
        self._metrics = metrics
        self._most_open = most_open
        self._images_kept = painter.decoder.upscale == 1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._orders: queue.SimpleQueue[Action] = queue.SimpleQueue()
        self._running: dict[Key, Running] = {}
        self._engine = in_passing(make_engine)
        self._working = True
        self._news: list[Action] = []
        self._beside = beside
        self._shop = PaintShop(painter, memory, metrics.paint_batch.observe, self.compute, beside=beside)
        self._thread = threading.Thread(target=self._work, name="illume-engine", daemon=True)
        self._seconds = 1.0  # of an answer, on the average of the last ones
        self.load = self._engine.load

    def start(self) -> None:
        """Begin to work."""
        self._loop = asyncio.get_running_loop()
        self._shop.start()
        self._thread.start()

    async def stop(self) -> None:
        """Fail what is open, and end."""
        self.refuse_all()
        self._orders.put(self._end)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._shop.stop)

    @property
    def alive(self) -> bool:
        """Whether it works."""
        return self._thread.is_alive() and not self.failed

    def submit(self, orders: Sequence[Order]) -> list[Job]:
        """Queue answers, all or none. ApiError 429 where too many are open already."""
        if len(self.open) + len(orders) > self._most_open:
            wait = max(1, min(_MOST_WAIT, math.ceil(self._seconds)))
            message = f"too many answers are waiting or under way (most: {self._most_open}); try again in {wait} s"
            raise ApiError(429, message, headers={"Retry-After": str(wait)})
        if not self.alive:
            raise ApiError(503, "the engine has stopped", headers={"Retry-After": str(_MOST_WAIT)})
        jobs = [Job(order) for order in orders]
        self.open.update(jobs)
        for job in jobs:
            self._orders.put(partial(self._add, job))
        return jobs

    def give_up(self, jobs: Iterable[Job]) -> None:
        """Nobody waits for these any more: what is left of them is cancelled, and their rows are free."""
        for job in jobs:
            if job in self.open:
                self._metrics.cancelled.inc()
                self._leave(job)

    def refuse_all(self) -> None:
        """Let all that is open fail, as there is no more time."""
        for job in list(self.open):
            self.refuse(job, ApiError(503, "the server is shutting down"))

    def refuse(self, job: Job, error: ApiError) -> None:
        """Let a job fail, and cancel it."""
        job.fail(error)
        self._leave(job)

    def _leave(self, job: Job) -> None:
        job.given_up = True
        self.open.discard(job)
        self._orders.put(partial(self._cancel, job))

    # What follows happens in the worker's thread.

    def _work(self) -> None:
        failures = 0
        while self._working:
            try:
                self._obey()
                if self._engine.busy and self._working:
                    self._step()
                    failures = 0
            except Exception as error:  # of memory, say: those who were answered lose their answers, the others wait
                failures += 1
                self._start_over(error, failures)
            self._tell()
        self._tell()

    def _obey(self) -> None:
        """Do what is asked, and wait for it if there is nothing else to do."""
        try:
            action = self._orders.get(block=not self._engine.busy)
            while True:
                action()
                action = self._orders.get_nowait()
        except queue.Empty:
            pass
        self.load = self._engine.load
        self._tell()

    def _end(self) -> None:
        self._working = False

    def _add(self, job: Job) -> None:
        if job.given_up:
            return
        try:
            key = self._engine.add(job.order.request)
        except IllumeError as error:
            self._later(self._failed, job, of_illume(error))
        except Exception as error:
            logs.event("request_failed", logs.logging.ERROR, error, request_id=job.request_id)
            self._later(self._failed, job, internal())
        else:
            self._running[key] = Running(job, self._metrics, self._images_kept)
            self._later(job.accept)

    def _cancel(self, job: Job) -> None:
        for key, running in list(self._running.items()):
            if running.job is job:
                self._engine.cancel(key)
                del self._running[key]

    def _step(self) -> None:
        results = self._engine.step()
        self._metrics.steps.inc()
        for result in results:
            running = self._running.pop(result.key, None)
            if running is not None and result.error is None:
                self._finish(running, result)
            elif running is not None:
                self._not_looked_at(running.job, result.error)
        for key, running in self._running.items():
            self._look(key, running)
        self.load = self._engine.load

    def _look(self, key: Key, running: Running) -> None:
        """Tell what is new of an answer, if anyone wants to know."""
        progress = self._engine.progress(key) if running.worth_a_look else None
        if progress is None:
            return
        if progress.begun:
            running.begin()
        self._bring(running, running.tracker.look(progress))
        running.rest, running.tracker.rest = running.tracker.rest, 0

    def _finish(self, running: Running, result: Result) -> None:
        seconds = running.end(result)
        self._seconds += 0.1 * (seconds - self._seconds)
        self._bring(running, running.tracker.finish(result))
        self._later(self._ended, running.job, result)

    def _not_looked_at(self, job: Job, error: BaseException | None) -> None:
        logs.event("painting_failed", logs.logging.ERROR, error, request_id=job.request_id)
        self._later(self._failed, job, internal())

    def _bring(self, running: Running, news: Iterable[News]) -> None:
        """Take news to the event loop, and pictures to the painter."""
        for one in news:
            if isinstance(one, Said):
                running.speak()
                self._later(running.job.say, one.text)
            elif isinstance(one, Drawing):
                self._later(running.job.begin, one.number)
            elif isinstance(one, Picture):
                self._have_painted(running, one)

    def _have_painted(self, running: Running, picture: Picture) -> None:
        job, number, what = running.job, picture.number, picture.what
        if isinstance(what, PartialDrawn):
            deliver = partial(job.sketch, number, what.partial.rows, what.partial.of)
        else:
            deliver = partial(job.show, number)
            self._later(job.place, number)
            self._tell()  # its place is there before it is painted
        done = partial(self._painted, running, isinstance(what, PartialDrawn), deliver)
        self._shop.ask(Task(job, what, done, partial(self._not_painted, job)))

    def _start_over(self, error: Exception, failures: int) -> None:
        """A new engine, after a step of the old one failed, or what was asked between its steps."""
        lost = [running.job.request_id for running in self._running.values()]
        logs.event("engine_failed", logs.logging.ERROR, error, answers=len(lost), request_ids=list(dict.fromkeys(lost)))
        self._metrics.failures.inc()
        for running in self._running.values():
            self._later(self._failed, running.job, internal())
        self._running.clear()
        self._tell()  # now: a new engine may take minutes, where it compiles
        try:
            if failures >= _MOST_FAILURES:
                raise error
            del self._engine  # with its rows: there may not be memory for two
            traceback.clear_frames(error.__traceback__)  # they hold it too
            self._engine = self._make_engine()
        except Exception as last:
            logs.event("engine_given_up", logs.logging.CRITICAL, last)
            self.failed, self._working = True, False
            self._later(self._fail_all)

    def _later(self, call: Callable[..., None], *arguments: Any) -> None:
        """Have something happen on the event loop, in this order, with the next `_tell`."""
        self._news.append(partial(call, *arguments))

    def _tell(self) -> None:
        if self._news:
            news, self._news = self._news, []
            self._on_loop(news)

    def _on_loop(self, news: Sequence[Action]) -> None:
        assert self._loop is not None  # started
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_each, news)

    # What follows happens in other threads: the painter's, and those in which requests are prepared.

    def compute(self, work: Callable[[], T]) -> T:
        """Have tensors computed where that may be done (core/threads.py), and wait for it."""
        return work() if self._beside else self._between_steps(work)

    def _between_steps(self, work: Callable[[], T]) -> T:
        """Have the engine's thread do something, or do it here where that thread has ended."""
        done: Future[T] = Future()
        self._orders.put(partial(_do, work, done))
        while not done.done() and self._thread.is_alive():
            wait([done], _PATIENCE)
        return done.result() if done.done() else work()

    def _painted(self, running: Running, unfinished: bool, deliver: Callable[[bytes], None], data: bytes) -> None:
        running.see(unfinished)
        self._on_loop([partial(deliver, data), partial(self._close, running.job)])

    def _not_painted(self, job: Job, error: Exception) -> None:
        logs.event("painting_failed", logs.logging.ERROR, error, request_id=job.request_id)
        self._on_loop([partial(self._failed, job, internal())])

    # What follows happens on the event loop.

    def _ended(self, job: Job, result: Result) -> None:
        job.end(result)
        self._close(job)

    def _close(self, job: Job) -> None:
        if job.complete:
            self.open.discard(job)

    def _failed(self, job: Job, error: ApiError) -> None:
        if not job.given_up:
            self.refuse(job, error)

    def _fail_all(self) -> None:
        for job in list(self.open):
            self.refuse(job, ApiError(503, "the engine has stopped"))


def _do(work: Callable[[], T], done: Future[T]) -> None:
    try:
        done.set_result(work())
    except BaseException as error:
        done.set_exception(error)


def _each(actions: Sequence[Action]) -> None:
    for action in actions:
        action()
