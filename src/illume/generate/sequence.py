"""A request under way: what was read and written so far, what may come next, what an image's second row reads.

It knows messages, ids and grammar, but no model, no cache and no batch.
"""

from collections.abc import Sequence as Seq
from dataclasses import dataclass, field, replace
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from illume.core.errors import ContextError, RequestError
from illume.core.streams import seed_of
from illume.generate.request import Key, Partial, Pixels, Progress, Request, Result, Usage, name_of
from illume.tasks import prompts
from illume.vocab.format import Reading, Rendered, Slots, parse_parts, render, render_read
from illume.vocab.grammar import Grammar, IdSet, State
from illume.vocab.layout import Place, VocabLayout, read_frame, written_frame
from illume.vocab.messages import ImageFrame, ImagePart, Message
from illume.vocab.text import TextFormat

Features = tuple[Float[Tensor, "_ d"], ...]


@dataclass
class Stretch:
    """Ids that enter a row together, with the place that each carries and the runs of slots among them."""

    ids: list[int] = field(default_factory=list)
    places: list[Place | None] = field(default_factory=list)
    slots: list[Slots] = field(default_factory=list)

    @classmethod
    def of(cls, rendered: Rendered) -> "Stretch":
        """A rendered sequence."""
        return cls(list(rendered.ids), list(rendered.places), list(rendered.slots))

    def __len__(self) -> int:
        return len(self.ids)

    def __add__(self, other: "Stretch") -> "Stretch":
        moved = [replace(run, start=run.start + len(self)) for run in other.slots]
        return Stretch(self.ids + other.ids, self.places + other.places, self.slots + moved)

    def since(self, start: int) -> "Stretch":
        """The end of it, from a position that lies in no run of slots."""
        moved = [replace(run, start=run.start - start) for run in self.slots if run.start >= start]
        return Stretch(self.ids[start:], self.places[start:], moved)


@dataclass(eq=False)
class Node:
    """A state of the grammar with all that is asked of it, and where its ids lead."""

    state: State
    ids: IdSet
    forced: int | None
    place: Place | None
    region: str
    drawing: bool
    parked: bool
    done: bool
    may_stop: bool
    after: dict[int, "Node"] = field(default_factory=dict, repr=False)


class Walk:
    """The grammar of one model with a memory: what thousands of images ask again is worked out once."""

    def __init__(self, layout: VocabLayout, text: TextFormat, reading: Reading = "features") -> None:
        self.layout = layout
        self.reading = reading
        self.text = text
        self.grammar = Grammar(layout, text)
        self._nodes: dict[State, Node] = {}

    def start(self, request: Request) -> Node:
        """Where the answer to a request begins. FormatError for a frame that this layout cannot have."""
        words = request.mode == "text"
        return self._node(self.grammar.start(request.mode, None if words else request.frame, request.sized))

    def after(self, node: Node, id: int) -> Node:
        """Where an id leads. What follows a code does not depend on which code it is."""
        key = id if node.place is None else -1
        if key not in node.after:
            node.after[key] = self._node(self.grammar.step(node.state, id))
        return node.after[key]

    def frames(self, request: Request) -> list[ImageFrame]:
        """The frames that an image of this request may have."""
        if request.mode == "text":
            return []
        if request.frame is not None:
            return [request.frame]
        return [self.layout.frame_of(height, width) for height, width in self.grammar.sizes]

    def _node(self, state: State) -> Node:
        if state not in self._nodes:
            grammar, ids = self.grammar, self.grammar.allowed(state)
            self._nodes[state] = Node(
                state=state,
                ids=ids,
                forced=next(iter(ids)) if len(ids) == 1 else None,
                place=grammar.place(state),
                region=grammar.region(state),
                drawing=grammar.remaining(state) is not None,
                parked=grammar.parked(state),
                done=grammar.done(state),
                may_stop=self.text.end in ids and not grammar.parked(state),
            )
        return self._nodes[state]


