"""The page of the experiment and its last line, from results alone; it measures nothing and reads no run."""

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.enhance.book import LOSS, Book, Goal, Variant, goals
from benchmarks.enhance.experiment import ROOM
from benchmarks.enhance.intervals import Difference
from benchmarks.enhance.results import SECOND

SCORES = ("draw", "draw novel", "see", "see novel", "edit", "assess kappa")
COMPARED = ("draw", "draw novel", "see", "edit", "assess kappa")
COMMAND = "python -m benchmarks.enhance"
NONE = "-"
ITEMS = "¹"
HEAD = f"""# Self-enhancement: the experiment

Made by `{COMMAND}` from the files in [results/enhance](../results/enhance) alone, not by hand. Every figure is a mean
over seeds; scores are shares of right items, but for kappa. What the arms are, and how to run them:
[enhance.md](enhance.md#the-experiment).
"""
NOTHING = "\nThere are no results yet.\n"
INTERVALS = f"""
Differences are paired by seed, their 95% intervals by Student's t over the seeds. Where an arm and what it is compared
with share only one seed, the interval ({ITEMS}) is over that seed's items, resampled in pairs: it says nothing of how
another seed would come out, and meets no goal.
"""


def page(book: Book, plot: str | None = None, *, smoke: bool = False) -> str:
    """The page in Markdown; `plot`: a path to its picture."""
    if not book.variants:
        return HEAD.replace("[results/enhance](../results/enhance)", "results/enhance") + NOTHING
    parts = [HEAD]
    if smoke:
        parts.append("\n**A smoke run**: tiny models that learn nothing. These figures mean nothing.\n")
    if plot is not None:
        parts.append(f"\n![Drawing and seeing, arm by arm, a dot a seed]({plot})\n")
    parts += ["\n## Scores\n", scores_table(book), _room(book)]
    parts += ["\n## Differences\n", INTERVALS, differences_table(book)]
    parts += ["\n## Goals\n", goals_table(goals(book))]
    for ability, title in (("draw", "Drawing by category"), ("see", "Seeing by question")):
        parts += [f"\n## {title}\n", groups_table(book, ability)]
    parts += ["\n## Drawing by category, pairs never seen\n", groups_table(book, "draw novel")]
    return "".join(parts) + _second(book)


def scores_table(book: Book) -> str:
    """A row an arm: seeds, scores, what it took."""
    head = ["arm", "seeds", "n", *SCORES, "steps", "drawings", "ids learnt", "minutes to make", "to score"]
    return table(
        head, ([v.label, *_counts(v), *(number(v.mean(name)) for name in SCORES), *_costs(v)] for v in book.variants)
    )


def differences_table(book: Book) -> str:
    """A row for every arm and what it is compared with."""
    rows = [
        [variant.label, f"less {arm}", *(interval(book.difference(variant, arm, name)) for name in COMPARED)]
        for variant in book.variants
        for arm in book.compared(variant)
    ]
    return table(["arm", "", *COMPARED], rows)


def groups_table(book: Book, name: str) -> str:
    """The groups of a score, a column each."""
    groups = sorted({group for v in book.variants for score in v.scores(name).values() for group in score.by})
    return table(
        ["arm", *groups], ([v.label, *(number(_group(v, name, group)) for group in groups)] for v in book.variants)
    )


def goals_table(found: Sequence[Goal]) -> str:
    """A row a goal. No loss: a mean that is lower by at most .01, and no interval that lies below 0."""
    rows = [[goal.name, interval(goal.difference), "yes" if goal.met else "no"] for goal in found]
    return (
        table(["goal", "came out", "met"], rows)
        + f'\n("No worse": lower by at most {LOSS}, and no interval below 0.)\n'
    )


def line(book: Book, *, smoke: bool) -> dict[str, Any]:
    """The last line of the command."""
    found = goals(book)
    means = {v.label: {name: _rounded(v.mean(name)) for name in SCORES} for v in book.variants}
    told = {goal.name: {"difference": _plain(goal.difference), "met": goal.met} for goal in found}
    seeds = {v.label: list(v.results) for v in book.variants}
    return {
        "benchmark": "enhance",
        "smoke": smoke,
        "seeds": seeds,
        "means": means,
        "goals": told,
        "goals_met": all(goal.met for goal in found) and not smoke,
    }


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def number(value: float | None) -> str:
    """A share, without the 0 before its point."""
    return NONE if value is None else _short(f"{value:.3f}")


def interval(difference: Difference | None) -> str:
    """A difference with its interval, marked where that is over items."""
    if difference is None:
        return NONE
    middle, low, high = (_short(f"{value:+.3f}") for value in (difference.mean, difference.low, difference.high))
    return f"{middle} [{low}, {high}]{ITEMS if difference.over == 'items' else ''}"


def _short(text: str) -> str:
    return text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text


def _counts(variant: Variant) -> list[str]:
    items = {score.n for score in variant.scores("draw").values()}
    return [str(len(variant.results)), "/".join(map(str, sorted(items)))]


def _costs(variant: Variant) -> list[str]:
    one, results = variant.any, list(variant.results.values())
    minutes = [sum(result.seconds[name] for result in results) / len(results) / 60 for name in ("making", "scoring")]
    learnt = NONE if one.tokens is None else str(one.tokens)
    return [str(one.steps), str(one.drawings), learnt, *(f"{some:.1f}" for some in minutes)]


def _group(variant: Variant, name: str, group: str) -> float | None:
    found = [score.by[group].score for score in variant.scores(name).values() if group in score.by]
    return sum(found) / len(found) if found else None


def _room(book: Book) -> str:
    base = book.main("baseline")
    drawn = None if base is None else base.mean("draw")
    if drawn is None or ROOM[0] <= drawn <= ROOM[1]:
        return ""
    low, high = map(number, ROOM)
    return f"\nThe baseline draws {number(drawn)}: it was to leave room, between {low} and {high}.\n"


def _second(book: Book) -> str:
    rows = [
        [v.label, v.any.second or NONE, v.any.judge or NONE, number(v.mean("draw")), number(v.mean(SECOND))]
        for v in book.variants
        if v.scores(SECOND)
    ]
    if not rows:
        return ""
    head = ["arm", "second judge", "its reward", "the oracle passes", "the second judge passes"]
    return (
        "\n## A second judge\n\nThe drawings of the test split as a judge sees them that was not the arm's reward.\n"
        + table(head, rows)
    )


def _plain(difference: Difference | None) -> list[float] | None:
    return None if difference is None else [round(v, 4) for v in (difference.mean, difference.low, difference.high)]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
