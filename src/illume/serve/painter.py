"""The thread that sees to pictures: finished and partial drawings of all answers, painted in batches and made files.

It knows pictures and where they are to be sent, but neither the engine nor HTTP.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from PIL import Image

from illume.generate.draw import Painter
from illume.generate.painting import Drawn
from illume.generate.request import Partial
from illume.serve.job import Job
from illume.serve.memory import Memory

T = TypeVar("T")
# Where tensors are computed: it calls what it is given, in some thread, and returns what came of it.
Compute: TypeAlias = Callable[[Callable[[], T]], T]
Pictures: TypeAlias = list[Image.Image]
_LONGEST = 0.5  # seconds that painting may keep answers waiting, where it is done between their steps
_MOST = 16  # painted together: enough to be quick, few enough not to let a partial picture wait


@dataclass(frozen=True)
class PartialDrawn:
    """An unfinished drawing, and the seed of its noise."""

    partial: Partial
    seed: int


@dataclass(frozen=True)
class Painted:
    """A drawing whose picture is there already."""

    drawn: Drawn
    picture: Image.Image


@dataclass(frozen=True)
class Task:
    """A picture to paint for a job. `done` and `failed` are called in the painter's thread."""

    job: Job
    what: Drawn | PartialDrawn | Painted
    done: Callable[[bytes], None]
    failed: Callable[[Exception], None]


class PaintShop:
    """Paints in a thread of its own, in the order in which pictures were asked for, a batch at a time.

    What a job that is given up asked for is left out. `memory` keeps the codes of what is painted; `count` is told of
    each batch; `compute` has the painting itself done. Where others wait for it meanwhile (`beside` is False), a batch
    is as large as the last one says that it may be, and one picture at least.
    """

    def __init__(
        self,
        painter: Painter,
        memory: Memory,
        count: Callable[[int], None],
        compute: Compute[Pictures],
        *,
        beside: bool,
    ) -> None:
        self._painter = painter
        self._memory = memory
        self._count = count
        self._compute = compute
        self._beside = beside
        self._together = _MOST if beside else 1
        self._tasks: deque[Task] = deque()
        self._some = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._work, name="illume-painter", daemon=True)

    def start(self) -> None:
        """Begin to paint."""
        self._thread.start()

    def stop(self) -> None:
        """Paint what was asked for, then end."""
        with self._some:
            self._open = False
            self._some.notify()
        self._thread.join()

    def ask(self, task: Task) -> None:
        """Have a picture painted. Where only the newest partial picture of a job counts, older ones are forgotten."""
        with self._some:
            if task.job.order.partials == "rows":
                self._forget_partials(task.job)
            self._tasks.append(task)
            self._some.notify()

    def _forget_partials(self, job: Job) -> None:
        kept = [one for one in self._tasks if not (one.job is job and isinstance(one.what, PartialDrawn))]
        if len(kept) < len(self._tasks):
            self._tasks = deque(kept)

    def _work(self) -> None:
        while tasks := self._next():
            wanted = [task for task in tasks if not task.job.given_up]
            if wanted:
                self._count(len(wanted))
            whole = [task for task in wanted if not isinstance(task.what, Painted)]
            try:
                painted = dict(zip(map(id, whole), self._painted(whole), strict=True))
            except Exception as error:
                for task in whole:
                    task.failed(error)
                wanted, painted = [task for task in wanted if isinstance(task.what, Painted)], {}
            for task in wanted:
                self._send(task, painted.get(id(task)))

    def _next(self) -> list[Task]:
        """What is to be painted together; nothing when the shop is closed."""
        with self._some:
            while self._open and not self._tasks:
                self._some.wait()
            return [self._tasks.popleft() for _ in range(min(self._together, len(self._tasks)))]

    def _painted(self, tasks: Sequence[Task]) -> list[Image.Image]:
        if not tasks:
            return []
        return self._compute(lambda: self._timed([task.what for task in tasks]))

    def _timed(self, what: Sequence[Drawn | PartialDrawn | Painted]) -> Pictures:
        began = time.monotonic()
        pictures = self._painter.pictures([self._drawn(one) for one in what])
        if not self._beside:
            most = _LONGEST * len(what) / max(time.monotonic() - began, 1e-6)
            self._together = max(1, min(_MOST, int(most)))
        return pictures

    def _drawn(self, what: Drawn | PartialDrawn | Painted) -> Drawn:
        """What is painted: of an unfinished drawing what there is, and nothing elsewhere."""
        if isinstance(what, PartialDrawn):
            return self._painter.completed(Drawn(what.partial.frame, what.partial.codes, what.seed))
        return what.drawn if isinstance(what, Painted) else what

    def _send(self, task: Task, picture: Image.Image | None) -> None:
        try:
            file = self._file(task, picture)
        except Exception as error:
            task.failed(error)
        else:
            task.done(file)

    def _file(self, task: Task, picture: Image.Image | None) -> bytes:
        what, order = task.what, task.job.order
        if isinstance(what, Painted):
            picture = what.picture
        assert picture is not None  # painted with the others
        if not isinstance(what, PartialDrawn):
            drawn = self._drawn(what)
            self._memory.keep(picture, drawn.frame, drawn.codes)
        return order.format.encoded(picture if order.finish is None else order.finish(picture))
