"""Holds speed tiers against fp32, eagerly: the same choices given the same ids, and the same scores.

    python -m benchmarks.tiers MODEL [--tiers bf16 int8 ...] [--items 300] [--out results/speed/tiers.json] [--smoke]

A model (or run) of the generated world. Choices: fp32 draws, edits and answers items of the world's test split; the
tier writes the same ids, and at every id its chances of all that were allowed are compared with fp32's: how often the
likeliest is the same, and the mean KL divergence, guidance included, at temperature 1. Scores: see, draw and edit as on
the scorecard, `--items` of each and as many of held-out pairs where there are; the mean difference item by item, with
its 95% interval. Goals: top-1 >= 99% (int4 97%), KL <= 0.01 (int8, w8a8, int4 0.02), no score more than a point lower.
What was measured is kept tier by tier: a run that was stopped goes on. Ends in one line of JSON.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import illume
from benchmarks.tiers.forced import Tally, compare
from illume.api import Illume, Request
from illume.core.config import load_yaml
from illume.core.errors import IllumeError, UsageError
from illume.core.files import read_json, write_json
from illume.core.statistics import ci95, mean
from illume.enhance.paint import drawer_of
from illume.eval.subject import ModelSubject
from illume.eval.task import Task
from illume.eval.tasks import world_tasks
from illume.generate.named import model_folder
from illume.generate.tier import TIERS
from illume.recipes.recipe import Recipe, WorldData
from illume.recipes.score import RECIPE_FILE, find_model, with_rows

KINDS = ("draw", "edit", "see")
NAMES = ("bf16", "int8", "w8a8", "int4", "bf16-compiled")
TOP1, KL = {"int4": 0.97}, {"int8": 0.02, "w8a8": 0.02, "int4": 0.02}  # of these weights; of all others 0.99 and 0.01
LOSS = 0.01  # of a score, at most
ROWS, FEW_ROWS = 64, 8  # compiled tiers are for few rows, and compile anew for 2, 4, 8...
Scores = Mapping[str, Sequence[float]]


def tasks_of(recipe: Recipe, items: int) -> dict[str, Task]:
    """The benchmarks of these kinds. UsageError for a model of other data."""
    if not isinstance(recipe.data, WorldData):
        raise UsageError("tiers are compared on the generated world: give a model that was trained on it")
    return {task.ability: task for task in world_tasks(recipe.data.world, items) if task.ability in KINDS}


def request_of(model: Illume, kind: str, item: Any, seed: int) -> Request:
    """What an item of a benchmark asks."""
    if kind == "draw":
        return model.draw_request(item.prompt.text, seed)
    if kind == "edit":
        return model.edit_request(item.picture, item.edit.instruction, seed)
    return model.ask_request(item.picture, item.question.text, max_new_text=16)


def scores(model: Illume, tasks: Mapping[str, Task], rows: int, seed: int) -> dict[str, list[float]]:
    """What each answer is worth, by kind."""
    subject, found = ModelSubject(with_rows(model, rows), seed), {}
    for kind, task in tasks.items():
        items = task.items()
        answers = task.answer(subject, items)
        found[kind] = [task.score(item, answer).value for item, answer in zip(items, answers, strict=True)]
    return found


def choices(reference: Illume, model: Illume, tasks: Mapping[str, Task], items: int, rows: int) -> dict[str, Any]:
    """How near the choices are, by kind and in all; of each kind the first `items`: the test split's."""
    found = {}
    for kind, task in tasks.items():
        asked = [request_of(reference, kind, item, seed) for seed, item in enumerate(task.items()[:items])]
        found[kind] = compare(reference, model, asked, rows)
    return {kind: tally.told() for kind, tally in {**found, "all": sum(found.values(), Tally())}.items()}


def differences(reference: Scores, found: Scores) -> dict[str, dict[str, Any]]:
    """Each score, and how much it is above the reference's, item by item."""
    told = {}
    for kind, values in found.items():
        above = [one - other for one, other in zip(values, reference[kind], strict=True)]
        low, high = ci95(above)
        told[kind] = {
            "score": round(mean(values), 4),
            "difference": round(mean(above), 4),
            "ci95": [round(low, 4), round(high, 4)],
            "items": len(values),
        }
    return told


