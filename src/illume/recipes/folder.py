"""The folder of a run: configuration, metrics, checkpoints, how long each part took; it knows no models."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from illume.core.config import config_hash, dump_yaml, plain_hash, to_dict
from illume.core.device import peak_memory_gb
from illume.core.dist import is_main
from illume.core.errors import CheckpointError
from illume.core.files import write_json, write_text
from illume.core.log import MetricsFile, console
from illume.recipes.recipe import Recipe, ScoreConfig

# What each part of a run depends on, besides all that the parts before it do.
ENCODER = ("data", "image_size", "text", "encoder", "encoder_stage", "contrast", "seed")
TOKENIZER = ("tokenizer", "tokenizer_stage")
PIXEL_DECODER = ("pixel_decoder", "pixel_stage")
LANGUAGE = ("decoder", "frame", "grid_positions", "code_vectors", "row_length", "rows_per_batch", "drop")


class RunFolder:
    """`config.yaml`, `metrics.jsonl`, `timings.json`, `checkpoints/`, `codes/`, `samples/`, `contrast/`, `model/`,
    `scorecard.json` and `report.html` in one folder.

    Parts that are finished stay finished when the recipe's later parts change; a checkpoint that belongs to another
    configuration is refused when its part is reached.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.path = Path(recipe.out)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"{self.path}: the run's folder cannot be made: {error}") from error
        if is_main():
            write_text(self.path / "config.yaml", dump_yaml(recipe))
        self.metrics = MetricsFile(self.path / "metrics.jsonl")

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def codes(self) -> Path:
        return self.path / "codes"

    def checkpoints(self, part: str) -> Path:
        """Where a part keeps its training states."""
        return self.path / "checkpoints" / part

    @property
    def hash(self) -> str:
        """Names everything the model depends on: the recipe without where it runs and how it is scored."""
        return config_hash(replace(self.recipe, out="", device="auto", score=ScoreConfig()))

    def hash_of(self, *fields: str, stages: int = 0) -> str:
        """Names what a part depends on: these fields of the recipe, and its first language stages."""
        plain = to_dict(self.recipe)
        kept = {name: plain[name] for name in fields} | {"stages": plain["stages"][:stages]}
        return plain_hash(kept)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a part; a run that is killed and goes on adds up, as far as it had said so."""
        before = self.seconds().get(name, 0.0)
        console.print(f"[bold]{name}[/bold]")
        started = time.monotonic()
        try:
            yield
        finally:
            if is_main():
                seconds = self.seconds() | {name: round(before + time.monotonic() - started, 2)}
                write_json(self.path / "timings.json", {"seconds": seconds, "peak_memory_gb": self._peak()})

    def seconds(self) -> dict[str, float]:
        """Seconds by part, of all sittings."""
        return dict(self._timings().get("seconds", {}))

    def peak_memory_gb(self) -> float:
        """The most memory any sitting took."""
        return self._peak()

    def _peak(self) -> float:
        return round(max(peak_memory_gb(), float(self._timings().get("peak_memory_gb", 0.0))), 3)

    def _timings(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.path / "timings.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return found
