"""Scores of a model item by item, one file an ability, so that what was measured before it was killed stays."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.enhance.results import SECOND, Group, Score
from illume.api import Illume, load
from illume.core.config import from_dict, load_yaml, override, to_dict
from illume.core.errors import DataError
from illume.core.files import read_json, write_json
from illume.core.log import console
from illume.core.statistics import mean
from illume.eval.subject import ModelSubject
from illume.eval.task import Score as ItemScore
from illume.eval.task import Task
from illume.recipes.recipe import Recipe
from illume.recipes.score import RECIPE_FILE, tasks_of, with_rows
from illume.tasks.verdict import Verdict

ABILITIES = ("see", "draw", "edit", "assess")
NOVEL = "novel"


@dataclass(frozen=True)
class Scored:
    """A model to be scored on `num_items` an ability and split; `keep`: the folder of what was measured.

    `second`: a model that judges the drawings too.
    """

    model: Path
    num_items: int
    keep: Path
    second: Path | None = None

    def scores(self) -> dict[str, Score]:
        """Of all abilities, the novel split apart."""
        found: dict[str, Score] = {}
        for ability in ABILITIES:
            path = self.keep / f"{ability}.json"
            if not path.is_file():
                console.print(f"score {ability}")
                write_json(path, {name: to_dict(score) for name, score in self._ability(ability).items()})
            plain = read_json(path)
            found |= {name: from_dict(Score, score, where=str(path)) for name, score in plain.items()}
        return found

    @cached_property
    def recipe(self) -> Recipe:
        return override(load_yaml(self.model / RECIPE_FILE, Recipe), [f"score.num_items={self.num_items}"])

    @cached_property
    def illume(self) -> Illume:
        return load(self.model, device=self.recipe.device)

    def _ability(self, ability: str) -> dict[str, Score]:
        task = {task.ability: task for task in tasks_of(self.recipe, self.illume, self.model.parent)}[ability]
        subject = self._subject(self.illume)
        items = task.items()
        answers = task.answer(subject, items)
        values = [task.score(item, answer) for item, answer in zip(items, answers, strict=True)]
        if ability == "assess":
            return {"assess kappa": kappa(task, values)}
        found = by_split(ability, values)
        if ability == "draw" and self.second is not None:
            counted = [value.counted for value in values]
            found[SECOND] = self._judged(
                _counted(items, counted), _counted(answers, counted), _counted(values, counted)
            )
        return found

    def _judged(self, items: Sequence[Any], pictures: Sequence[Any], values: Sequence[ItemScore]) -> Score:
        """The drawings as the second judge sees them. What is no verdict is no pass."""
        assert self.second is not None
        judge = self._subject(load(self.second, device=self.recipe.device))
        said = judge.assess(pictures, [item.prompt.text for item in items])
        passed = [ItemScore(passes(answer), value.by) for answer, value in zip(said, values, strict=True)]
        return score_of(passed)

    def _subject(self, illume: Illume) -> ModelSubject:
        return ModelSubject(with_rows(illume, self.recipe.score.rows), self.recipe.seed)


def by_split(ability: str, values: Sequence[ItemScore]) -> dict[str, Score]:
    """The counted items, and, under "... novel", the others, each by their groups."""
    splits = {ability: [v for v in values if v.counted], f"{ability} {NOVEL}": [v for v in values if not v.counted]}
    return {name: score_of(some) for name, some in splits.items() if some}


def score_of(values: Sequence[ItemScore]) -> Score:
    """The share of items that are right. ValueError where one is neither right nor wrong."""
    if unclear := [value.value for value in values if value.value not in (0, 1)]:
        raise ValueError(f"an item is right or wrong, not {unclear[0]}")
    right = [bool(value.value) for value in values]
    return Score(round(mean(right), 6), len(right), groups_of(values), digits(right))


def groups_of(values: Sequence[ItemScore]) -> dict[str, Group]:
    """The score of each kind of item; the novel ones' kinds are called as the others'."""
    found: dict[str, list[float]] = {}
    for value in values:
        for name in value.by:
            if name != NOVEL:
                found.setdefault(name.removeprefix(f"{NOVEL} "), []).append(value.value)
    return {name: Group(round(mean(some), 6), len(some)) for name, some in sorted(found.items())}


def kappa(task: Task, values: Sequence[ItemScore]) -> Score:
    """Cohen's kappa of what was said with what is true; by kind, the share of right decisions."""
    figure = task.aggregate(values, {}).by["kappa"]
    said, true = (digits([value.facts[name] for value in values]) for name in ("said", "true"))
    return Score(figure.score, figure.n, groups_of(values), said, true)


def digits(values: Sequence[bool]) -> str:
    """A 0 or a 1 for each."""
    return "".join("01"[bool(value)] for value in values)


def passes(answer: str) -> bool:
    """Whether it is a verdict, and a good one."""
    try:
        return Verdict.from_json(answer).overall
    except DataError:
        return False


def _counted(values: Sequence[Any], counted: Sequence[bool]) -> list[Any]:
    return [value for value, counts in zip(values, counted, strict=True) if counts]
