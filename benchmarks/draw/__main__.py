"""Times drawing, with guidance, against transformers' Janus of the same shape: image ids a second.

    python -m benchmarks.draw [--smoke] [--only small-1 ...] [--rounds 1] [--out results/speed/draw.json] [--again]

Random weights: 8 layers x 256 and 1,024 codes, 24 layers x 1024 and 16,384; images of 64 ids; batches of 1, 2 and 8
images. All who draw a batch do so in turn, each from prompts to codes, so that what disturbs the machine disturbs them
alike; medians. What memory gives is measured before each batch: the fastest of several readings of 1 GiB by all
threads. Of it an engine could at most write as many ids as its weights pass through memory in a second, all of them
once for each step: that is the limit, and what caches and what lies in the processor's own memory take or spare is left
out. Drawing with drafted codes (docs/parallel.md) is told apart, and beside it what a trained model has of it, if
`python -m benchmarks.parallel` wrote that: codes of random weights hardly depend on each other, so their drafts stand
more often than real ones. What was measured is kept cell by cell: a run that was stopped goes on. Ends in one line of
JSON.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.draw.cells import CELLS, GPU, SMOKE, Book, Cell, Found, drafted, goals, machine
from benchmarks.draw.drawers import measure


def table(found: Mapping[str, Found], cells: Sequence[Cell]) -> Table:
    """Ids a second, times the peer's in the same dtype, times its best, and share of the limit."""
    told = Table("batch", "who", "ids/s", "x peer", "x best peer", "GB a step", "of the limit")
    for cell in cells:
        one = found[cell.name]
        for name, rate in one.peers.items():
            told.add_row(cell.name, f"Janus {name}", f"{rate:.1f}", "", "", "", "")
        best = max(one.peers.values())
        for tier, rate in one.tiers.items():
            same = one.peers.get(tier.partition("-")[0])
            share = f"{one.share(tier, cell.batch):.0%} of {one.memory:.1f} GB/s"
            times = "" if same is None else f"{rate / same:.2f}"
            told.add_row(cell.name, tier, f"{rate:.1f}", times, f"{rate / best:.2f}", f"{one.weights[tier]:.3f}", share)
        for tier, rate in one.drafting.items():
            told.add_row(cell.name, f"{tier}, drafting", f"{rate:.1f}", "", f"{rate / best:.2f}", "", "")
    return told


def trained(path: Path) -> Any:
    """What `benchmarks.parallel` found for a trained model."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else "unmeasured"


def chosen(given: argparse.Namespace, gpu: bool) -> tuple[Cell, ...]:
    """The cells to be measured."""
    cells = SMOKE if given.smoke else (*CELLS, GPU) if gpu else CELLS
    cells = tuple(cell for cell in cells if not given.only or cell.name in given.only)
    return tuple(replace(cell, rounds=given.rounds) for cell in cells) if given.rounds else cells


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a tiny model, once")
    parser.add_argument("--only", nargs="+", metavar="CELL", help="small-1 ...: these alone, for a look")
    parser.add_argument("--rounds", type=int, help="of each cell; for a look")
    parser.add_argument("--out", type=Path, default=Path("results/speed/draw.json"))
    parser.add_argument("--again", action="store_true", help="forget a run that was stopped")
    given = parser.parse_args(arguments)
    gpu, whole = torch.cuda.is_available(), not (given.smoke or given.only or given.rounds)
    cells, book = chosen(given, gpu), Book(given.out if whole else None)
    if not given.again:
        book.resume()
    console = Console(width=110)
    for cell in cells:
        if not book.has(cell):
            book.note(cell, measure(cell, lambda line: console.print(line, style="dim")))
    console.print(table(book.found, cells))
    reached, more = goals(book.found), drafted(book.found)
    for name, (value, goal) in (reached | more).items():
        console.print(f"{name}: {value:.2f}, goal {goal:g}: {'met' if value >= goal else 'NOT met'}")
    told: dict[str, Any] = {
        "benchmark": "draw",
        "smoke": given.smoke,
        "gpu": "measured" if gpu and whole else "unmeasured" if gpu else "unmeasured: no CUDA device",
        "goals": {name: round(value, 3) for name, (value, _) in reached.items()},
        "goals_met": whole and all(value >= goal for value, goal in reached.values()),
        "drafting": {name: round(value, 3) for name, (value, _) in more.items()},
        "drafting_goals_met": whole and all(value >= goal for value, goal in more.values()),
        "drafting_trained": trained(given.out.parent / "parallel.json"),
    }
    book.write(complete=True, result=told)
    print(json.dumps(told | {"machine": machine()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
