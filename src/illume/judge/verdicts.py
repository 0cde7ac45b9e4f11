"""verdicts.jsonl: a line a judged drawing, added one by one; it does not know how a judge comes to its verdict.

A line is {"key", "content", "prompt", "judge": {"name", "settings"}} and "verdict" or "failure"
(`judgement.schema.json`). What was judged is its `content`, who judged the fingerprint of `judge`: a line stands for
both, whatever the drawing is called elsewhere. Of several lines the last one holds.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from illume.core.errors import DataError
from illume.data.json_log import Row, parsed, read_log
from illume.data.json_text import kind_of, string
from illume.judge.protocol import FAILURES, Failure, Identity, Outcome, passes
from illume.tasks.verdict import Verdict

SCHEMA = Path(__file__).with_name("judgement.schema.json")
"""The JSON Schema of a line. Beyond it: a verdict's overall follows from its criteria."""


@dataclass(frozen=True)
class Judged:
    """A line: a drawing by its key, content and prompt, who judged it, and what came out."""

    key: str
    content: str
    prompt: str
    judge: Identity
    outcome: Outcome

    @property
    def passed(self) -> bool:
        """Whether it is a verdict that says: this shows its prompt."""
        return passes(self.outcome)


def read_verdicts(path: Path) -> list[Judged]:
    """What a file holds, in its order. DataError, with file and line, for a line that is none."""
    return parse_rows(read_log(path))


def parse_rows(rows: Iterable[Row]) -> list[Judged]:
    """The lines, each checked. DataError says where and what."""
    return parsed(rows, _judged)


def latest(lines: Iterable[Judged], judge: Identity | None = None) -> dict[str, Judged]:
    """Content -> the line that holds, of one judge.

    Without one named there has to be only one. DataError where several judged.
    """
    found: dict[str, Judged] = {}
    wanted = None if judge is None else judge.fingerprint
    for line in lines:
        whose = line.judge.fingerprint
        if judge is None and wanted not in (None, whose):
            raise DataError("these are verdicts of several judges; say whose: FILE:oracle, FILE:self ...")
        if wanted in (None, whose):
            wanted = whose
            found[line.content] = line
    return found


def said_by(lines: Sequence[Judged], judge: str) -> list[Judged]:
    """The lines of one judge, by its name, or its name and fingerprint. DataError where there is none."""
    found = [line for line in lines if judge in (line.judge.name, str(line.judge))]
    if not found:
        there = ", ".join(sorted({str(line.judge) for line in lines}))
        raise DataError(f"there is no verdict of {judge!r} here, but of {there or 'nobody'}")
    return found


def to_row(line: Judged) -> dict[str, Any]:
    """A line as it is written."""
    row: dict[str, Any] = {"key": line.key, "content": line.content, "prompt": line.prompt}
    row["judge"] = {"name": line.judge.name, "settings": dict(line.judge.settings)}
    if isinstance(line.outcome, Verdict):
        return row | {"verdict": json.loads(line.outcome.to_json())}
    return row | {"failure": {"kind": line.outcome.kind, "reason": line.outcome.reason}}


def _judged(row: Mapping[str, Any]) -> Judged:
    kind = "failure" if "failure" in row else "verdict"
    _same_names(row, ("key", "content", "prompt", "judge", kind), "a judged drawing")
    for name in ("key", "content", "prompt"):
        string(row[name], name)
    judge = _object(row["judge"], "judge")
    _same_names(judge, ("name", "settings"), "judge")
    identity = Identity(string(judge["name"], "judge.name"), _object(judge["settings"], "judge.settings"))
    return Judged(row["key"], row["content"], row["prompt"], identity, _OUTCOMES[kind](row[kind]))


def _verdict(value: object) -> Verdict:
    return Verdict.from_json(json.dumps(_object(value, "verdict")))


def _failure(value: object) -> Failure:
    failure = _object(value, "failure")
    _same_names(failure, ("kind", "reason"), "failure")
    if failure["kind"] not in FAILURES:
        raise DataError(f"unknown kind of failure {failure['kind']!r}; there are {', '.join(FAILURES)}")
    return Failure(failure["kind"], string(failure["reason"], "failure.reason"))


_OUTCOMES: dict[str, Callable[[object], Outcome]] = {"verdict": _verdict, "failure": _failure}


def _object(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"{name} has to be an object, not {kind_of(value)}")
    return value


def _same_names(value: Mapping[str, Any], names: tuple[str, ...], what: str) -> None:
    missing, unknown = [n for n in names if n not in value], [n for n in value if n not in names]
    if missing or unknown:
        wrong = [f"{n!r} is missing" for n in missing] + [f"{n!r} is unknown" for n in unknown]
        raise DataError(f"{what} has {', '.join(names)}: {', '.join(wrong)}")
