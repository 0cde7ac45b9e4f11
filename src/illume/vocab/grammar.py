"""Which ids may come next while a turn is generated, how many an image still needs, and where the next code belongs.

It does not know logits or sampling. Its states are values: whoever generates holds one a row.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from illume.core.errors import FormatError
from illume.vocab.layout import Place, Step, VocabLayout, read_frame, written_frame
from illume.vocab.messages import ImageFrame
from illume.vocab.text import TextFormat

Mode = Literal["text", "image", "auto"]
Phase = Literal["text", "width", "draw", "parked", "look", "close", "done"]


@dataclass(frozen=True)
class IdSet:
    """A set of ids as ranges: sorted, disjoint, none empty, none touching the next."""

    ranges: tuple[range, ...]

    def __post_init__(self) -> None:
        if any(ids.step != 1 for ids in self.ranges):
            raise ValueError("the ranges of an id set go up by one")
        merged: list[range] = []
        for ids in sorted((ids for ids in self.ranges if ids), key=lambda ids: ids.start):
            if merged and ids.start <= merged[-1].stop:
                merged[-1] = range(merged[-1].start, max(merged[-1].stop, ids.stop))
            else:
                merged.append(ids)
        object.__setattr__(self, "ranges", tuple(merged))

    @classmethod
    def of(cls, ids: Iterable[int]) -> "IdSet":
        """The set of single ids."""
        return cls(tuple(range(id, id + 1) for id in ids))

    def __contains__(self, id: int) -> bool:
        return any(id in ids for ids in self.ranges)

    def __len__(self) -> int:
        return sum(map(len, self.ranges))

    def __iter__(self) -> Iterator[int]:
        return (id for ids in self.ranges for id in ids)

    def __or__(self, other: "IdSet") -> "IdSet":
        return IdSet(self.ranges + other.ranges)


@dataclass(frozen=True)
class State:
    """Where a generated turn stands.

    `frame` is the one its request names (None: whatever its size tags say), `sized` whether images open with size tags.
    `drawing` is the frame of the image at hand, `index` the next of its steps, `height` a height tag without its width.
    """

    mode: Mode
    frame: ImageFrame | None
    sized: bool
    phase: Phase
    drawing: ImageFrame | None = None
    index: int = 0
    height: int | None = None


class Grammar:
    """The language of generated turns over one vocabulary."""

    def __init__(self, layout: VocabLayout, text: TextFormat, frames: Sequence[ImageFrame] = ()) -> None:
        """`frames`: those that an image may choose by its size tags where a request names none; empty: all there are.

        FormatError if a frame has no size tags, or the text tokenizer is not the layout's."""
        if text.size != layout.text_size:
            raise FormatError(f"the text tokenizer has {text.size} ids, the layout has room for {layout.text_size}")
        self.layout = layout
        self.text = text
        sizes = range(len(layout.sides))
        self.sizes = {layout.tags_of(frame) for frame in frames} or {(h, w) for h in sizes for w in sizes}

    def start(self, mode: Mode, frame: ImageFrame | None = None, sized: bool = False) -> State:
        """The state right after an assistant's turn is opened.

        "text": words only; "image": one image, then the end; "auto": words and images in any order. Without a frame an
        image begins with its size tags and they say the frame. FormatError if they cannot, or words are given a frame.
        """
        if mode == "text":
            if frame is not None or sized:
                raise FormatError("a turn of words has no frame and no size")
            return State(mode, None, False, "text")
        if frame is None and not self.sizes:
            raise FormatError("an image needs a frame: the size tags of this layout do not say one")
        if frame is not None:
            written_frame(self.layout, frame, sized)  # FormatError now rather than halfway
        begun = State(mode, frame, sized or frame is None, "text")
        return begun if mode == "auto" or frame is None else replace(begun, phase="draw", drawing=frame)

    def allowed(self, state: State) -> IdSet:
        """The ids that may come next; empty when the turn is done."""
        step = self._frame_step(state)
        if step is not None:
            return IdSet((step.ids,))
        if state.phase == "text":
            return self._words(state)
        if state.phase == "width":
            widths = self.layout.ranges()["widths"]
            return IdSet.of(widths[w] for h, w in self.sizes if h == state.height)
        if state.phase == "parked":
            return IdSet.of((self.layout.marker("start_of_image"), self.text.end))
        return IdSet(()) if state.phase == "done" else IdSet.of((self.text.end,))

    def step(self, state: State, id: int) -> State:
        """The state after one more id; FormatError if it may not come next."""
        if id not in self.allowed(state):
            raise FormatError(f"{self.layout.describe(id)} may not come next in {state}")
        if id == self.text.end:
            return replace(state, phase="done", drawing=None, index=0)
        if state.phase in ("draw", "look"):
            return self._advance(state)
        if state.phase == "parked":
            return replace(state, phase="look", index=1)
        if state.phase == "width":
            assert state.height is not None
            frame = self.layout.frame_of(state.height, self._index("widths", id))
            return replace(state, phase="draw", drawing=frame, index=2, height=None)
        return self._step_from_text(state, id)

    def walk(self, state: State, ids: Iterable[int]) -> State:
        """The state after several ids."""
        for id in ids:
            state = self.step(state, id)
        return state

    def remaining(self, state: State) -> int | None:
        """Ids left until the end of the image being drawn, its end marker included; None where none is."""
        if state.phase != "draw":
            return None
        return len(self._steps(state)) - state.index

    def place(self, state: State) -> Place | None:
        """The place of the next id, if it is a code or a slot."""
        step = self._frame_step(state)
        return None if step is None else step.place

    def region(self, state: State) -> str:
        """Whose sampling values the next id follows: "level0", "level1"... for a code, "text" for anything else."""
        place = self.place(state) if state.phase == "draw" else None
        return "text" if place is None else f"level{place[0]}"

    def done(self, state: State) -> bool:
        """Whether the turn has ended."""
        return state.phase == "done"

    def parked(self, state: State) -> bool:
        """Whether an image was just drawn that has to be read, by prefilling `format.render_read`, before going on."""
        return state.phase == "parked"

    @cached_property
    def _plain(self) -> IdSet:
        return IdSet(self.text.plain) | IdSet.of((self.text.end,))

    def _words(self, state: State) -> IdSet:
        if state.mode == "text":
            return self._plain
        start = self._image_starts(state)
        return start if state.mode == "image" else self._plain | start

    def _image_starts(self, state: State) -> IdSet:
        if state.frame is None:
            heights = self.layout.ranges()["heights"]
            return IdSet.of(heights[h] for h, _ in self.sizes)
        return IdSet((written_frame(self.layout, state.frame, state.sized)[0].ids,))

    def _step_from_text(self, state: State, id: int) -> State:
        if id in self._plain:
            return state
        if state.frame is None:
            return replace(state, phase="width", height=self._index("heights", id))
        return replace(state, phase="draw", drawing=state.frame, index=1)

    def _advance(self, state: State) -> State:
        if state.index + 1 < len(self._steps(state)):
            return replace(state, index=state.index + 1)
        if state.phase == "look":
            return replace(state, phase="text", drawing=None, index=0)
        if state.mode == "image":
            return replace(state, phase="close", drawing=None, index=0)
        if self.layout.reread:
            return replace(state, phase="parked", index=0)
        return replace(state, phase="text", drawing=None, index=0)

    def _steps(self, state: State) -> tuple[Step, ...]:
        assert state.drawing is not None
        if state.phase == "look":
            return read_frame(self.layout, state.drawing)
        return written_frame(self.layout, state.drawing, state.sized)

    def _frame_step(self, state: State) -> Step | None:
        return self._steps(state)[state.index] if state.phase in ("draw", "look") else None

    def _index(self, region: str, id: int) -> int:
        return id - self.layout.ranges()[region].start
