"""Times drawing with drafted codes against drawing them one by one: ids a second, and how many ids a forward writes.

    python -m benchmarks.parallel [MODEL] [--tier TIER] [--images 24] [--together 1] [--out FILE] [--smoke]

The same prompts in turn through an engine of each window, `--together` at once, at several temperatures; what is drawn
has the same distribution in all of them. Sums over all images; one round before them is not counted. The goal is for
the model's own temperature. What was found is written to results/speed/parallel.json, and is the last line.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

import illume
from illume.api import Illume, Request
from illume.core.errors import IllumeError
from illume.core.files import write_json
from illume.generate.engine import Engine
from illume.vocab.messages import ImagePart

GOAL = 2.0  # times the ids a second of ordinary decoding
WINDOWS = (0, 2, 4, 8, 16, 32)
PROMPTS = (
    "a red circle", "two blue squares", "a small green triangle above a yellow star",
    "a purple circle left of a red square", "three yellow triangles", "a big orange star",
    "a blue circle and a green square", "a red square below two blue circles",
)  # fmt: skip


@dataclass
class Tally:
    """What drawing took: codes written, forwards that wrote them, seconds of the clock."""

    ids: int = 0
    forwards: int = 0
    seconds: float = 0.0

    def told(self, ordinary: "Tally") -> dict[str, float]:
        """Rates, and how much faster than ordinary decoding."""
        rate, usual = self.ids / self.seconds, ordinary.ids / ordinary.seconds
        return {
            "ids_per_forward": round(self.ids / self.forwards, 2),
            "ids_per_second": round(rate, 1),
            "times": round(rate / usual, 2),
        }


def draw(engine: Engine, requests: Sequence[Request], tally: Tally) -> None:
    """Answer requests together, and count."""
    began = time.perf_counter()
    for request in requests:
        engine.add(request)
    results = []
    steps = -1  # the first one reads the prompt
    while engine.busy:
        results += engine.step()
        steps += 1
    tally.seconds += time.perf_counter() - began
    tally.forwards += steps * len(requests)
    parts = [part for result in results for part in result.parts if isinstance(part, ImagePart)]
    tally.ids += sum(len(level) for part in parts for level in part.codes or ())


def measured(model: Illume, temperature: float, windows: Sequence[int], images: int, together: int) -> list[Tally]:
    """A tally a window; windows take turns, so that what else the machine does falls on all of them."""
    engines = [model.engine(2 * together, parallel=window) for window in windows]
    tallies = [Tally() for _ in windows]
    for at in range(-together, images, together):
        requests = [
            model.draw_request(PROMPTS[seed % len(PROMPTS)], seed, temperature=temperature)
            for seed in range(at + together, at + 2 * together)
        ]
        for engine, tally in zip(engines, tallies, strict=True):
            draw(engine, requests, Tally() if at < 0 else tally)
    return tallies


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=Path("runs/demo/model"))
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--together", type=int, default=1)
    parser.add_argument("--tier", default="auto")
    parser.add_argument("--out", type=Path, default=Path("results/speed/parallel.json"))
    parser.add_argument("--smoke", action="store_true", help="little, nothing kept")
    arguments = parser.parse_args()
    windows = (0, 4) if arguments.smoke else WINDOWS
    images = 2 if arguments.smoke else arguments.images
    try:
        model = illume.load(arguments.model, tier=arguments.tier)
    except IllumeError as error:
        print(error, file=sys.stderr)
        return 1
    own = float(model.parts.generation.draw.sampling.temperature)
    table = Table("temperature", "drafts", "ids a forward", "ids a second", "times")
    found = {}
    for temperature in (own,) if arguments.smoke else dict.fromkeys((own, 1.0, 0.0)):
        tallies = measured(model, temperature, windows, images, arguments.together)
        told = {str(window): tally.told(tallies[0]) for window, tally in zip(windows, tallies, strict=True)}
        found[f"{temperature:g}"] = told
        for window, rates in told.items():
            table.add_row(f"{temperature:g}", window, *map(str, rates.values()))
    Console().print(table)
    best = max(rates["times"] for rates in found[f"{own:g}"].values())
    said = {"benchmark": "parallel", "smoke": arguments.smoke, "model": str(arguments.model), "tier": arguments.tier}
    said |= {"images": images, "together": arguments.together, "temperatures": found}
    said |= {"best": best, "goals_met": best >= GOAL}
    if not arguments.smoke:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(arguments.out, said)
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