class Sequence:
    """One request and its answer so far. `row` is its row of the batch, `twin` an image's unconditional one; the first
    `fed` of the written ids were taken in by the row, which found `cached` positions of its beginning in another."""

    def __init__(self, key: Key, request: Request, walk: Walk) -> None:
        """RequestError where an image of the messages has no pixels; FormatError where they cannot be written."""
        self.key = key
        self.request = request
        self.walk = walk
        self.node = walk.start(request)
        self.prompt = self._rendered(request.messages)
        self.dropped = self._rendered(_against(request)) if request.guided else Stretch()
        self.written = Stretch()
        self.stream = seed_of("answer", request.seed)
        self.row = self.twin = -1
        self.twinned = False
        self.fed = self.cached = 0
        self.text_ids = self.image_ids = self.num_images = 0
        self.said = ""  # before the last image
        self.words: list[int] = []  # since
        self.drawn: list[ImagePart] = []
        self.pixels: dict[str, Pixels] = dict(request.images)
        self.names = {image: name_of(pixels) for image, pixels in self.pixels.items()}
        self.features: dict[str, Features] = {}
        self._image_start = 0
        self.image_room = self._image_room()
        shown = self.prompt.slots + self.dropped.slots
        missing = sorted({str(run.image) for run in shown if run.image not in self.pixels})
        if missing:
            raise RequestError(f"the messages show images without pixels in `images`: {', '.join(missing)}")

    @property
    def rows(self) -> int:
        """How many rows the answer may need at once."""
        return 2 if self.request.guided else 1

    @property
    def shown(self) -> dict[str, str]:
        """The images that it reads, in either row, with the names of their pictures."""
        return {str(run.image): self.names[str(run.image)] for run in self.prompt.slots + self.dropped.slots}

    def check_room(self, length: int) -> None:
        """ContextError if the longest answer asked for does not fit into a row of `length` positions."""
        prompt, words = max(len(self.prompt), len(self.dropped)), self.request.max_new_text or 1
        words = 0 if self.request.mode == "image" else words
        needed = prompt + words + self.image_room
        if needed > length:
            raise ContextError(
                f"the request needs {needed} positions ({prompt} for the prompt, {self.image_room} for an image, "
                f"{words} for words) but a row has {length}: "
                "shorten the conversation, ask for less, or build the engine with a larger max_length",
                needed,
                length,
            )

    def crowded(self, length: int) -> bool:
        """Whether another image would not fit."""
        return max(len(self.prompt), len(self.dropped)) + len(self.written) + self.image_room > length

    def cut(self, length: int) -> bool:
        """Whether the answer must stop here: no words or no positions are left."""
        if not self.node.may_stop:
            return False
        if self.request.mode != "image" and self.text_ids == self.request.max_new_text:
            return True
        return len(self.prompt) + len(self.written) > length

    def take(self, id: int) -> None:
        """Write one id, the only one allowed or a chosen one."""
        if id < self.walk.layout.vision_start:
            self.text_ids += 1
            if id != self.walk.text.end:
                self.words.append(id)
        else:
            self.image_ids += 1
        before = self.node
        if not before.drawing:
            self._image_start = len(self.written)
        self.node = self.walk.after(before, id)
        self.written.ids.append(id)
        self.written.places.append(self.node.place)
        if self.node.drawing and not before.drawing:
            self.said, self.words = self.said + self._spelt(self.words), []
        elif before.drawing and not self.node.drawing:
            self._image_ended(before.state.drawing)

    def take_forced(self) -> None:
        """Write what can only come next, as far as that goes."""
        while self.node.forced is not None and not self.node.parked:
            self.take(self.node.forced)

    def ends_by_force(self) -> bool:
        """Whether nothing is left to choose: then the rest is written without asking the model."""
        node = self.node
        while node.forced is not None and not node.parked:
            node = self.walk.after(node, node.forced)
        return node.done

    def look_again(self, pixels: Pixels, features: Features) -> Stretch:
        """Write the frame through which the image just drawn is read; what its row has yet to take in."""
        image = f"drawn-{self.key}-{len(self.images)}"
        self.pixels[image], self.names[image], self.features[image] = pixels, name_of(pixels), features
        read = Stretch.of(render_read(ImagePart(self.frame, image=image), self.walk.layout))
        for id in read.ids:
            self.node = self.walk.after(self.node, id)
        self.written += read
        return self.unread()

    def unread(self) -> Stretch:
        """What was written since the row last took something in; from now on it counts as taken in."""
        start, self.fed = self.fed, len(self.written)
        return self.written.since(start)

    @property
    def images(self) -> dict[str, Pixels]:
        """The images painted on the way."""
        return {image: pixels for image, pixels in self.pixels.items() if image not in self.request.images}

    @property
    def frame(self) -> ImageFrame:
        """The frame of the image that was just drawn."""
        frame = self.node.state.drawing
        assert frame is not None  # asked of parked rows only, whose state keeps it
        return frame

    @property
    def codes(self) -> tuple[tuple[int, ...], ...]:
        """The codes of the image that was just drawn, row-major, one tuple a level."""
        return self._codes(self.frame)

    def _codes(self, frame: ImageFrame) -> tuple[tuple[int, ...], ...]:
        levels: list[list[int]] = [[] for _ in frame.grids]
        codes = [range_ for name, range_ in self.walk.layout.ranges().items() if name.startswith("level")]
        for id in self.written.ids[self._image_start :]:
            for level, ids in enumerate(codes):
                if id in ids:
                    levels[level].append(id - ids.start)
        return tuple(map(tuple, levels))

    def progress(self) -> Progress:
        """How far the answer is. Words only grow: half a character is not shown."""
        words = self.said + self._spelt(self.words).rstrip("\N{REPLACEMENT CHARACTER}")
        drawn = tuple(self.drawn)
        return Progress(self.row >= 0, words, self.num_images, self._partial(), self._usage(), drawn)

    def _spelt(self, ids: list[int]) -> str:
        return self.walk.text.tokenizer.decode(ids)

    def _image_ended(self, frame: ImageFrame | None) -> None:
        assert frame is not None  # it was being drawn
        self.num_images += 1
        if self.request.mode == "auto":
            self.drawn.append(ImagePart(frame, self._codes(frame)))

    def _partial(self) -> Partial | None:
        if not self.node.drawing:
            return None
        codes = self.codes
        grids = self.frame.grids
        rows = sum(len(level) // grid[1] for level, grid in zip(codes, grids, strict=True))
        return Partial(self.num_images, self.frame, codes, rows, sum(grid[0] for grid in grids))

    def _usage(self) -> Usage:
        return Usage(len(self.prompt), self.text_ids, self.image_ids, min(self.cached, len(self.prompt)))

    def result(self, finished: Literal["end", "length"]) -> Result:
        """The answer as it stands."""
        ids = tuple(self.written.ids)
        parts = parse_parts(ids, self.walk.layout, self.walk.text, self.written.slots)
        return Result(self.key, ids, tuple(parts), finished, self._usage(), self.images)

    def _image_room(self) -> int:
        """Most positions that an image takes: drawn and, where something may follow, looked at again."""
        layout, again = self.walk.layout, self.request.mode == "auto" and self.walk.layout.reread
        sized = self.request.sized or self.request.frame is None
        frames = self.walk.frames(self.request)
        return max(
            (len(written_frame(layout, f, sized)) + again * len(read_frame(layout, f)) for f in frames), default=0
        )

    def _rendered(self, messages: Seq[Message]) -> Stretch:
        prompt = Stretch.of(render(messages, self.walk.layout, self.walk.text, self.walk.reading, prompt=True))
        prompt.places[-1] = self.node.place
        return prompt


def _against(request: Request) -> Seq[Message]:
    """What guidance leads away from."""
    return prompts.dropped(request.messages) if request.against is None else request.against
