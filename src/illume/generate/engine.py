"""The drawing engine: requests share a batch of rows, and a step gives every row its next id with one forward.

It knows requests, rows and what may come next, but not how a picture is painted, and nothing of files or HTTP.
"""

from collections import deque
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Seq
from concurrent.futures import Executor
from dataclasses import replace

import torch

from illume.core.errors import ModelError, RequestError
from illume.core.streams import seed_of
from illume.generate.choosing import Chooser
from illume.generate.coded import Tokenize, coded
from illume.generate.painting import Drawn, Paint, Paintings
from illume.generate.parallel import Parallel
from illume.generate.request import Key, Load, Progress, Request, Result
from illume.generate.rows import Mark, Rows, marks_of
from illume.generate.runner import Job, Runner
from illume.generate.seeing import Seen
from illume.generate.sequence import Sequence, Stretch, Walk
from illume.generate.tier import AUTO, check_strict, pick_tier
from illume.models.unified import Unified
from illume.vocab.layout import VocabLayout
from illume.vocab.text import TextFormat

_PATIENCE = 0.02  # seconds that a step waits for a painter when nothing else can go on


class Engine:
    """Answers requests in a batch that is never restarted: add, step, step... or run. One thread's own.

    A guided drawing takes two rows while its image is written: one reads the conversation, the other the conversation
    without its instruction; their logits are combined and both take the same ids. Prompts are read a `chunk` of
    positions at a time, `read_at_once` positions over all rows, between the steps of those who write; what a row left
    behind is not read again by one that begins alike. Requests begin in the order in which they came.
    `strict` fixes all shapes, so that an answer's ids are bit-equal whatever else is in the batch; otherwise they may
    differ where the sampling margin is smaller than the logits' rounding error. `paint` turns drawn codes into pixels;
    it is needed where the model is to look at what it drew (mode "auto"); with a `painting` executor it does so there
    while the other rows go on. With `tokenize`, from pixels to codes, images are read as codes: for a model that was
    trained so. `tier`: how fast and how exactly it computes (tier.py), for good; "auto" is the model's own dtype, and
    all that strict mode has. `parallel`: up to so many codes of an image are drafted, and read in one forward; drawings
    keep their distribution, seeds not their ids. `chooser`: what chooses ids, for those who watch or replace choices.
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
        read_at_once: int = 2048,
        paint: Paint | None = None,
        painting: Executor | None = None,
        tokenize: Tokenize | None = None,
        strict: bool = False,
        tier: str = AUTO,
        parallel: int = 0,
        chooser: Callable[[Runner, VocabLayout, int], Chooser] = Chooser,
    ) -> None:
        if rows < 1 or chunk < 1:
            raise RequestError(f"an engine needs one row and chunks of one id or more, not {rows} and {chunk}")
        self.max_length = max_length
        self._read_at_once = read_at_once
        self._walk = Walk(layout, text, "features" if tokenize is None else "codes")
        self._tokenize = tokenize
        if strict:
            check_strict(tier)
        weight = model.embedding.text
        self.tier = None if strict else pick_tier(tier, weight.device, weight.dtype)
        self._runner = Runner(model, rows, max_length, chunk, self.tier, parallel)
        self._choose = chooser(self._runner, layout, max_length)
        self._parallel = Parallel(self._runner, self._walk, parallel) if parallel else None
        self._seen = Seen(self._runner)
        self._rows = Rows(rows)
        self._paintings = Paintings(paint, painting)
        self._waiting: deque[Sequence] = deque()
        self._live: dict[Key, Sequence] = {}
        self._reading: dict[int, tuple[Job, list[Mark]]] = {}  # by row; what it will hold besides
        self._held: list[Result] = []  # finished while `run` waited for others
        self._reused = 0
        self._next_key = 0

    def add(self, request: Request) -> Key:
        """Queue a request. RequestError where it cannot be served, FormatError where it cannot be written."""
        sequence = self._prepared(request)
        self._waiting.append(sequence)
        return sequence.key

    @torch.inference_mode()
    def run(self, requests: Iterable[Request]) -> list[Result]:
        """Answers in the order of the requests; none is begun if one cannot be served. Raises what one fails of."""
        sequences = [self._prepared(request) for request in requests]
        self._waiting += sequences
        keys = {sequence.key for sequence in sequences}
        found: dict[Key, Result] = {}
        while len(found) < len(keys):
            for result in self._step():
                if result.key in keys and result.error is not None:
                    for key in keys:
                        self.cancel(key)
                    raise result.error
                if result.key in keys:
                    found[result.key] = result
                else:
                    self._held.append(result)
        return [found[sequence.key] for sequence in sequences]

    @torch.inference_mode()
    def prepare(self, tell: Callable[[str], None] = lambda kind: None) -> None:
        """Have every kind of step compiled, or recorded, that answers may need, so that none waits for it later; which
        one is next, is told. Eager tiers have none."""
        self._runner.prepare(tell)

    @torch.inference_mode()
    def step(self) -> list[Result]:
        """One id more for every answer under way; the answers that thereby ended. Empty when there is nothing to do."""
        held, self._held = self._held, []
        return held + self._step()

    def cancel(self, key: Key) -> bool:
        """Forget a request that waits or is under way; its rows are free at once. False where there is none."""
        if key in self._live:
            self._release(self._live[key])
            return True
        kept = deque(sequence for sequence in self._waiting if sequence.key != key)
        found, self._waiting = len(kept) < len(self._waiting), kept
        return found

    def progress(self, key: Key) -> Progress | None:
        """How far the answer to a request is; None where it has ended, or there is none."""
        sequence = self._live.get(key) or next((one for one in self._waiting if one.key == key), None)
        return None if sequence is None else sequence.progress()

    @property
    def load(self) -> Load:
        """What the engine is doing."""
        rows = self._runner.rows
        return Load(len(self._waiting), len(self._live), rows, rows - self._rows.free, self._reused)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that a step reads; of the head, those of the ids that were asked for so far."""
        return self._runner.weight_bytes

    @property
    def busy(self) -> bool:
        """Whether any request is waiting, under way, or finished and not handed out."""
        return bool(self._waiting or self._live or self._held)

    def _step(self) -> list[Result]:
        self._admit()
        failed = self._look_again()
        self._begin_images()
        self._read()
        ready = [sequence for sequence in self._live.values() if self._ready(sequence)]
        self._write(ready)
        finished = self._finish(ready)
        self._advance([sequence for sequence in ready if sequence.key in self._live])
        return failed + finished

    def _prepared(self, request: Request) -> Sequence:
        if self._tokenize is not None:
            request = coded(request, self._tokenize)
        sequence = Sequence(self._next_key, request, self._walk)
        sequence.check_room(self.max_length)
        self._check_pixels(sequence)
        levels = len(self._walk.layout.levels)
        if isinstance(request.guidance, tuple) and len(request.guidance) != levels:
            raise RequestError(
                f"guidance has {len(request.guidance)} scales, images {levels} levels: {request.guidance}"
            )
        if sequence.rows > self._runner.rows:
            raise RequestError("guidance takes two rows: build the engine with rows=2 or more")
        if request.mode == "auto" and self._walk.layout.reread and not self._paintings.possible:
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

    def _admit(self) -> None:
        """Give rows to waiting requests, first come first served, and let them begin to read."""
        admitted = []
        if self._waiting and not self._live and self._runner.follow():
            self._rows = Rows(self._runner.rows)  # what rows hold is of other weights, and what was seen too
            self._seen = Seen(self._runner)
        while self._waiting and self._waiting[0].rows <= self._rows.free:
            sequence = self._waiting.popleft()
            self._live[sequence.key] = sequence
            sequence.row = self._rows.take(marks_of(sequence.prompt, sequence.names))
            if sequence.rows == 2:
                sequence.twin = self._rows.take(marks_of(sequence.dropped, sequence.names))
            admitted.append(sequence)
        self._see(admitted)
        for sequence in admitted:
            sequence.take_forced()
            sequence.cached = self._begin(sequence, sequence.row, sequence.prompt + sequence.unread())

    def _see(self, sequences: Seq[Sequence]) -> None:
        """Read the images that these requests bring; one that several bring is read once."""
        wanted = {name: one.pixels[image] for one in sequences for image, name in one.shown.items()}
        features = self._seen.features(wanted)
        for sequence in sequences:
            sequence.features |= {image: features[name] for image, name in sequence.shown.items()}

    def _begin(self, sequence: Sequence, row: int, stretch: Stretch) -> int:
        """Let a row start over with a stretch; of it, it need not read what another row has read already: how much."""
        marks = marks_of(stretch, sequence.names)
        source, count = (row, 0) if self._runner.strict else self._rows.beginning(marks)
        self._runner.recall(source, row, count)
        self._rows.held[row] = marks[:count]
        self._reused += count
        self._reading[row] = Job(row, stretch, sequence.features, count), marks[count:]
        return count

    def _look_again(self) -> list[Result]:
        """Have the images painted that were just drawn, and let the rows read those that are; what fails of it."""
        parked = {key: sequence for key, sequence in self._live.items() if sequence.node.parked}
        if not parked:
            return []
        self._have_painted([sequence for key, sequence in parked.items() if key not in self._paintings])
        if len(parked) == len(self._live):
            self._paintings.wait(parked, _PATIENCE)
        painted = self._paintings.take(parked)
        features = self._runner.see(list(painted.values())) if painted else []
        for (key, pixels), seen in zip(painted.items(), features, strict=True):
            sequence = parked[key]
            stretch = sequence.look_again(pixels, seen)
            job = Job(sequence.row, stretch, sequence.features)
            self._reading[sequence.row] = job, marks_of(stretch, sequence.names)
        return [
            self._failed(parked[key], error) for key, error in self._paintings.failed(parked.keys() - painted).items()
        ]

    def _failed(self, sequence: Sequence, error: BaseException) -> Result:
        self._release(sequence)
        return replace(sequence.result("length"), error=error)

    def _have_painted(self, sequences: Seq[Sequence]) -> None:
        """All together, but strictly each alone."""
        drawn = {s.key: Drawn(s.frame, s.codes, seed_of("paint", s.request.seed, len(s.images))) for s in sequences}
        if not self._runner.strict and drawn:
            self._paintings.begin(drawn)
            return
        for key, one in drawn.items():
            self._paintings.begin({key: one})

    def _begin_images(self) -> None:
        """The unconditional rows that are needed from here on: each reads the conversation without its instruction."""
        for sequence in self._live.values():
            node = sequence.node
            if sequence.rows == 2 and node.drawing and node.forced is None and not sequence.twinned:
                sequence.twinned = True
                self._begin(sequence, sequence.twin, sequence.dropped + sequence.written)

    def _read(self) -> None:
        """A chunk of each row's reading, of as many rows as may read at once."""
        jobs: list[Job] = []
        positions = 0
        for job, _ in self._reading.values():
            positions += min(job.left, self._runner.chunk)
            if jobs and positions > self._read_at_once:
                break
            jobs.append(job)
        if jobs:
            self._runner.read(jobs)
        for job in jobs:
            if not job.left:
                _, marks = self._reading.pop(job.row)
                self._hold(job.row, marks)

    def _hold(self, row: int, marks: Iterable[Mark]) -> None:
        if not self._runner.strict:
            self._rows.held[row] += marks

    def _ready(self, sequence: Sequence) -> bool:
        """Whether its next id can be chosen."""
        return not sequence.node.parked and not {sequence.row, sequence.twin} & self._reading.keys()

    def _write(self, sequences: Seq[Sequence]) -> None:
        """Give each its next id, and those that can only follow: strictly one at a time, for every forward is alike."""
        choosing = [sequence for sequence in sequences if sequence.node.forced is None]
        for sequence in sequences:
            if sequence.node.forced is not None:
                sequence.take(sequence.node.forced)
        if self._parallel:
            choosing = self._parallel.write(choosing)
        for sequence, id in zip(choosing, self._choose(choosing), strict=True):
            sequence.take(id)
            if not self._runner.strict:
                sequence.take_forced()

    def _finish(self, sequences: Seq[Sequence]) -> list[Result]:
        """Take the answers that ended out of their rows."""
        finished = []
        for sequence in sequences:
            if sequence.ends_by_force():
                sequence.take_forced()
            elif not sequence.cut(self.max_length):
                continue
            finished.append(sequence.result("end" if sequence.node.done else "length"))
            self._release(sequence)
        return finished

    def _release(self, sequence: Sequence) -> None:
        del self._live[sequence.key]
        self._paintings.forget(sequence.key)
        for row in (sequence.row, sequence.twin)[: sequence.rows]:
            self._reading.pop(row, None)
            self._runner.clear(row)
            self._rows.leave(row)

    def _advance(self, sequences: Seq[Sequence]) -> None:
        """One forward for every row that goes on, the unconditional rows of images included."""
        nexts: dict[int, Stretch] = {}
        for sequence in sequences:
            if sequence.twinned and not sequence.node.drawing:
                sequence.twinned = False
                self._runner.clear(sequence.twin)
            if sequence.node.parked:
                continue  # its last ids are read together with the image
            stretch = sequence.unread()
            nexts |= dict.fromkeys((sequence.row, sequence.twin)[: 1 + sequence.twinned], stretch)
        if nexts and self._parallel:
            self._parallel.advance(nexts, sequences)
        elif nexts:
            self._runner.advance(nexts)
        for row, stretch in nexts.items():
            self._hold(row, zip(stretch.ids, stretch.places, strict=True))
