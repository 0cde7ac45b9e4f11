"""What an endpoint said, word by word, in a file of its own: no question is paid for twice, and the bill is in it.

A line names the question (judge and content) and is an "answer" with what it took, or an "attempt" that brought none,
with the reason, and what it may have taken all the same. What an answer means is worked out anew whenever it is read.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from illume.core.errors import DataError
from illume.data.json_log import JsonLog, Row, read_log
from illume.judge.budget import Usage
from illume.judge.protocol import Drawing, Failure, FailureKind, Identity, Outcome
from illume.tasks.verdict import Verdict

_FENCED = re.compile(r"```(?:json)?\s*\n(.*)\n\s*```", re.DOTALL)  # how chat models like to wrap JSON
_SHOWN = 200  # letters of an answer that a reason quotes


@dataclass(frozen=True)
class Answer:
    """What a chat completion said. `finish` is its finish_reason; `form` how a verdict's shape was asked for."""

    text: str | None
    refusal: str | None = None
    finish: str | None = None
    form: str = "schema"


def outcome_of(answer: Answer) -> Outcome:
    """The verdict that an answer is, or why it is none. Whatever it is, this raises nothing."""
    if answer.refusal:
        return Failure("refused", f"it said: {_quoted(answer.refusal)}")
    if answer.finish == "content_filter":
        return Failure("refused", "the endpoint's content filter held the answer back")
    if not answer.text or not answer.text.strip():
        return Failure("malformed", "the answer is empty")
    if answer.finish == "length":
        return Failure("malformed", f"the answer was cut off (max_answer_tokens): {_quoted(answer.text)}")
    text = answer.text.strip()
    fenced = _FENCED.fullmatch(text)
    try:
        verdict = Verdict.from_json(fenced[1] if fenced else text)
        verdict.to_json().encode()
    except DataError as error:
        return Failure("malformed", _written(str(error)))
    except UnicodeEncodeError:
        return Failure("malformed", f"the answer holds half a surrogate pair, which is no text: {_quoted(text)}")
    return verdict


def question_of(judge: Identity, drawing: Drawing) -> str:
    """24 hexadecimal digits naming what is asked: this judge of this content."""
    return hashlib.blake2b(f"{judge.fingerprint} {drawing.content}".encode(), digest_size=12).hexdigest()


@dataclass(frozen=True)
class Bill:
    """What a file of answers holds for a judge: question -> outcome, what these took, the most that one of them took.

    `spent` is what all of the file took, other judges' answers and requests without an answer too.
    """

    known: dict[str, Outcome]
    spent: Usage = Usage()
    own: Usage = Usage()
    largest: Usage = Usage()


class Answers:
    """The file of answers, open to be added to by this process alone; every line lasts before it counts.

    `proven`: the judge has been answered before. Failures of the kinds `again` count as not answered.
    """

    def __init__(self, path: Path, judge: Identity, again: Collection[FailureKind] = ()) -> None:
        self.judge = judge
        self._log = JsonLog(path)
        try:
            self.bill = _read(self._log.rows, judge, again)
        except BaseException:
            self._log.close()
            raise
        self.proven = bool(self.bill.known)

    def answered(self, question: str, drawing: Drawing, answer: Answer, took: Usage) -> Outcome:
        """Keep an answer; what it means."""
        said = {"text": answer.text, "refusal": answer.refusal, "finish": answer.finish, "form": answer.form}
        self._add(question, drawing, {"answer": said, "usage": _plain(took)})
        self.bill.known[question] = outcome_of(answer)
        return self.bill.known[question]

    def tried(self, question: str, drawing: Drawing, reason: str, took: Usage | None = None) -> None:
        """Keep that a request brought nothing; `took`: what it may have been billed for all the same."""
        billed = {"usage": _plain(took)} if took is not None else {}
        self._add(question, drawing, {"attempt": reason, **billed})

    def __enter__(self) -> "Answers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.close()

    def _add(self, question: str, drawing: Drawing, what: Mapping[str, Any]) -> None:
        asked = {"question": question, "judge": self.judge.fingerprint, "key": drawing.key, "prompt": drawing.prompt}
        self._log.append({**asked, **what})


def read_bill(path: Path, judge: Identity, again: Collection[FailureKind] = ()) -> Bill:
    """What a file of answers holds; nothing if it is not there yet. DataError for a line that is none of its own."""
    return _read(read_log(path) if path.exists() else [], judge, again)


def _read(rows: list[Row], judge: Identity, again: Collection[FailureKind]) -> Bill:
    bill = Bill({})
    for where, row in rows:
        try:
            took = Usage(1)
            if "answer" in row or "usage" in row:
                took = Usage(1, int(row["usage"]["input"]), int(row["usage"]["output"]))
            if "answer" in row:
                question, whose, said = row["question"], row["judge"], _kept(row["answer"])
                if whose == judge.fingerprint:
                    bill.known[question] = outcome_of(said)
                    bill = replace(bill, own=bill.own + took, largest=bill.largest.at_least(took))
            elif "attempt" not in row:
                raise KeyError("answer or attempt")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{where}: no line of a file of answers: {error!r}") from None
        bill = replace(bill, spent=bill.spent + took)
    known = {q: o for q, o in bill.known.items() if not (isinstance(o, Failure) and o.kind in again)}
    return replace(bill, known=known)


def _plain(took: Usage) -> dict[str, int]:
    return {"input": took.input, "output": took.output}


def _kept(said: Mapping[str, Any]) -> Answer:
    if any(value is not None and not isinstance(value, str) for value in said.values()):
        raise TypeError("an answer is texts")
    return Answer(**said)


def _quoted(text: str) -> str:
    return repr(_written(text[:_SHOWN]) + ("..." if len(text) > _SHOWN else ""))


def _written(text: str) -> str:
    """A text that UTF-8 can write."""
    return text.encode("utf-8", "backslashreplace").decode()
