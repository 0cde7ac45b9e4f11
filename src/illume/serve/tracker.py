"""What is new of an answer since it was last looked at: words, pictures begun, rows finished, pictures to be painted.

It belongs to the thread of the engine; where the news go it does not know.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from illume.core.streams import seed_of
from illume.generate.painting import Drawn
from illume.generate.request import Partial, Progress, Result
from illume.images import ops
from illume.serve.job import Job
from illume.serve.painter import Painted, PartialDrawn
from illume.vocab.messages import ImagePart, TextPart


@dataclass(frozen=True)
class Said:
    """More words."""

    text: str


@dataclass(frozen=True)
class Drawing:
    """A picture is begun."""

    number: int


@dataclass(frozen=True)
class Picture:
    """A picture, partial or whole, to be painted; or one that is painted, to be sent."""

    number: int
    what: Drawn | PartialDrawn | Painted


News: TypeAlias = Said | Drawing | Picture


class Tracker:
    """One answer. `rest`: after how many steps it is worth looking again."""

    def __init__(self, job: Job, images_kept: bool) -> None:
        """images_kept: whether pictures that the engine painted to look at them are as a person sees them."""
        self.job = job
        self.rest = 0
        self.begun = False
        self._images_kept = images_kept
        self._said = 0
        self._drawing = self._drawn = 0
        self._rows_told = 0

    @property
    def watched(self) -> bool:
        """Whether anyone wants to know before the end."""
        return self.job.order.words or self.job.order.partials != 0

    def look(self, progress: Progress) -> Iterator[News]:
        """What is new."""
        self.begun = progress.begun
        if not self.watched:
            return
        yield from self._parts(progress)
        if progress.drawing is not None:
            yield from self._begun(progress.drawing.number)
            yield from self._partial(progress.drawing)

    def finish(self, result: Result) -> Iterator[News]:
        """All that was not told before, in the answer's order."""
        before = number = 0
        for part in result.parts:
            if isinstance(part, TextPart):
                new = part.text[max(0, self._said - before) :]
                before += len(part.text)
                if new:
                    yield Said(new)
            elif isinstance(part, ImagePart):
                yield from self._last(number, part, result)
                number += 1

    def _parts(self, progress: Progress) -> Iterator[News]:
        """More words, and pictures that are finished; one that was begun before these words goes first."""
        if self._drawing == self._drawn:
            yield from self._words(progress.text)
        for number in range(self._drawn, len(progress.drawn)):
            yield from self._whole(number, self._to_paint(number, progress.drawn[number]))
        yield from self._words(progress.text)

    def _to_paint(self, number: int, part: ImagePart) -> Drawn:
        assert part.codes is not None  # an answer's images are drawn
        return Drawn(part.frame, part.codes, self._noise(number))

    def _words(self, text: str) -> Iterator[News]:
        if len(text) > self._said:
            yield Said(text[self._said :])
            self._said = len(text)

    def _begun(self, number: int) -> Iterator[News]:
        if number >= self._drawing:
            self._drawing, self._rows_told = number + 1, 0
            yield Drawing(number)

    def _whole(self, number: int, what: Drawn | Painted) -> Iterator[News]:
        yield from self._begun(number)
        self._drawn = number + 1
        yield Picture(number, what)

    def _last(self, number: int, part: ImagePart, result: Result) -> Iterator[News]:
        if number < self._drawn:
            return
        drawn = self._to_paint(number, part)
        if self._images_kept and part.image in result.images:
            yield from self._whole(number, Painted(drawn, ops.from_pixels(result.images[str(part.image)].numpy())))
        else:
            yield from self._whole(number, drawn)

    def _partial(self, drawing: Partial) -> Iterator[News]:
        self.rest = _left_of_row(drawing)
        wanted = due(self.job.order.partials, drawing.of)
        if any(self._rows_told < rows <= drawing.rows for rows in wanted):
            yield Picture(drawing.number, PartialDrawn(drawing, self._noise(drawing.number)))
        self._rows_told = max(self._rows_told, drawing.rows)

    def _noise(self, number: int) -> int:
        return seed_of("paint", self.job.order.request.seed, number)


def due(partials: int | str, rows: int) -> list[int]:
    """After how many finished rows, of so many, partial pictures are sent: evenly, never at the very end."""
    most = rows - 1 if isinstance(partials, str) else min(partials, rows - 1)
    return [math.ceil(rows * k / (most + 1)) for k in range(1, most + 1)]


def _left_of_row(drawing: Partial) -> int:
    """Codes until the row that is being written ends: fewer steps than that cannot bring another row."""
    for codes, (rows, columns) in zip(drawing.codes, drawing.frame.grids, strict=True):
        if len(codes) < rows * columns:
            return columns - len(codes) % columns - 1
    return 0
