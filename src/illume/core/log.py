"""What a run tells the person and writes down: console, progress with ETA, metrics as JSON lines; it knows no metric.

Standard output belongs to a command's answer: everything said here goes to standard error.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from illume.core.errors import CheckpointError, DataError
from illume.core.files import parse_json, write_text

console = Console(stderr=True)


class Progress:
    """Progress of `total` units: a bar with ETA on a terminal, elsewhere a line every `every` seconds.

    `done` units were finished by an earlier run: they count, but not towards the speed.
    """

    def __init__(
        self,
        title: str,
        total: int,
        done: int = 0,
        *,
        every: float = 10.0,
        enabled: bool = True,
        to: Console = console,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title, self.total, self.done = title, total, done
        self._every, self._enabled, self._to, self._clock = every, enabled, to, clock
        self._first = done
        self._start = self._last_line = clock()
        self._bar: RichProgress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> "Progress":
        self._start = self._last_line = self._clock()
        if self._enabled and self._to.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            figures = TextColumn("[dim]{task.fields[figures]}")
            self._bar = RichProgress(*columns, TextColumn("ETA"), TimeRemainingColumn(), figures, console=self._to)
            self._task = self._bar.add_task(self.title, total=self.total, completed=self.done, figures="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, units: int = 1, **figures: float) -> None:
        """Count units as done; the figures (a loss, say) stand beside them."""
        self.done += units
        shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, figures=shown)
        elif self._enabled and (self._clock() - self._last_line >= self._every or self.done >= self.total):
            self._last_line = self._clock()
            self._to.print(self._line(shown), markup=False, highlight=False, soft_wrap=True)

    def _line(self, shown: str) -> str:
        elapsed = self._clock() - self._start
        left = elapsed / max(self.done - self._first, 1) * (self.total - self.done)
        times = f"{_minutes(elapsed)} passed, {_minutes(left)} left"
        return "  ".join(filter(None, (f"{self.title}  {self.done}/{self.total}  {times}", shown)))


class MetricsFile:
    """An append-only file of JSON lines, each with the `part` of the run and the `step` it belongs to.

    A run killed while writing leaves its last line torn: reading passes over it, the next append removes it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._whole = False  # whether the file is known to end with a whole line

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row and hand it to the operating system; figures that are not finite become null.

        Raises CheckpointError if it cannot be written; the rows before stay readable.
        """
        line = json.dumps({name: _jsonable(value) for name, value in row.items()}, ensure_ascii=False) + "\n"
        try:
            if not self._whole:
                self._drop_torn_line()
            self._whole = False
            with self.path.open("ab") as file:
                file.write(line.encode("utf-8"))
            self._whole = True
        except OSError as error:
            raise CheckpointError(f"{self.path}: could not be written: {error}; its earlier rows stand") from error

    def read(self) -> list[dict[str, Any]]:
        """All whole rows. DataError, with file and line, for a line that is not a JSON object."""
        return [json.loads(line) for line in self._lines()]

    def truncate_after(self, part: str, step: int) -> None:
        """Drop the rows of `part` beyond `step`: those steps are done again, and then stand here once."""
        lines = self._lines()
        rows = [json.loads(line) for line in lines]
        stay = [
            line
            for line, row in zip(lines, rows, strict=True)
            if row.get("part") != part or row.get("step", step) <= step
        ]
        if len(stay) < len(lines):
            write_text(self.path, "".join(line + "\n" for line in stay))

    def _lines(self) -> list[str]:
        if not self.path.exists():
            return []
        # Only what ends in a newline was written whole.
        lines = self.path.read_bytes().split(b"\n")[:-1]
        return [_checked(line, f"{self.path}:{number}") for number, line in enumerate(lines, start=1)]

    def _drop_torn_line(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            file.seek(0)
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)


def _checked(line: bytes, where: str) -> str:
    try:
        text = line.decode("utf-8")
        row = parse_json(text)
    except ValueError as error:
        raise DataError(f"{where}: not a line of JSON: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object, got {text[:40]}")
    return text


def _jsonable(value: Any) -> Any:
    """Numbers of torch and numpy as Python's; JSON has no NaN and no infinity."""
    if isinstance(value, Mapping):
        return {name: _jsonable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    number = value.item() if hasattr(value, "item") else value
    return None if isinstance(number, float) and not math.isfinite(number) else number


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
