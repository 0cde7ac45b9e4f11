"""Re-measures the demo's figures on an existing run and holds them against the goals.

    python -m benchmarks.gate [--run runs/demo] [--smoke]

Scores the run's model afresh, item by item; takes training time and memory from what the run wrote. `--smoke` scores a
few items only, so its figures are rough. Ends in one line of JSON.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from illume.core.errors import IllumeError
from illume.eval.scorecard import load
from illume.recipes.score import score_folder

GOALS = {  # figure: (goal, at least or at most)
    "see": (0.95, "at least"),
    "reconstruct": (0.95, "at least"),
    "draw": (0.85, "at least"),
    "draw novel": (0.60, "at least"),
    "edit": (0.75, "at least"),
    "assess kappa": (0.50, "at least"),
    "minutes": (8.0, "at most"),
    "peak memory GB": (4.0, "at most"),
}
SMOKE_ITEMS = 24


def figures(card: dict[str, Any], trained: dict[str, Any]) -> dict[str, float]:
    """The figures that have a goal: scores as just measured, time and memory as the run measured them."""
    return {
        "see": card["see"]["score"],
        "reconstruct": card["reconstruct"]["score"],
        "draw": card["draw"]["score"],
        "draw novel": card["draw"]["by"]["novel"]["score"],
        "edit": card["edit"]["score"],
        "assess kappa": card["assess"]["by"]["kappa"]["score"],
        "minutes": round(sum(trained["seconds"].values()) / 60, 2),
        "peak memory GB": trained["peak_memory_gb"],
    }


def meets(name: str, value: float) -> bool:
    """Whether a figure reaches its goal."""
    goal, sense = GOALS[name]
    return value >= goal if sense == "at least" else value <= goal


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"))
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    try:
        trained = load(arguments.run / "scorecard.json")
        items = [f"score.num_items={SMOKE_ITEMS}"] if arguments.smoke else []
        measured = figures(score_folder(str(arguments.run), items), trained)
    except IllumeError as error:
        print(f"{error}\nTrain the demo first: make demo", file=sys.stderr)
        return 1
    table = Table("figure", "measured", "goal", "met")
    for name, value in measured.items():
        goal, sense = GOALS[name]
        table.add_row(name, f"{value:.3f}", f"{sense} {goal:g}", "yes" if meets(name, value) else "NO")
    Console().print(table)
    goals_met = all(meets(name, value) for name, value in measured.items())
    print(json.dumps({"benchmark": "gate", "smoke": arguments.smoke, **measured, "goals_met": goals_met}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
