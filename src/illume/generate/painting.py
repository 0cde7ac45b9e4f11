"""Drawn images on their way to pixels: painted at once, or by an executor while rows go on writing.

It does not know how an image is painted, nor why it is wanted.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from typing import TypeAlias

from illume.generate.request import Key, Pixels
from illume.vocab.messages import ImageFrame


@dataclass(frozen=True)
class Drawn:
    """An image to be painted: its frame, its codes (row-major, one tuple a level), the seed of the painter's noise."""

    frame: ImageFrame
    codes: tuple[tuple[int, ...], ...]
    seed: int


Paint: TypeAlias = Callable[[Sequence[Drawn]], list[Pixels]]


class Paintings:
    """Images being painted, by key."""

    def __init__(self, paint: Paint | None, executor: Executor | None) -> None:
        self._paint = paint
        self._executor = executor
        self._under_way: dict[Key, tuple[Future[list[Pixels]], int]] = {}  # and the image's number in its batch

    @property
    def possible(self) -> bool:
        """Whether there is a painter."""
        return self._paint is not None

    def __contains__(self, key: Key) -> bool:
        return key in self._under_way

    def begin(self, drawn: Mapping[Key, Drawn]) -> None:
        """Have images painted together."""
        future = self._painted(list(drawn.values()))
        self._under_way |= {key: (future, number) for number, key in enumerate(drawn)}

    def wait(self, keys: Collection[Key], seconds: float) -> None:
        """Until one of these is painted, but not for longer."""
        wait([self._under_way[key][0] for key in keys], seconds, FIRST_COMPLETED)

    def take(self, keys: Collection[Key]) -> dict[Key, Pixels]:
        """Those of the keys that are painted; not those that cannot be."""
        futures = {key: self._under_way[key] for key in keys}
        found = {
            key: future.result()[number]
            for key, (future, number) in futures.items()
            if future.done() and future.exception() is None
        }
        for key in found:
            self.forget(key)
        return found

    def failed(self, keys: Collection[Key]) -> dict[Key, BaseException]:
        """Those of the keys that cannot be painted, and why; what was to be painted together fails together."""
        done = {key: self._under_way[key][0] for key in keys if self._under_way[key][0].done()}
        errors = {key: future.exception() for key, future in done.items()}
        return {key: error for key, error in errors.items() if error is not None}

    def forget(self, key: Key) -> None:
        """Nobody waits for this one any more."""
        self._under_way.pop(key, None)

    def _painted(self, drawn: list[Drawn]) -> Future[list[Pixels]]:
        assert self._paint is not None  # seen to when a request is added that looks at what it draws
        if self._executor is not None:
            return self._executor.submit(self._paint, drawn)
        done: Future[list[Pixels]] = Future()
        try:
            done.set_result(self._paint(drawn))
        except Exception as error:
            done.set_exception(error)
        return done
