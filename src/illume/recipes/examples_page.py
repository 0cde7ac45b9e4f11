"""The page of self-enhancement: scorecards side by side, drawings with verdicts and corrections.

It measures nothing.
"""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np

from illume.api import Illume
from illume.core.files import write_text
from illume.core.streams import stream
from illume.data.records import Record, read_records
from illume.enhance.compose import Assessed, assessed, passed
from illume.enhance.propose import Prompt
from illume.enhance.round import RoundFolder
from illume.eval.report import FILTERS, picked
from illume.eval.scorecard import ABILITIES
from illume.eval.task import Example
from illume.images.given import opened
from illume.judge.protocol import Drawing, Failure, Identity, Judge, Outcome
from illume.tasks.verdict import Verdict

LIMIT = 24  # examples of each kind and round


class Correction(NamedTuple):
    """A picture, by its path from the round's folder, or words."""

    image: str | None = None
    words: str | None = None


def write_page(
    path: Path, title: str, cards: Sequence[Mapping[str, Any]], rounds: Sequence[Mapping[str, Sequence[Example]]]
) -> None:
    """Write the page. cards: before, and after each round; rounds: the examples of each, by what became of them."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= FILTERS
    source = resources.files("illume.recipes").joinpath("examples_page.html.jinja").read_text(encoding="utf-8")
    names = ["before", *(f"after round {number}" for number in range(1, len(cards)))]
    page = environment.from_string(source).render(title=title, names=names, rows=rows_of(cards), rounds=rounds)
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


def examples_of(folder: RoundFolder, limit: int = LIMIT) -> dict[str, list[Example]]:
    """Drawings of a round by what became of them, chosen by chance; none where nothing was drawn and judged."""
    said = folder.made_of("assess")
    if said is None:
        return {}
    judged_by, records = said["judge"], read_records(folder.records)[0] if folder.records.is_file() else []
    corrections = {record.id: corrected for record in records if (corrected := correction_of(record))}
    kinds: dict[str, list[Assessed]] = {"good": [], "bad": [], "without a verdict": []}
    for one in assessed(folder, Identity(judged_by["name"], judged_by["settings"])):
        kind = "good" if passed(one) else "bad" if isinstance(one.outcome, Verdict) else "without a verdict"
        kinds[kind].append(one)
    return {
        kind: picked(kind, [_example(one, corrections.get(one.drawing.key), folder.path) for one in found], limit)
        for kind, found in kinds.items()
    }


def drawn_examples(
    prompts: Sequence[Prompt], before: Illume, after: Illume, judge: Judge | None, limit: int = LIMIT
) -> dict[str, list[Example]]:
    """Prompts chosen by chance as they are drawn before and after, where a round keeps no drawings of its own; what the
    judge, if there is one, says of the latter."""
    chosen = stream("report", "prompts").sample(list(prompts), min(limit, len(prompts)))
    texts = [prompt.text for prompt in chosen]
    drawn = [illume.draw(texts, seed=0) for illume in (before, after)]
    asked = [Drawing(one.text, picture, one.key, one.spec) for one, picture in zip(chosen, drawn[1], strict=True)]
    said = {} if judge is None else {found.drawing.key: found.outcome for found in judge.judge(asked)}
    found = []
    for one, *pictures in zip(chosen, *drawn, strict=True):
        shown = tuple((label, np.asarray(p)) for label, p in zip(("before", "after"), pictures, strict=True))
        outcome = said.get(one.key)
        found.append(Example(one.text, shown, reasons(outcome), _passed(outcome)))
    return {"drawn before and after": found}


def correction_of(record: Record) -> Correction | None:
    """What a record teaches after a bad drawing's assessment: another picture, or words."""
    if len(record.images) > 1:
        return Correction(image=record.images[1])
    words = [part for turn in record.messages[-1:] for part in turn.parts if isinstance(part, str)]
    return Correction(words=" ".join(words)) if words else None


def _example(one: Assessed, correction: Correction | None, folder: Path) -> Example:
    corrected = correction or Correction()
    shown = [("drawn", one.image), *([("correction", corrected.image)] if corrected.image else [])]
    pictures = tuple((label, np.asarray(opened(folder / image))) for label, image in shown)
    answer = "; ".join(filter(None, (reasons(one.outcome), corrected.words)))
    return Example(one.drawing.prompt, pictures, answer, _passed(one.outcome))


def _passed(outcome: Outcome | None) -> bool | None:
    return outcome.overall if isinstance(outcome, Verdict) else None


def reasons(outcome: Outcome | None) -> str:
    """What was said of a drawing: of each criterion that applies, or why there is no verdict."""
    if isinstance(outcome, Failure):
        return f"{outcome.kind}: {outcome.reason}"
    if outcome is None:
        return "not judged"
    applied = {name: found for name, found in outcome.criteria.items() if found.applicable}
    return "; ".join(f"{'✓' if found.passed else '✗'} {name}: {found.reason}" for name, found in applied.items())