def goals(tier: str, found: Mapping[str, Any]) -> dict[str, tuple[float, float, bool]]:
    """Name: (value, goal, met)."""
    weights, every = TIERS[tier].weights, found["choices"]["all"]
    top1, kl = TOP1.get(weights, 0.99), KL.get(weights, 0.01)
    rows = {"top-1": (every["top1"], top1, every["top1"] >= top1), "KL": (every["kl"], kl, every["kl"] <= kl)}
    for kind, one in found["scores"].items():
        rows[kind] = one["difference"], -LOSS, one["difference"] >= -LOSS
    return {f"{tier}: {name}": row for name, row in rows.items()}


def table(found: Mapping[str, Any]) -> Table:
    """A row a tier."""
    told = Table("tier", "choices", "top-1", "KL", *(f"{kind} (of fp32's)" for kind in KINDS))
    for tier, one in found.items():
        every = one["choices"]["all"]
        cells = [one["scores"][kind] for kind in KINDS]
        above = [
            f"{c['score']:.3f} ({c['difference']:+.3f}, {c['ci95'][0]:+.3f} to {c['ci95'][1]:+.3f})" for c in cells
        ]
        told.add_row(tier, str(every["choices"]), f"{every['top1']:.2%}", f"{every['kl']:.5f}", *above)
    return told


def begun(path: Path | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a run with these settings kept before it was stopped, or nothing yet."""
    if path is not None and path.exists():
        kept = read_json(path)
        if not kept["complete"] and kept["settings"] == settings:
            return kept
    return {"complete": False, "settings": settings, "reference": None, "tiers": {}}


def measured(model: str, tiers: Sequence[str], items: int, path: Path | None, console: Console) -> dict[str, Any]:
    """All tiers of a model, each kept when it is done."""
    folder = find_model(model_folder(model))
    recipe = load_yaml(folder / RECIPE_FILE, Recipe)
    tasks = tasks_of(recipe, items)
    reference = illume.load(folder, dtype="float32", tier="fp32")
    kept = begun(path, {"weights": drawer_of(reference), "items": items, "tiers": list(tiers)})
    if kept["reference"] is None:
        console.print("fp32: scores", style="dim")
        kept["reference"] = scores(reference, tasks, ROWS, recipe.seed)
    for tier in tiers:
        if tier in kept["tiers"]:
            continue
        console.print(f"{tier}: choices and scores", style="dim")
        rows = FEW_ROWS if TIERS[tier].mode == "compiled" else ROWS
        other = illume.load(folder, tier=tier)
        chosen = choices(reference, other, tasks, items, rows)
        above = differences(kept["reference"], scores(other, tasks, rows, recipe.seed))
        kept["tiers"][tier] = {"choices": chosen, "scores": above}
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, kept)
    return kept


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="runs/demo")
    parser.add_argument("--tiers", nargs="+", choices=TIERS, metavar="TIER", help=f"default: {' '.join(NAMES)}")
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("results/speed/tiers.json"))
    parser.add_argument("--smoke", action="store_true", help="few items, nothing kept")
    given = parser.parse_args(arguments)
    tiers = given.tiers or (["bf16", "int4"] if given.smoke else list(NAMES))
    console, path = Console(width=150), None if given.smoke else given.out
    try:
        kept = measured(given.model, tiers, 6 if given.smoke else given.items, path, console)
    except IllumeError as error:
        print(error, file=sys.stderr)
        return 1
    console.print(table(kept["tiers"]))
    rows = {name: row for tier in tiers for name, row in goals(tier, kept["tiers"][tier]).items()}
    for name, (value, goal, met) in rows.items():
        console.print(f"{name}: {value:.5g}, goal {goal:g}: {'met' if met else 'NOT met'}")
    if path is not None:
        write_json(path, kept | {"complete": True})
    told = {"benchmark": "tiers", "smoke": given.smoke, "model": given.model, "tiers": kept["tiers"]}
    print(json.dumps(told | {"goals_met": all(met for _, _, met in rows.values())}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
