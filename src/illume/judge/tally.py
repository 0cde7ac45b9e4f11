"""What came out of judging, as counts; a failure is neither a pass nor a fail."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from illume.judge.protocol import Failure
from illume.judge.verdicts import Judged
from illume.tasks.verdict import CRITERIA, Verdict


@dataclass(frozen=True)
class Tally:
    """`wrong`: criterion -> how many fail in it, of those it applies to; `failures`: kind -> how many."""

    judged: int
    passed: int
    wrong: dict[str, tuple[int, int]]
    failures: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def to_text(self) -> str:
        """In a few words."""
        verdicts = self.judged - sum(self.failures.values())
        share = f" ({self.passed / verdicts:.1%})" if verdicts else ""
        lines = [f"{self.judged} drawings, {verdicts} verdicts: {self.passed} pass{share}"]
        lines += [f"wrong in {name}: {wrong} of {of}" for name, (wrong, of) in self.wrong.items() if wrong]
        if self.failures:
            lines.append("no verdict: " + ", ".join(f"{count} {kind}" for kind, count in self.failures.items()))
        return "\n".join(lines)


def tally(lines: Iterable[Judged]) -> Tally:
    """The counts of some lines."""
    outcomes = [line.outcome for line in lines]
    verdicts = [outcome for outcome in outcomes if isinstance(outcome, Verdict)]
    wrong = {}
    for name in CRITERIA:
        applied = [verdict.criteria[name] for verdict in verdicts if verdict.criteria[name].applicable]
        wrong[name] = (sum(not criterion.passed for criterion in applied), len(applied))
    failures = Counter[str](outcome.kind for outcome in outcomes if isinstance(outcome, Failure))
    return Tally(len(outcomes), sum(verdict.overall for verdict in verdicts), wrong, dict(failures))
