"""The folder of a run: configuration, metrics, checkpoints, how long each part took; it knows no models."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from illume.core.checkpoint import latest
from illume.core.config import dump_yaml, plain_hash, to_dict
from illume.core.device import peak_memory_gb
from illume.core.dist import is_main
from illume.core.errors import CheckpointError
from illume.core.files import read_json, write_json, write_text
from illume.core.log import MetricsFile, console
from illume.models.reconstruction import ReconstructionConfig
from illume.recipes.recipe import Recipe

# What each part of a run depends on, as fields of the recipe.
ENCODER = ("data", "image_size", "text", "encoder", "encoder_stage", "contrast", "seed")
TOKENIZER = (*ENCODER, "tokenizer", "tokenizer_stage")
PIXEL_DECODER = (*TOKENIZER, "pixel_decoder", "pixel_stage")
LANGUAGE = (
    *TOKENIZER,
    "decoder",
    "frame",
    "grid_positions",
    "code_vectors",
    "code_rows",
    "row_length",
    "rows_per_batch",
    "drop",
    "weighting",
    "lora",
    "reading",
)
# Fields younger than runs that go on without them: at these values, and any field that is None, they name nothing.
ADDED: Mapping[str, Any] = {"reading": "features", "code_rows": True}
# The same of data, by their kind.
ADDED_TO_DATA: Mapping[str, Mapping[str, Any]] = {
    "mixed": {"held_out": 0.0},
    "records": {"held_out": 0.0, "slices": {}},
}
# The same of rounds, where they are None.
ADDED_TO_ROUNDS = ("learnt", "share", "judge")


class RunFolder:
    """`config.yaml`, `metrics.jsonl`, `timings.json`, `checkpoints/`, `codes/`, `samples/`, `contrast/`, `model/`,
    `scorecard.json` and `report.html` in one folder.

    Parts that are finished stay so when later parts of the recipe change. CheckpointError where a part was trained as
    another recipe says.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.path = Path(recipe.out)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"{self.path}: the run's folder cannot be made: {error}") from error
        self.hashes = part_hashes(recipe)
        self._refuse_other_parts()
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

    def _refuse_other_parts(self) -> None:
        """CheckpointError for the first part that was trained as another recipe says; nothing is overwritten."""
        for part, expected in self.hashes.items():
            found = latest(self.checkpoints(part))
            if found is not None and read_json(found / "meta.json").get("config_hash") != expected:
                raise CheckpointError(
                    f"{self.checkpoints(part)} was trained with another configuration: choose another out=FOLDER, "
                    "or delete that folder to train this part again"
                )

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
        path = self.path / "timings.json"
        return read_json(path) if path.is_file() else {}


def naming(recipe: Recipe) -> dict[str, Any]:
    """A recipe as the plain data that names what is trained: younger fields only where they say something."""
    plain = to_dict(recipe)
    del plain["generation"]["memory"]  # of sessions alone: nothing is trained or scored with it
    plain["data"] = _without(plain["data"], ADDED_TO_DATA.get(recipe.data.kind, {}))
    if recipe.rounds is not None:
        plain["rounds"] = {n: v for n, v in plain["rounds"].items() if n not in ADDED_TO_ROUNDS or v is not None}
    return _without(plain, ADDED)


def _without(plain: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in plain.items() if added.get(name) != value}


def part_hashes(recipe: Recipe) -> dict[str, str]:
    """Names what each part that is trained depends on, in the order in which they are trained."""
    plain = naming(recipe)
    learnt = {"rounds": _without(plain["rounds"], {"sources": plain["rounds"]["sources"]})} if recipe.rounds else {}

    def named(fields: tuple[str, ...], stages: int = 0) -> str:
        kept = {name: plain[name] for name in fields if name in plain}
        kept |= learnt if stages == len(recipe.stages) else {}  # of the last stage alone
        return plain_hash(kept | {"stages": plain["stages"][:stages]})

    painted = ("pixel_decoder",) if isinstance(recipe.tokenizer, ReconstructionConfig) else ()  # trained as one
    parts = {"encoder": named(ENCODER), "tokenizer": named((*TOKENIZER, *painted))}
    parts |= {"pixel_decoder": named(PIXEL_DECODER)} if recipe.pixel_stage is not None else {}
    return parts | {stage.name: named(LANGUAGE, number) for number, stage in enumerate(recipe.stages, start=1)}
