"""A loader whose next steps are made by a thread while the present one is used; it does not look into batches."""

from collections.abc import Sequence
from queue import Empty, Full, Queue
from threading import Event, Thread
from types import TracebackType
from typing import Any, Protocol, Self


class Loader(Protocol):
    def batches(self, step: int) -> Sequence[Any]:
        """The micro-batches of a step."""


class Prefetch:
    """`loader`, up to `depth` steps ahead of whoever asks for one step after the other.

    Asking for any other step is as right, and starts afresh from there. An error in the thread is raised when its step
    is asked for. Close it (or use it in a `with`) to end the thread.
    """

    def __init__(self, loader: Loader, depth: int = 2) -> None:
        if depth < 1:
            raise ValueError(f"depth has to be at least 1, not {depth}")
        self.loader, self.depth = loader, depth
        self._worker: _Worker | None = None

    def batches(self, step: int) -> Sequence[Any]:
        if self._worker is None or self._worker.next_step != step:
            self.close()
            self._worker = _Worker(self.loader, step, self.depth)
        try:
            return self._worker.take()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the thread and wait for it."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Worker:
    """One thread making the steps from `step` on."""

    def __init__(self, loader: Loader, step: int, depth: int) -> None:
        self.next_step = step
        self._loader = loader
        self._made: Queue[Sequence[Any] | BaseException] = Queue(maxsize=depth)
        self._ended = Event()
        # A daemon: a program that ends without closing must not hang on a full queue.
        self._thread = Thread(target=self._run, args=(step,), name="illume-prefetch", daemon=True)
        self._thread.start()

    def take(self) -> Sequence[Any]:
        made = self._made.get()
        if isinstance(made, BaseException):
            raise made
        self.next_step += 1
        return made

    def stop(self) -> None:
        self._ended.set()
        while self._thread.is_alive():  # make room for a put that is waiting
            try:
                self._made.get(timeout=0.01)
            except Empty:
                continue
        self._thread.join()

    def _run(self, step: int) -> None:
        while not self._ended.is_set():
            try:
                made: Sequence[Any] | BaseException = self._loader.batches(step)
            except BaseException as error:  # handed over to whoever asks for this step
                made = error
            self._put(made)
            if isinstance(made, BaseException):
                return
            step += 1

    def _put(self, made: Sequence[Any] | BaseException) -> None:
        while not self._ended.is_set():
            try:
                self._made.put(made, timeout=0.1)
                return
            except Full:
                continue
