"""Step 3: a judge looks at the drawings; it does not know who judges, nor what becomes of the verdicts.

Under several processes each judges its share into a file of its own; the first process then joins them, in the order of
the drawings, as if it had judged alone.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from illume.core.dist import barrier, is_main, rank, world_size
from illume.core.files import discard
from illume.data.loader import Share
from illume.enhance.round import RoundFolder
from illume.judge.drawings import read_drawings
from illume.judge.protocol import Drawing, Failure, FailureKind, Identity, Judge, Judgement, Outcome
from illume.judge.run import UNANSWERED, judge_drawings
from illume.judge.verdicts import Judged, latest, read_verdicts

SHARDS = "verdicts"  # a folder, there while several processes judge


def assess(
    folder: RoundFolder,
    judge: Judge,
    *,
    again: Collection[FailureKind] = UNANSWERED,
    shared: bool = True,
    on_progress: Callable[[int], None] | None = None,
) -> list[Judged]:
    """Judge what verdicts.jsonl lacks; to the first process, what holds of each drawing. Every process of a group calls
    this.

    `shared`: each judges a part; a judge that asks many at once by itself and keeps accounts (the API) does better
    alone. `again` as in `judge_drawings`.
    """
    if world_size() > 1 and shared:
        judge_share(folder, judge, Share(rank(), world_size()), again=again)
        barrier()
        judge = Answered(judge, _sharded(folder, judge.identity))
    judged: list[Judged] = []
    if is_main():
        drawings = read_drawings(folder.drawings)
        judged = judge_drawings(judge, drawings, folder.verdicts, again=again, on_progress=on_progress)
        if (shards := folder.path / SHARDS).is_dir():
            discard(shards)
        folder.note("assess", {"drawings": folder.digest("paint"), "judge": identity_row(judge.identity)})
    barrier()
    return judged


def judge_share(
    folder: RoundFolder, judge: Judge, share: Share, *, again: Collection[FailureKind] = UNANSWERED
) -> None:
    """Judge a process's part of the drawings into its own file, but for what any file knows already."""
    known = _sharded(folder, judge.identity)
    if folder.verdicts.is_file():
        known |= _outcomes(read_verdicts(folder.verdicts), judge.identity)
    known = {content: found for content, found in known.items() if not asked_again(found, again)}
    barrier()  # before anybody writes: all know the same
    drawings = read_drawings(folder.drawings)[share.rank :: share.world_size]
    path = folder.path / SHARDS / f"{share.rank:05d}.jsonl"
    judge_drawings(Answered(judge, known), drawings, path, again=again)


class Answered:
    """A judge that is not asked what it said before."""

    def __init__(self, judge: Judge, known: Mapping[str, Outcome]) -> None:
        self.judge_itself = judge
        self.identity = judge.identity
        self.known = known

    def judge(self, drawings: Iterable[Drawing]) -> Iterator[Judgement]:
        """What is known first, in the order of the drawings; then the rest as the judge gives it."""
        asked = list(drawings)
        yield from (Judgement(one, self.known[one.content]) for one in asked if one.content in self.known)
        yield from self.judge_itself.judge([one for one in asked if one.content not in self.known])


def identity_row(identity: Identity) -> dict[str, Any]:
    """Who judges, as it stands in verdicts.jsonl."""
    return {"name": identity.name, "settings": dict(identity.settings)}


def asked_again(outcome: Outcome, again: Collection[FailureKind]) -> bool:
    """Whether it is a failure of one of these kinds."""
    return isinstance(outcome, Failure) and outcome.kind in again


def _sharded(folder: RoundFolder, identity: Identity) -> dict[str, Outcome]:
    files = sorted((folder.path / SHARDS).glob("*.jsonl"))
    return {content: outcome for file in files for content, outcome in _outcomes(read_verdicts(file), identity).items()}


def _outcomes(lines: Iterable[Judged], identity: Identity) -> dict[str, Outcome]:
    return {content: line.outcome for content, line in latest(lines, identity).items()}
