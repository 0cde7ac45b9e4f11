"""Walks over the ids of a sequence once, from left to right, and finds the parts of its turns.

It does not know whose turn is whose: `format.parse` leads it.
"""

from collections.abc import Sequence
from math import isqrt
from typing import NoReturn

from illume.core.errors import FormatError
from illume.vocab.layout import Step, VocabLayout, read_frame, written_frame
from illume.vocab.messages import Grid, ImageFrame, ImagePart, Part, SizePart, TextPart
from illume.vocab.text import TextFormat
from illume.vocab.writer import Slots


class Reader:
    """Walks over ids once, from left to right."""

    def __init__(self, ids: Sequence[int], layout: VocabLayout, text: TextFormat, slots: Sequence[Slots]) -> None:
        self.ids = ids
        self.layout = layout
        self.text = text
        self.slots = {run.start: run for run in slots}
        self.position = 0
        self.start_of_image = layout.marker("start_of_image")
        self.regions = [self._region(position) for position in range(len(ids))]

    def _region(self, position: int) -> str:
        id = self.ids[position]
        if not 0 <= id < self.layout.size:
            raise FormatError(f"position {position}: id {id} is outside the vocabulary [0, {self.layout.size})")
        return "special" if id in self.text.tokenizer.special_ids else self.layout.region(id)

    @property
    def at_end(self) -> bool:
        return self.position >= len(self.ids)

    def fail(self, expected: str) -> NoReturn:
        raise FormatError(f"position {self.position}: expected {expected}, found {self._found()}")

    def _found(self) -> str:
        if self.at_end:
            return "the end of the sequence"
        id = self.ids[self.position]
        return f"special id {id}" if self._here() == "special" else self.layout.describe(id)

    def expect(self, ids: Sequence[int], expected: str) -> None:
        for id in ids:
            if self.at_end or self.ids[self.position] != id:
                self.fail(expected)
            self.position += 1

    def parts(self) -> list[Part]:
        """The parts from here to the first id that belongs to none."""
        parts: list[Part] = []
        while (region := self._here()) in ("text", "heights", "markers"):
            if region == "text":
                parts.append(self._words())
            elif region == "heights" and not self._is_written(self.position + 2):
                parts.append(self._size())
            else:
                parts.append(self._image())
        return parts

    def _here(self, ahead: int = 0) -> str | None:
        position = self.position + ahead
        return self.regions[position] if position < len(self.ids) else None

    def _words(self) -> TextPart:
        start = self.position
        while self._here() == "text":
            self.position += 1
        return TextPart(self.text.tokenizer.decode(self.ids[start : self.position]))

    def _size(self) -> SizePart:
        if self._here(1) != "widths":
            self.position += 1
            self.fail("a width after a height")
        height, width = self.ids[self.position : self.position + 2]
        self.position += 2
        ranges = self.layout.ranges()
        return SizePart(height - ranges["heights"].start, width - ranges["widths"].start)

    def _starts_image(self, position: int) -> bool:
        return position < len(self.ids) and self.ids[position] == self.start_of_image

    def _first_cell(self, position: int) -> int:
        return position + 1 + self.layout.level_markers

    def _is_written(self, position: int) -> bool:
        """Whether an image starts at a position and is not one of slots."""
        first = self._first_cell(position)
        return self._starts_image(position) and (first >= len(self.ids) or self.ids[first] != self.layout.slot)

    def _image(self) -> ImagePart:
        sized = self._here() == "heights"
        size = self._size() if sized else None
        if not self._starts_image(self.position):
            self.fail("text, an image or the end of the turn")
        if not self._is_written(self.position):
            frame = self._read_frame()
            return ImagePart(frame, image=self._read(frame))
        frame = self.layout.frame_of(size.height, size.width) if size else self._written_frame()
        steps = written_frame(self.layout, frame, sized)[2 * sized :]
        codes = self._match(steps)
        again = self.layout.reread and self._starts_image(self.position) and not self._is_written(self.position)
        return ImagePart(frame, codes, self._read(frame) if again else None, sized)

    def _read(self, frame: ImageFrame) -> str | None:
        run = self.slots.get(self._first_cell(self.position))
        self._match(read_frame(self.layout, frame))
        return run.image if run else None

    def _match(self, steps: Sequence[Step]) -> tuple[tuple[int, ...], ...]:
        """Walk over a frame; the indices into its ranges, one tuple a level."""
        levels: list[list[int]] = [[] for _ in self.layout.levels]
        for step in steps:
            if self.at_end or self.ids[self.position] not in step.ids:
                self.fail(step.name)
            if step.place is not None:
                levels[step.place[0]].append(self.ids[self.position] - step.ids.start)
            self.position += 1
        return tuple(map(tuple, levels))

    def _written_frame(self) -> ImageFrame:
        """The grids that the codes from here to the end of the image show."""
        counts, columns = [0] * len(self.layout.levels), [0] * len(self.layout.levels)
        end, level = self.layout.marker("end_of_image"), 0
        for position in range(self.position, len(self.ids)):
            id = self.ids[position]
            if id == end:
                break
            if self.regions[position].startswith("level"):
                level = self.layout.code_of(id)[0]
                counts[level] += 1
            elif self.layout.row_ends and id == self.layout.marker("end_of_line"):
                columns[level] = columns[level] or counts[level]
        if not self.layout.row_ends:
            return ImageFrame(tuple(self._square(count) for count in counts))
        return ImageFrame(tuple((max(1, n // max(1, c)), max(1, c)) for n, c in zip(counts, columns, strict=True)))

    def _read_frame(self) -> ImageFrame:
        """The grids of the slots from here on: as `slots` says, or squares."""
        grids, start = [], self._first_cell(self.position)
        for _ in self.layout.read_levels:
            run = self.slots.get(start)
            grid = run.grid if run else self._square(self._run_length(start))
            grids.append(grid)
            start += grid[0] * grid[1] + 2 * self.layout.level_markers
        return ImageFrame(self.layout.whole(grids))

    def _run_length(self, start: int) -> int:
        stop = start
        while stop < len(self.ids) and self.ids[stop] == self.layout.slot:
            stop += 1
        return stop - start

    def _square(self, count: int) -> Grid:
        side = isqrt(count)
        if count == 0 or side * side != count:
            known = "no square, and nothing else says the shape of this image"
            raise FormatError(f"position {self.position}: {count} codes or slots in a level are {known}")
        return side, side
