"""What one server did for so many clients, as figures; the goals; and where figures are kept. It asks no server."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from illume.core.files import write_json

ROOT = Path(__file__).parents[2]
STREAMED, WHOLE = "illume, streamed", "illume"  # with partial pictures on the way, and without, as the peer's are
GOALS = {"times the serial one at 16": 8.0, "times the batching one at 16": 2.5}  # images a second, at least
MEANT_FOR = 16  # clients of these goals


@dataclass(frozen=True)
class Cell:
    """Figures of a server for so many clients. Seconds; percentiles over the requests of all rounds."""

    images: int
    failed: int
    seconds: float
    images_per_second: float
    p50: float
    p95: float
    first_p50: float
    first_p95: float


Cells: TypeAlias = Mapping[tuple[str, int], Cell]  # by server and number of clients


def percentile(values: Sequence[float], share: float) -> float:
    """Linear between the two nearest of the sorted values; 0 is the least, 1 the greatest. nan of nothing."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def cell_of(rounds: Sequence[Mapping[str, Any]]) -> Cell:
    """The figures of what the clients told of each round."""
    requests = [request for one in rounds for request in one["requests"]]
    good = [request for request in requests if request["error"] is None]
    latencies, firsts = [one["latency"] for one in good], [one["first"] for one in good]
    seconds = sum(one["seconds"] for one in rounds)
    quantiles = (percentile(some, share) for some in (latencies, firsts) for share in (0.5, 0.95))
    return Cell(len(good), len(requests) - len(good), seconds, len(good) / seconds, *quantiles)


def ratios(cells: Cells, server: str, clients: int) -> dict[str, float]:
    """Images a second of a server against the peer's two, for so many clients."""
    own = cells[server, clients].images_per_second
    return {peer: own / cells[peer, clients].images_per_second for peer in ("serial", "batching")}


def goals(cells: Cells) -> dict[str, tuple[float, float, bool]]:
    """Goal: (measured, goal, met), for those whose cells there are; a request that failed meets none.

    Images a second are compared by whole pictures, latency alone by streamed ones.
    """
    found = {}
    if (WHOLE, MEANT_FOR) in cells:
        measured = ratios(cells, WHOLE, MEANT_FOR)
        for (name, goal), peer in zip(GOALS.items(), ("serial", "batching"), strict=True):
            found[name] = (measured[peer], goal, measured[peer] >= goal)
    if (STREAMED, 1) in cells:
        own, best = cells[STREAMED, 1].p95, min(cells[peer, 1].p95 for peer in ("serial", "batching"))
        found["p95 at 1, s"] = (own, best, own <= best)
    failed = sum(cell.failed for cell in cells.values())
    found["failed requests"] = (float(failed), 0.0, failed == 0)
    return found


def key_of(settings: Mapping[str, Any]) -> str:
    """What names a measurement: its settings, and the code that is measured."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    folders = ("src/illume/serve", "src/illume/generate", "src/illume/models", "benchmarks/serve")
    for path in [*(path for folder in folders for path in (ROOT / folder).glob("*.py")), ROOT / "benchmarks/shapes.py"]:
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


class Book:
    """The cells of one measurement in a file, written as they come, so that a killed run goes on; None: no file."""

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.cells: dict[tuple[str, int], Cell] = {}
        self._told: dict[str, Any] = {"settings": dict(settings), "cells": []}
        if path is not None and path.exists():
            self._told = json.loads(path.read_text())
            for one in self._told["cells"]:
                self.cells[one["server"], one["clients"]] = Cell(**one["figures"])

    def write(self, server: str, clients: int, cell: Cell) -> None:
        """Keep a cell."""
        self.cells[server, clients] = cell
        self._told["cells"].append({"server": server, "clients": clients, "figures": vars(cell)})
        self._save()

    def note(self, **more: Any) -> None:
        """Keep something else beside the cells."""
        self._told |= more
        self._save()

    def _save(self) -> None:
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, self._told)
