"""Runs benchmarks on a model and gathers their rows and examples; it knows nothing of what any of them asks."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from illume.eval.scorecard import Row
from illume.eval.task import Example, Subject, Task


@dataclass(frozen=True)
class Outcome:
    """The rows of the scorecard, examples by ability, and the seconds each benchmark took."""

    rows: Mapping[str, Row]
    examples: Mapping[str, Sequence[Example]]
    seconds: Mapping[str, float]


def run_tasks(subject: Subject, tasks: Sequence[Task], report: Callable[[str], None] = lambda _: None) -> Outcome:
    """Answer and score every item of every task; each task fills one row of the scorecard.

    `report` is called with each ability in turn, before its benchmark begins.
    """
    rows, examples, seconds = {}, {}, {}
    for task in tasks:
        report(task.ability)
        started = time.monotonic()
        items = task.items()
        answers = task.answer(subject, items)
        scores = [task.score(item, answer) for item, answer in zip(items, answers, strict=True)]
        rows[task.ability] = task.aggregate(scores, task.baselines(subject, items, answers))
        examples[task.ability] = [score.example for score in scores if score.example is not None]
        seconds[f"score {task.ability}"] = round(time.monotonic() - started, 2)
    return Outcome(rows, examples, seconds)
