"""Judging a list of drawings into a verdicts.jsonl; killed anywhere and run again, it asks nothing twice.

Lines are written in the order of the drawings, whichever answer comes first, so that the file is the same however often
the work was stopped. It does not know who judges.
"""

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from illume.core.errors import JudgeError
from illume.data.json_log import JsonLog
from illume.judge.drawings import open_all
from illume.judge.protocol import Drawing, Failure, FailureKind, Identity, Judge, Judgement, Outcome
from illume.judge.verdicts import Judged, latest, parse_rows, to_row

UNANSWERED: tuple[FailureKind, ...] = ("unavailable",)
"""What a later run asks again: nothing was answered."""


def judge_drawings(
    judge: Judge,
    drawings: Sequence[Drawing],
    path: Path,
    *,
    again: Collection[FailureKind] = UNANSWERED,
    on_progress: Callable[[int], None] | None = None,
) -> list[Judged]:
    """Each drawing's line, in the order of the drawings; those that `path` lacks are judged and added to it.

    Drawings of one content are asked about once. Failures of the kinds `again` are asked again; one that comes out the
    same is not written twice. `on_progress` is given the number of lines that came. DataError where a picture cannot be
    read, before anything is asked; whatever the judge raises leaves what was judged so far in the file.
    """
    open_all(drawings)
    identity, report = judge.identity, on_progress or (lambda lines: None)
    with JsonLog(path, lasting=False) as log:
        lines = parse_rows(log.rows)
        outcomes = {c: line.outcome for c, line in latest(lines, identity).items() if not _is(line.outcome, again)}
        own = [line for line in lines if line.judge.fingerprint == identity.fingerprint]
        written = {(line.key, line.content): line.outcome for line in own}
        waiting = [d for d in drawings if d.content not in outcomes or (d.key, d.content) not in written]
        questions = list({d.content: d for d in waiting if d.content not in outcomes}.values())
        report(len(drawings) - len(waiting))
        with closing(_in_order(waiting, outcomes, judge.judge(questions), identity)) as new:
            for line in new:
                if written.get((line.key, line.content)) != line.outcome:
                    log.append(to_row(line))
                report(1)
    return [Judged(d.key, d.content, d.prompt, identity, outcomes[d.content]) for d in drawings]


def _in_order(
    waiting: Sequence[Drawing], outcomes: dict[str, Outcome], judgements: Iterator[Judgement], identity: Identity
) -> Generator[Judged, None, None]:
    """The line of each waiting drawing as soon as those before it are there; new outcomes are put among the others."""
    try:
        for drawing in waiting:
            while drawing.content not in outcomes:
                found = next(judgements, None)
                if found is None:
                    raise JudgeError(f"the judge {identity} said nothing of the drawing {drawing.key!r}")
                outcomes[found.drawing.content] = found.outcome
            yield Judged(drawing.key, drawing.content, drawing.prompt, identity, outcomes[drawing.content])
    finally:
        if isinstance(judgements, Generator):
            judgements.close()


def _is(outcome: Outcome, kinds: Collection[FailureKind]) -> bool:
    return isinstance(outcome, Failure) and outcome.kind in kinds
