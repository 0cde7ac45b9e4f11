"""Times the first picture from a cold start, and how much of that is ours rather than torch's import.

    python -m benchmarks.cold_start [MODEL] [--repeats 7] [--smoke]

In fresh processes, in turn: a bare `import torch`, and `illume draw MODEL "a red circle"`. Medians; one round before
them is not counted, as it compiles modules and brings files into memory. Seconds of the processors are told beside
those of the clock. Measure on a quiet machine: on a busy one torch's threads wait for each other, which counts as ours.
Ends in one line of JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

GOALS = {"total": 4.0, "ours": 1.5}  # seconds of the clock on two cores, at most
PROMPT = "a red circle"


class Seconds(NamedTuple):
    """What a process took, by the clock and of the processors."""

    clock: float
    processors: float


def run(arguments: Sequence[str]) -> Seconds:
    """Run Python in a fresh process that may keep what it compiled, as it does on a person's machine."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)
    clock, after = time.perf_counter() - began, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Seconds(clock, used)


def measured(model: Path, repeats: int) -> tuple[list[Seconds], list[Seconds]]:
    """`import torch` and a drawing, so many times in turn after a round that does not count."""
    with tempfile.TemporaryDirectory() as folder:
        draw = ["-m", "illume", "draw", str(model), PROMPT, "-o", str(Path(folder) / "out.png")]
        pairs = [(run(["-c", "import torch"]), run(draw)) for _ in range(repeats + 1)][1:]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def figures(torch: Sequence[Seconds], drawing: Sequence[Seconds]) -> dict[str, dict[str, float]]:
    """Medians by clock and processors: the whole drawing, torch's import alone, and ours, which is the rest."""
    found = {}
    for kind in Seconds._fields:
        total, control = (median(getattr(one, kind) for one in some) for some in (drawing, torch))
        found[kind] = {"total": round(total, 3), "torch": round(control, 3), "ours": round(total - control, 3)}
    return found


def meets(found: dict[str, dict[str, float]]) -> bool:
    """Whether every goal is reached by the clock."""
    return all(found["clock"][name] <= goal for name, goal in GOALS.items())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=Path("runs/demo/model"))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    repeats = 1 if arguments.smoke else arguments.repeats
    try:
        found = figures(*measured(arguments.model, repeats))
    except subprocess.CalledProcessError as error:  # it has said why itself
        return int(error.returncode)
    table = Table("seconds", "clock", "processors", "goal (clock)")
    for name in ("total", "torch", "ours"):
        goal = f"at most {GOALS[name]:g}" if name in GOALS else ""
        table.add_row(name, f"{found['clock'][name]:.2f}", f"{found['processors'][name]:.2f}", goal)
    Console().print(table)
    told = {"benchmark": "cold_start", "smoke": arguments.smoke, "repeats": repeats, **found}
    print(json.dumps({**told, "goals_met": meets(found)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
