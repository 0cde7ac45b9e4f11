"""The drawing engine: requests share a batch of rows, and a step gives every row its next id with one forward.

It knows requests, rows and what may come next, but not how a picture is painted, and nothing of files or HTTP.
"""

from collections import deque
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from illume.core.errors import ModelError, RequestError
from illume.core.streams import seed_of
from illume.generate.coded import Tokenize, coded
from illume.generate.guidance import combine
from illume.generate.request import Key, Pixels, Request, Result, Sampling
from illume.generate.runner import Job, Runner
from illume.generate.sampling import keyed_uniform, sample
from illume.generate.sequence import Sequence, Walk
from illume.models.unified import Unified
from illume.vocab.grammar import IdSet
from illume.vocab.layout import Place, VocabLayout
from illume.vocab.messages import ImageFrame
from illume.vocab.text import TextFormat

_GAP = 1024  # allowed ids this close together are asked of the head in one product: cheaper than several


@dataclass(frozen=True)
class Drawn:
    """An image to be painted: its frame, its codes (row-major, one tuple a level), the seed of the painter's noise."""

    frame: ImageFrame
    codes: tuple[tuple[int, ...], ...]
    seed: int


Paint: TypeAlias = Callable[[Seq[Drawn]], list[Pixels]]


@dataclass(frozen=True)
class Choice:
    """The ids a row chooses from, as the head is asked for them: `runs` of rows, of whose logits `columns` count."""

    runs: tuple[range, ...]
    ids: Int[Tensor, " v"]
    columns: Int[Tensor, " v"] | None


