"""The page of self-enhancement: scorecards side by side, drawings with verdicts and corrections.

It measures nothing.
"""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from illume.core.files import write_text
from illume.data.records import read_records
from illume.enhance.compose import Assessed, assessed, passed
from illume.enhance.round import RoundFolder
from illume.eval.report import FILTERS, picked
from illume.eval.scorecard import ABILITIES
from illume.eval.task import Example
from illume.images.given import opened
from illume.judge.protocol import Failure, Identity
from illume.tasks.verdict import Verdict

LIMIT = 24  # examples of each kind and round


def write_page(
    path: Path, title: str, cards: Sequence[Mapping[str, Any]], rounds: Sequence[RoundFolder], limit: int = LIMIT
) -> None:
    """Write the page. cards: before, and after each round."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= FILTERS
    source = resources.files("illume.recipes").joinpath("examples_page.html.jinja").read_text(encoding="utf-8")
    names = ["before", *(f"after round {number}" for number in range(1, len(cards)))]
    examples = [examples_of(folder, limit) for folder in rounds]
    page = environment.from_string(source).render(title=title, names=names, rows=rows_of(cards), rounds=examples)
    write_text(path, page)


def rows_of(cards: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any] | None]]]:
    """Each ability that a card has, its groups after it: the figure of every card."""
    rows: list[tuple[str, list[Mapping[str, Any] | None]]] = []
    for ability in (name for name in ABILITIES if any(name in card for card in cards)):
        found = [card.get(ability) for card in cards]
        rows.append((ability, found))
        groups = dict.fromkeys(group for row in found if row for group in row["by"])
        rows += [(f"{ability}: {group}", [row["by"].get(group) if row else None for row in found]) for group in groups]
    return rows


def examples_of(folder: RoundFolder, limit: int) -> dict[str, list[Example]]:
    """Drawings of a round by what became of them, chosen by chance; none where nothing was drawn and judged."""
    said = folder.made_of("assess")
    if said is None:
        return {}
    judged_by, records = said["judge"], read_records(folder.records)[0] if folder.records.is_file() else []
    corrections = {record.id: record.images[1] for record in records if len(record.images) > 1}
    kinds: dict[str, list[Assessed]] = {"good": [], "bad": [], "without a verdict": []}
    for one in assessed(folder, Identity(judged_by["name"], judged_by["settings"])):
        kind = "good" if passed(one) else "bad" if isinstance(one.outcome, Verdict) else "without a verdict"
        kinds[kind].append(one)
    return {
        kind: picked(kind, [_example(one, corrections.get(one.drawing.key), folder.path) for one in found], limit)
        for kind, found in kinds.items()
    }


def _example(one: Assessed, correction: str | None, folder: Path) -> Example:
    shown = [("drawn", one.image), *([("correction", correction)] if correction else [])]
    pictures = tuple((label, np.asarray(opened(folder / image))) for label, image in shown)
    verdict = one.outcome.overall if isinstance(one.outcome, Verdict) else None
    return Example(one.drawing.prompt, pictures, reasons(one), verdict)


def reasons(one: Assessed) -> str:
    """What was said of a drawing: of each criterion that applies, or why there is no verdict."""
    if isinstance(one.outcome, Failure):
        return f"{one.outcome.kind}: {one.outcome.reason}"
    if one.outcome is None:
        return "not judged"
    applied = {name: found for name, found in one.outcome.criteria.items() if found.applicable}
    return "; ".join(f"{'✓' if found.passed else '✗'} {name}: {found.reason}" for name, found in applied.items())
