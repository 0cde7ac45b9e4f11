"""What is drawn, what was found, the goals, and the file that keeps it. It draws nothing."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.shapes import SHAPES, Shape
from illume.core.files import write_json

SIZES = {**SHAPES, "1b": Shape(layers=22, width=2048, heads=32, hidden=5632, side=24, codes=16384, max_length=1024)}
EAGER = ("fp32", "bf16", "int8", "w8a8", "int4")
COMPILED = tuple(f"{weights}-compiled" for weights in EAGER)
DRAFTING = ("bf16", "bf16-compiled", "w8a8-compiled")


@dataclass(frozen=True)
class Cell:
    """A batch of images of one size, the tiers that draw it beside the peers, and those that draft codes as well."""

    size: str
    batch: int
    tiers: tuple[str, ...] = EAGER
    drafting: tuple[str, ...] = DRAFTING
    rounds: int = 3
    device: str = "cpu"

    @property
    def name(self) -> str:
        return f"{self.size}-{self.batch}"


# A deep model takes a minute to compile for each number of rows.
CELLS = (
    Cell("small", 1, EAGER + COMPILED, rounds=7),
    Cell("small", 2, EAGER + COMPILED, rounds=7),
    Cell("small", 8, (*EAGER, "fp32-compiled", "bf16-compiled"), ("bf16", "bf16-compiled"), rounds=5),
    Cell("large", 1, (*EAGER, "bf16-compiled", "w8a8-compiled", "int4-compiled")),
    Cell("large", 2, EAGER, ("bf16",), rounds=2),
    Cell("large", 8, EAGER, ("bf16",), rounds=2),
)
FEW = ("small-1", "small-2", "large-1")  # the cells that goals are for
SMOKE = (Cell("tiny", 1, EAGER, ("bf16",), rounds=1), Cell("tiny", 2, EAGER, ("bf16",), rounds=1))
GPU = Cell("1b", 1, ("bf16", "bf16-graph", "int4-graph"), ("bf16-graph",), device="cuda")


@dataclass
class Found:
    """Image ids a second by who drew them; GB/s of memory, and GB that a step of each tier reads."""

    memory: float
    peers: dict[str, float] = field(default_factory=dict)
    tiers: dict[str, float] = field(default_factory=dict)
    drafting: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)

    def share(self, tier: str, batch: int) -> float:
        """Of the ids that memory would allow."""
        return self.tiers[tier] * self.weights[tier] / (self.memory * batch)

    def best(self, kind: str = "") -> float:
        """Ids a second of the fastest tier of this kind of weights."""
        return max(rate for tier, rate in self.tiers.items() if tier.startswith(kind))

    @property
    def fastest(self) -> str:
        return max(self.tiers, key=lambda tier: self.tiers[tier])


def goals(found: Mapping[str, Found]) -> dict[str, tuple[float, float]]:
    """What was reached without drafts and what was to be, of the cells that were measured."""
    rows: dict[str, tuple[float, float]] = {}
    for name in {"small-1", "small-2"} & found.keys():
        one = found[name]
        rows |= {f"{name}: {kind} / peer {kind}": (one.best(kind) / rate, 3.0) for kind, rate in one.peers.items()}
        rows[f"{name}: best ({one.fastest}) / best"] = one.best() / max(one.peers.values()), 4.0
    if "large-1" in found:
        one = found["large-1"]
        rows["large-1: bf16 / peer bf16"] = one.best("bf16") / one.peers["bf16"], 1.5
        rows[f"large-1: best ({one.fastest}) / best"] = one.best() / max(one.peers.values()), 3.0
        rows |= {f"large-1: {tier}, share of the limit": (one.share(tier, 1), 0.6) for tier in ("bf16", one.fastest)}
    if "1b-1" in found:
        one = found["1b-1"]
        rows["1b-1 (GPU): bf16-graph / peer bf16"] = one.tiers["bf16-graph"] / one.peers["bf16"], 5.0
        rows["1b-1 (GPU): bf16-graph, share of the limit"] = one.share("bf16-graph", 1), 0.7
    return rows


def drafted(found: Mapping[str, Found]) -> dict[str, tuple[float, float]]:
    """What drafts bring on top, of one or two pictures: the fastest with them against the fastest without."""
    goal = 2.0
    return {
        f"{name}: best with drafts / best": (max(one.drafting.values()) / one.best(), goal)
        for name, one in found.items()
        if one.drafting and name in FEW
    }


def machine() -> dict[str, Any]:
    """What the figures belong to."""
    return {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


class Book:
    """A file of cells, written anew with each; without a path nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.found: dict[str, Found] = {}
        self._asked: dict[str, Any] = {}

    def resume(self) -> None:
        """Take over what a run on this machine measured before it was stopped; nothing of one that came to its end."""
        if self.path is None or not self.path.exists():
            return
        told = json.loads(self.path.read_text(encoding="utf-8"))
        if told["complete"] or told["machine"] != machine():
            return
        self.found = {name: Found(**one) for name, one in told["found"].items()}
        self._asked = told["asked"]

    def has(self, cell: Cell) -> bool:
        """Whether this very cell was measured."""
        return cell.name in self.found and self._asked[cell.name] == json.loads(json.dumps(asdict(cell)))

    def note(self, cell: Cell, found: Found) -> None:
        """Keep what was found."""
        self.found[cell.name] = found
        self._asked[cell.name] = asdict(cell)
        self.write(complete=False)

    def write(self, complete: bool, **more: Any) -> None:
        """Write the file; a run that is complete is not gone on with."""
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            found = {name: asdict(one) for name, one in self.found.items()}
            told = {"complete": complete, "machine": machine(), **more, "asked": self._asked, "found": found}
            write_json(self.path, told)