class Engine:
    """Answers requests in a batch that is never restarted: add, step, step... or run.

    A guided drawing takes two neighbouring rows while its image is written: one reads the conversation, the other the
    conversation without its instruction; their logits are combined and both take the same id.
    `strict` fixes all shapes, so that an answer's ids are bit-equal whatever else is in the batch; otherwise they may
    differ where the sampling margin is smaller than the logits' rounding error. `paint` turns drawn codes into pixels;
    it is needed where the model is to look at what it drew (mode "auto"). With `tokenize`, from pixels to codes,
    images are read as codes: for a model that was trained so.
    """

    def __init__(
        self,
        model: Unified,
        layout: VocabLayout,
        text: TextFormat,
        *,
        rows: int = 64,
        max_length: int = 1024,
        chunk: int = 64,
        paint: Paint | None = None,
        tokenize: Tokenize | None = None,
        strict: bool = False,
    ) -> None:
        if rows < 1 or chunk < 1:
            raise RequestError(f"an engine needs one row and chunks of one id or more, not {rows} and {chunk}")
        self.max_length = max_length
        self._walk = Walk(layout, text, "features" if tokenize is None else "codes")
        self._tokenize = tokenize
        self._runner = Runner(model, rows, max_length, chunk, strict)
        self._paint = paint
        self._waiting: deque[Sequence] = deque()
        self._live: dict[int, Sequence] = {}  # by row
        self._held: list[Result] = []  # finished while `run` waited for others
        self._choices: dict[IdSet, Choice] = {}
        self._next_key = 0

    def add(self, request: Request) -> Key:
        """Queue a request. RequestError where it cannot be served, FormatError where it cannot be written."""
        sequence = self._prepared(request)
        self._waiting.append(sequence)
        return sequence.key

    @torch.inference_mode()
    def run(self, requests: Iterable[Request]) -> list[Result]:
        """Answers in the order of the requests; none is begun if one of them cannot be served."""
        sequences = [self._prepared(request) for request in requests]
        self._waiting += sequences
        keys = {sequence.key for sequence in sequences}
        found: dict[Key, Result] = {}
        while len(found) < len(keys):
            for result in self._step():
                if result.key in keys:
                    found[result.key] = result
                else:
                    self._held.append(result)
        return [found[sequence.key] for sequence in sequences]

    @torch.inference_mode()
    def step(self) -> list[Result]:
        """One id more for every answer under way; the answers that thereby ended. Empty when there is nothing to do."""
        held, self._held = self._held, []
        return held + self._step()

    @property
    def busy(self) -> bool:
        """Whether any request is waiting, under way, or finished and not handed out."""
        return bool(self._waiting or self._live or self._held)

    def _step(self) -> list[Result]:
        self._runner.read([*self._admit(), *self._look_again(), *self._begin_images()])
        self._choose()
        finished = self._finish()
        self._advance()
        return finished

    def _prepared(self, request: Request) -> Sequence:
        if self._tokenize is not None:
            request = coded(request, self._tokenize)
        sequence = Sequence(self._next_key, request, self._walk)
        sequence.check_room(self.max_length)
        self._check_pixels(sequence)
        if sequence.rows > self._runner.rows:
            raise RequestError("guidance takes two rows: build the engine with rows=2 or more")
        if request.mode == "auto" and self._walk.layout.reread and self._paint is None:
            raise ModelError('in mode "auto" the model looks at what it drew: build the engine with a painter')
        self._next_key += 1
        return sequence

    def _check_pixels(self, sequence: Sequence) -> None:
        for run in sequence.prompt.slots:
            grid = self._runner.grids(sequence.pixels[str(run.image)])[run.level]
            if grid != run.grid:
                raise RequestError(
                    f"image {run.image}: its pixels make a grid of {grid[0]}x{grid[1]} at level {run.level}, its frame "
                    f"in the messages says {run.grid[0]}x{run.grid[1]}: bring it to the frame's size first"
                )

    def _admit(self) -> list[Job]:
        """Give rows to waiting requests, first come first served; what these rows have to read."""
        admitted = []
        while self._waiting and (row := self._free(self._waiting[0].rows)) is not None:
            sequence = self._waiting.popleft()
            sequence.row = row
            self._live |= {row + i: sequence for i in range(sequence.rows)}
            admitted.append(sequence)
        self._see(admitted)
        for sequence in admitted:
            sequence.take_forced()
        return [Job(s.row, s.prompt + s.written, s.features) for s in admitted]

    def _free(self, rows: int) -> int | None:
        """The first row that is free, with the one behind it where two are needed."""
        last = self._runner.rows - rows
        starts = (row for row in range(last + 1) if all(row + i not in self._live for i in range(rows)))
        return next(starts, None)

    def _see(self, sequences: Seq[Sequence]) -> None:
        """Read the images that these requests bring; one that several bring is read once."""
        shown = [(s, image) for s in sequences for image in {str(r.image) for r in s.prompt.slots + s.dropped.slots}]
        unique = {id(s.pixels[image]): s.pixels[image] for s, image in shown}
        features = dict(zip(unique, self._runner.see(list(unique.values())), strict=True)) if unique else {}
        for sequence, image in shown:
            sequence.features[image] = features[id(sequence.pixels[image])]

    def _look_again(self) -> list[Job]:
        """Paint the images that were just drawn where something may follow, and let their rows read them."""
        parked = [sequence for sequence in self._sequences() if sequence.node.parked]
        if not parked:
            return []
        assert self._paint is not None  # seen to when the request was added
        drawn = [Drawn(s.frame, s.codes, seed_of("paint", s.request.seed, len(s.images))) for s in parked]
        pixels = self._paint(drawn) if not self._runner.strict else [self._paint([one])[0] for one in drawn]
        features = self._runner.see(pixels)
        stretches = [s.look_again(p, f) for s, p, f in zip(parked, pixels, features, strict=True)]
        return [Job(s.row, stretch, s.features) for s, stretch in zip(parked, stretches, strict=True)]

    def _begin_images(self) -> list[Job]:
        """The unconditional rows that are needed from here on: each reads the conversation without its instruction."""
        beginning = [s for s in self._sequences() if s.rows == 2 and s.node.drawing and not s.twinned]
        beginning = [s for s in beginning if s.node.forced is None]
        for sequence in beginning:
            sequence.twinned = True
        return [Job(s.row + 1, s.dropped + s.written, s.features) for s in beginning]

    def _choose(self) -> None:
        """Give every row its next id; rows that choose from the same ids in the same way choose together."""
        groups: dict[tuple[IdSet, Sampling, bool], list[Sequence]] = {}
        for sequence in self._sequences():
            if sequence.node.forced is not None:
                sequence.take(sequence.node.forced)
                continue
            ids = sequence.node.ids
            if not sequence.node.drawing and sequence.crowded(self.max_length):
                ids = _words(ids, self._walk.layout)
            key = (ids, sequence.request.sampling_of(sequence.node.region), sequence.twinned)
            groups.setdefault(key, []).append(sequence)
        for (ids, sampling, guided), members in groups.items():
            self._choose_together(self._choice(ids), sampling, guided, members)

    def _choose_together(self, choice: Choice, sampling: Sampling, guided: bool, members: list[Sequence]) -> None:
        rows = [sequence.row for sequence in members]
        logits = self._logits(choice, rows + [row + 1 for row in rows] if guided else rows)
        if guided:
            scale = torch.tensor([s.request.guidance for s in members], dtype=torch.float32, device=logits.device)
            logits = combine(logits[: len(rows)], logits[len(rows) :], scale)
        uniforms = [keyed_uniform(sequence.stream, len(sequence.written)) for sequence in members]
        ids = choice.ids[sample(logits, sampling, uniforms)].tolist()
        for sequence, id in zip(members, ids, strict=True):
            sequence.take(id)

    def _logits(self, choice: Choice, rows: Seq[int]) -> Float[Tensor, "b v"]:
        found = [self._runner.logits(rows, run) for run in choice.runs]
        logits = found[0] if len(found) == 1 else torch.cat(found, dim=-1)
        return logits if choice.columns is None else logits[:, choice.columns]

    def _choice(self, ids: IdSet) -> Choice:
        if ids not in self._choices:
            self._choices[ids] = _choice(ids, self._runner.device)
        return self._choices[ids]

    def _finish(self) -> list[Result]:
        """Take the answers that ended out of their rows."""
        finished = []
        for sequence in self._sequences():
            if sequence.ends_by_force():
                sequence.take_forced()
            elif not sequence.cut(self.max_length):
                continue
            finished.append(sequence.result("end" if sequence.node.done else "length"))
            for row in range(sequence.row, sequence.row + sequence.rows):
                del self._live[row]
                self._runner.clear(row)
        return finished

    def _advance(self) -> None:
        """One forward of one position for every row that goes on, the unconditional rows of images included."""
        nexts: dict[int, tuple[int, Place | None]] = {}
        for sequence in self._sequences():
            if sequence.twinned and not sequence.node.drawing:
                sequence.twinned = False
                self._runner.clear(sequence.row + 1)
            if sequence.node.parked:
                continue  # its last id is read together with the image
            last = sequence.written.ids[-1], sequence.written.places[-1]
            nexts |= {sequence.row + i: last for i in range(1 + sequence.twinned)}
        if nexts:
            self._runner.advance(nexts)

    def _sequences(self) -> list[Sequence]:
        return [sequence for row, sequence in self._live.items() if sequence.row == row]


def _words(ids: IdSet, layout: VocabLayout) -> IdSet:
    """Of these ids those of text: where no further image fits, none may begin."""
    return IdSet(tuple(range(run.start, min(run.stop, layout.vision_start)) for run in ids.ranges))


def _choice(ids: IdSet, device: torch.device) -> Choice:
    runs: list[range] = []
    for run in ids.ranges:
        if runs and run.start - runs[-1].stop < _GAP:
            runs[-1] = range(runs[-1].start, run.stop)
        else:
            runs.append(run)
    asked = [id for run in runs for id in run]
    columns = None if len(asked) == len(ids) else torch.tensor([i for i, id in enumerate(asked) if id in ids])
    return Choice(tuple(runs), torch.tensor(list(ids), device=device), None if columns is None else columns.to(device))
