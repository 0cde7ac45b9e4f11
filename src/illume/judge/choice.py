"""Which of several drawings of a prompt is taken, by what a judge said of them; it neither draws nor judges."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from illume.core.errors import JudgeError
from illume.judge.protocol import Drawing, Outcome, passes
from illume.tasks.verdict import Verdict


@dataclass(frozen=True)
class Candidate:
    """A drawing in memory, the seed that it is drawn from, and what came out when it was judged."""

    drawing: Drawing
    seed: int
    outcome: Outcome

    @property
    def passed(self) -> bool:
        """Whether there is a verdict, and it is good."""
        return passes(self.outcome)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, without the picture."""
        if isinstance(self.outcome, Verdict):
            return {"seed": self.seed, "verdict": json.loads(self.outcome.to_json())}
        return {"seed": self.seed, "failure": {"kind": self.outcome.kind, "reason": self.outcome.reason}}


@dataclass(frozen=True)
class Choice:
    """The candidates for one picture of a prompt, in the order in which they were drawn, one or more."""

    candidates: tuple[Candidate, ...]

    @property
    def prompt(self) -> str:
        """What all of them should show."""
        return self.candidates[0].drawing.prompt

    @property
    def taken(self) -> int | None:
        """Which of them is taken; None where the judge gave no verdict of any."""
        return best([candidate.outcome for candidate in self.candidates])

    @property
    def passed(self) -> bool:
        """Whether the one that is taken passed: some of them did."""
        return any(candidate.passed for candidate in self.candidates)

    @property
    def picture(self) -> Image.Image:
        """The picture that is taken. JudgeError where there is no verdict of any."""
        if self.taken is None:
            raise JudgeError(f"{unjudged(self)}; so no picture was taken")
        return self.candidates[self.taken].drawing.picture()

    def to_dict(self) -> dict[str, Any]:
        """As plain data, without the pictures."""
        return {"candidates": [candidate.to_dict() for candidate in self.candidates], "taken": self.taken}


def best(outcomes: Sequence[Outcome]) -> int | None:
    """The one to take: one that passes, then one with the most applicable criteria passed, then the first.

    A failure is no verdict and is never taken; None where there is nothing else.
    """
    verdicts = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Verdict)]
    return max(verdicts, key=lambda i: _rank(outcomes[i]), default=None)  # of equals max takes the first


def _rank(outcome: Outcome) -> tuple[bool, int]:
    assert isinstance(outcome, Verdict)  # the others were left out
    return outcome.overall, sum(one.applicable and one.passed for one in outcome.criteria.values())


def unjudged(choice: Choice) -> str:
    """In words, that there is no verdict of any candidate, and why."""
    first = choice.candidates[0].outcome
    assert not isinstance(first, Verdict)  # it is of a choice without a verdict
    whose = f"any of {len(choice.candidates)} drawings" if len(choice.candidates) > 1 else "the drawing"
    return f"there is no verdict of {whose} of {choice.prompt!r:.80} ({first.kind}: {first.reason})"
