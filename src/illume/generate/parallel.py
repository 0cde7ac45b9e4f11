"""Several codes of an image with one forward: drafts, and what of them stands once the model has read them.

Speculative Jacobi decoding (Teng et al. 2024, arXiv 2410.01699) in a form that draws exactly what ordinary sampling
draws (docs/parallel.md says why). It does not know how an image is painted, nor what rows of words do.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor

from illume.core.errors import RequestError
from illume.generate.coupling import couple, draw
from illume.generate.guidance import guide
from illume.generate.request import Sampling
from illume.generate.runner import Runner
from illume.generate.sampling import keep, keyed_uniform
from illume.generate.sequence import Node, Sequence, Stretch, Walk
from illume.vocab.layout import Place

_STEP_BITS = 24  # a step has fewer random numbers than two to this power, and an answer fewer ids


@dataclass(frozen=True, eq=False)
class Path:
    """What follows where a code is chosen, whatever the codes are: `ids`, None for a code, each with the place that it
    carries. At its `nodes` codes are chosen, and `before` each are so many of the ids. The first of them may be
    drafted, `drafts` in number, all of one level; at the one that may be left, the image goes on behind the drafts."""

    nodes: list[Node]
    before: list[int]
    ids: list[int | None]
    places: list[Place | None]
    drafts: int

    def filled(self, codes: Iterable[int]) -> Stretch:
        """Its ids, with these codes."""
        first, left = _run(self.nodes[0]).start, iter(codes)
        return Stretch([first + next(left) if id is None else id for id in self.ids], list(self.places))


@dataclass(frozen=True, eq=False)
class Chosen:
    """A code of a run of ids, drawn from one row of some distributions; `stands`: it was a draft and has stayed."""

    run: range
    code: int
    wanted: Float[Tensor, "m v"]
    row: int
    stands: bool = False


@dataclass(eq=False)
class Window:
    """What is drafted for a row along a path.

    `taken`: of the ids written since the row last took some in, so many are in its cache, where they had been drafts.
    `hidden`: the states in which the codes at the path's nodes are chosen; `twin`: those of the unconditional row.
    """

    path: Path
    taken: int = 0
    drafts: list[Chosen] = field(default_factory=list)
    hidden: tuple[Float[Tensor, " d"], ...] = ()
    twin: tuple[Float[Tensor, " d"], ...] = ()

    @property
    def lacking(self) -> int:
        """How many drafts it still has room for."""
        return self.path.drafts - len(self.drafts)


@dataclass(eq=False)
class Task:
    """A row's part of a step: what is chosen at each node of its window; the `last` of them that counts.

    `step`: no other of the answer has this number, whatever the batch is.
    """

    sequence: Sequence
    window: Window
    step: int
    chosen: dict[int, Chosen] = field(default_factory=dict)
    last: int = 0

    def uniforms(self, start: int, count: int) -> list[float]:
        """So many of the step's own random numbers: those of a node are two, the first to keep its draft, the other to
        draw anew; those of new drafts come behind those of all nodes. Ordinary sampling has numbers below these."""
        first = (self.step << _STEP_BITS) + start
        return [keyed_uniform(self.sequence.stream, first + n) for n in range(count)]

    @property
    def known(self) -> Chosen:
        """What is known of the farthest place."""
        return self.chosen[len(self.chosen) - 1]


class Parallel:
    """Draws the codes of images at most so many `ahead` of what is certain."""

    def __init__(self, runner: Runner, walk: Walk, ahead: int) -> None:
        """RequestError where codes cannot be drafted."""
        check_parallel(ahead, runner.strict)
        self._runner = runner
        self._walk = walk
        self._ahead = ahead
        self._paths: dict[Node, Path] = {}
        self._windows: WeakKeyDictionary[Sequence, Window] = WeakKeyDictionary()

    def write(self, sequences: Seq[Sequence]) -> list[Sequence]:
        """Give those that choose a code as many as stand, and what follows by force; the other sequences."""
        tasks = [Task(one, self._window(one), len(one.written) + 1) for one in sequences if _chooses_code(one.node)]
        if tasks:
            self._settle(tasks)
            self._draft([task for task in tasks if self._take(task)])
        written = {id(task.sequence) for task in tasks}
        return [one for one in sequences if id(one) not in written]

    def advance(self, nexts: Mapping[int, Stretch], sequences: Iterable[Sequence]) -> None:
        """One forward of what rows have written, but for what is in their caches already, and of what is drafted."""
        fed, wanted, drafting = dict(nexts), [], []
        for sequence in sequences:
            window = self._windows.get(sequence)
            if window is None or sequence.row not in nexts:
                continue
            certain = nexts[sequence.row].since(window.taken)
            rows = _rows(sequence)
            fed |= dict.fromkeys(rows, certain + window.path.filled(one.code for one in window.drafts))
            wanted += [(row, len(certain) - 1 + before) for row in rows for before in window.path.before]
            drafting.append((window, len(rows)))
        hidden = self._runner.advance(fed, wanted).unbind()
        for window, rows_of_it in drafting:
            size = len(window.path.nodes)
            window.hidden, window.twin = hidden[:size], hidden[size : size * rows_of_it]
            hidden = hidden[size * rows_of_it :]

    def _window(self, sequence: Sequence) -> Window:
        """What was drafted for a row in the last step: nothing where its image has only begun."""
        if sequence in self._windows:
            return self._windows.pop(sequence)
        hidden = self._runner.hidden[list(_rows(sequence))]
        return Window(_alone(sequence.node), hidden=hidden[:1].unbind(), twin=hidden[1:].unbind())

    def _settle(self, tasks: Seq[Task]) -> None:
        """What becomes of every node of the windows; those that choose from the same ids together."""
        groups: dict[range, list[tuple[Task, int]]] = {}
        for task in tasks:
            for n, node in enumerate(task.window.path.nodes):
                groups.setdefault(_run(node), []).append((task, n))
        for run, points in groups.items():
            wanted = self._wanted(run, points)
            uniforms = torch.tensor([task.uniforms(2 * n, 2) for task, n in points], device=wanted.device)
            codes, stands = couple(wanted, *_drafted(points, wanted), uniforms)
            for row, ((task, n), code, stood) in enumerate(zip(points, codes.tolist(), stands.tolist(), strict=True)):
                task.chosen[n] = Chosen(run, code, wanted, row, stood)

    def _wanted(self, run: range, points: Seq[tuple[Task, int]]) -> Float[Tensor, "m v"]:
        """What ordinary sampling would draw from, over a run of ids."""
        requests = [task.sequence.request for task, _ in points]
        twinned = [row for row, (task, _) in enumerate(points) if task.sequence.twinned]
        hidden = [task.window.hidden[n] for task, n in points]
        hidden += [task.window.twin[n] for task, n in (points[row] for row in twinned)]
        logits = self._runner.logits_of(torch.stack(hidden), run)
        regions = [task.window.path.nodes[n].region for task, n in points]
        logits = guide(logits, twinned, [requests[row].guidance_of(regions[row]) for row in twinned])
        return distributions(logits, [one.sampling_of(region) for one, region in zip(requests, regions, strict=True)])

    def _take(self, task: Task) -> bool:
        """Write what stands of a window, and the first code that is no draft; whether codes go on."""
        sequence, path = task.sequence, task.window.path
        task.last = next((n for n in range(len(path.nodes)) if not task.chosen[n].stands), len(path.nodes) - 1)
        for n in range(task.last + 1):
            sequence.take(_run(path.nodes[n]).start + task.chosen[n].code)
            sequence.take_forced()
        goes_on = _chooses_code(sequence.node)
        taken = path.before[task.last] if goes_on else 0  # else the row takes all of it in again, with what follows
        for row in _rows(sequence):
            self._runner.rewind(row, path.before[-1] - taken)
        if goes_on:
            task.window = Window(self._path(sequence.node), taken)
            self._windows[sequence] = task.window
        return goes_on

    def _draft(self, tasks: Seq[Task]) -> None:
        """Fill new windows: with what was drawn behind the last code that counts, then from the last distribution that
        is known."""
        lacking: dict[int, list[Task]] = {}
        for task in tasks:
            window = task.window
            window.drafts += [task.chosen[n] for n in range(task.last + 1, len(task.chosen))][: window.path.drafts]
            if window.lacking and task.known.run != _run(task.sequence.node):
                window.path = _alone(task.sequence.node)  # a level begins, and nothing is known of it
            elif window.lacking:
                lacking.setdefault(id(task.known.wanted), []).append(task)
        for some in lacking.values():
            self._draft_more(some)

    def _draft_more(self, tasks: Seq[Task]) -> None:
        wanted = tasks[0].known.wanted[[task.known.row for task in tasks]]
        most, first = max(task.window.lacking for task in tasks), 2 * self._ahead + 2
        uniforms = torch.tensor([task.uniforms(first, most) for task in tasks], device=wanted.device)
        for task, codes in zip(tasks, draw(wanted, uniforms).tolist(), strict=True):
            task.window.drafts += [replace(task.known, code=code) for code in codes[: task.window.lacking]]

    def _path(self, node: Node) -> Path:
        if node not in self._paths:
            self._paths[node] = self._walked(node)
        return self._paths[node]

    def _walked(self, node: Node) -> Path:
        nodes, before, steps, drafts = [node], [0], list[tuple[int | None, Place | None]](), 0
        while drafts < self._ahead and _run(nodes[-1]) == _run(node):
            drafts += 1
            after = self._walk.after(nodes[-1], _run(node).start)  # where any other code leads too
            steps.append((None, after.place))
            while after.forced is not None and after.drawing:
                id = after.forced
                after = self._walk.after(after, id)
                steps.append((id, after.place))
            if not _chooses_code(after):
                del steps[before[-1] :]  # nothing is asked behind the image's last code
                break
            nodes.append(after)
            before.append(len(steps))
        return Path(nodes, before, [id for id, _ in steps], [place for _, place in steps], drafts)


def check_parallel(ahead: int, strict: bool) -> None:
    """RequestError for a number of codes that cannot be drafted; 0 is none."""
    if ahead < 0:
        raise RequestError(f"parallel ({ahead}) is how many codes are drafted ahead: 1 or more, or 0 for none")
    if ahead and strict:
        raise RequestError(
            f"strict mode drafts no codes (parallel: {ahead}), for all its forwards have one shape: "
            "leave one of the two out"
        )


def distributions(logits: Float[Tensor, "n v"], samplings: Seq[Sampling]) -> Float[Tensor, "n v"]:
    """What `sampling.sample` draws a column of each row from."""
    found, columns = keep(logits, samplings)
    if columns is not None:
        found = found.new_zeros(logits.shape).scatter(-1, columns, found / found.sum(-1, keepdim=True))
    greedy = [one.temperature == 0 for one in samplings]
    if any(greedy):
        certain = torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(found.dtype)
        found = torch.where(torch.tensor(greedy, device=logits.device)[:, None], certain, found)
    return found


def _drafted(
    points: Seq[tuple[Task, int]], wanted: Float[Tensor, "m v"]
) -> tuple[Float[Tensor, "m v"], Int[Tensor, " m"]]:
    """The distributions of drafts, zero where there is none, and the drafts."""
    drafts = [task.window.drafts[n] if n < len(task.window.drafts) else None for task, n in points]
    sources = {id(one.wanted): one.wanted for one in drafts if one is not None}
    first, number = dict[int, int](), 0
    for key, source in sources.items():
        first[key], number = number, number + len(source)
    table = torch.cat([*sources.values(), torch.zeros_like(wanted[:1])])
    rows = [number if one is None else first[id(one.wanted)] + one.row for one in drafts]
    codes = [0 if one is None else one.code for one in drafts]
    return table[torch.tensor(rows, device=wanted.device)], torch.tensor(codes, device=wanted.device)


def _run(node: Node) -> range:
    """The ids of the codes that a node chooses from: all of a level's."""
    return node.ids.ranges[0]


def _alone(node: Node) -> Path:
    """The path of a row that drafts nothing."""
    return Path([node], [0], [], [], 0)


def _chooses_code(node: Node) -> bool:
    return node.drawing and node.forced is None and node.place is not None


def _rows(sequence: Sequence) -> tuple[int, ...]:
    return (sequence.row, sequence.twin)[: 1 + sequence.twinned]
