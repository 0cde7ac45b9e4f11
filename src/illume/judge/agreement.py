"""How far two judges agree on the same drawings, overall and by criterion; it does not know which of them is right.

What one of them failed to judge is counted apart: a failure agrees with nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from illume.core.errors import DataError
from illume.core.statistics import cohen_kappa, kappa_ci95
from illume.judge.protocol import Failure, Identity
from illume.judge.verdicts import Judged
from illume.tasks.verdict import CRITERIA, Verdict


@dataclass(frozen=True)
class Agreement:
    """Of `num` drawings: how many both pass, one alone, neither; the share that they agree on; Cohen's kappa."""

    num: int
    both: int
    first_alone: int
    second_alone: int
    neither: int
    accuracy: float
    kappa: float
    kappa_ci95: tuple[float, float]


@dataclass(frozen=True)
class Comparison:
    """Two judges: what each failed to judge, by kind, and how far they agree on what both judged.

    A criterion counts where both find it applicable; `applicable` is the share of drawings where they agree on that.
    """

    judges: tuple[Identity, Identity]
    shared: int
    failures: tuple[Mapping[str, int], Mapping[str, int]]
    overall: Agreement | None
    criteria: Mapping[str, Agreement | None]
    applicable: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        judges = [{"name": judge.name, "fingerprint": judge.fingerprint} for judge in self.judges]
        criteria = {
            name: {"applicable": self.applicable.get(name), **(asdict(found) if found else {"num": 0})}
            for name, found in self.criteria.items()
        }
        overall = asdict(self.overall) if self.overall else {"num": 0}
        failures = [dict(failure) for failure in self.failures]
        return {
            "judges": judges,
            "shared": self.shared,
            "failures": failures,
            "overall": overall,
            "criteria": criteria,
        }

    def to_text(self) -> str:
        """A table for a person."""
        first, second = self.judges
        lines = [f"A {first}", f"B {second}", f"{self.shared} drawings judged by both"]
        for name, failures in zip("AB", self.failures, strict=True):
            if failures:
                told = ", ".join(f"{count} {kind}" for kind, count in failures.items())
                lines.append(f"{name} gave no verdict on {sum(failures.values())}: {told}")
        lines.append(f"{'':10}{'n':>7}{'agree':>8}{'kappa':>8}{'95%':>16}{'A only':>8}{'B only':>8}")
        rows = {"overall": self.overall, **self.criteria}
        return "\n".join([*lines, *(_line(name, found) for name, found in rows.items())])


def compare(first: Mapping[str, Judged], second: Mapping[str, Judged]) -> Comparison:
    """Two judges' lines by content (`verdicts.latest`). DataError where they share no drawing."""
    shared = [content for content in first if content in second]
    if not shared:
        raise DataError(
            f"the judges have no drawing in common, of {len(first)} and {len(second)}: "
            "drawings are the same where prompt and pixels are; judge the same file"
        )
    pairs = [(first[content].outcome, second[content].outcome) for content in shared]
    both = [(a, b) for a, b in pairs if isinstance(a, Verdict) and isinstance(b, Verdict)]
    judges = (first[shared[0]].judge, second[shared[0]].judge)
    failures = (_failures(a for a, _ in pairs), _failures(b for _, b in pairs))
    overall = agreement([(a.overall, b.overall) for a, b in both])
    criteria, applicable = {}, {}
    for name in CRITERIA:
        found = [(a.criteria[name], b.criteria[name]) for a, b in both]
        criteria[name] = agreement([(a.passed, b.passed) for a, b in found if a.applicable and b.applicable])
        if found:
            applicable[name] = sum(a.applicable == b.applicable for a, b in found) / len(found)
    return Comparison(judges, len(shared), failures, overall, criteria, applicable)


def agreement(pairs: Sequence[tuple[bool, bool]]) -> Agreement | None:
    """Of what two raters say of the same items; None where there are none."""
    if not pairs:
        return None
    ours, theirs = [a for a, _ in pairs], [b for _, b in pairs]
    table = Counter(pairs)
    both, first, second, neither = (
        table[pair] for pair in ((True, True), (True, False), (False, True), (False, False))
    )
    share = (both + neither) / len(pairs)
    kappa, interval = cohen_kappa(ours, theirs), kappa_ci95(ours, theirs)
    return Agreement(len(pairs), both, first, second, neither, share, kappa, interval)


def _failures(outcomes: Iterable[object]) -> Mapping[str, int]:
    return Counter(outcome.kind for outcome in outcomes if isinstance(outcome, Failure))


def _line(name: str, found: Agreement | None) -> str:
    if found is None:
        return f"{name:10}{0:>7}"
    low, high = found.kappa_ci95
    interval = f"[{low:.2f}, {high:.2f}]"
    figures = f"{found.num:>7}{found.accuracy:>8.3f}{found.kappa:>8.2f}{interval:>16}"
    return f"{name:10}{figures}{found.first_alone:>8}{found.second_alone:>8}"
