"""The scorecard: what a model reached, with intervals, baselines and provenance, as one checked JSON file.

It does not know how a score is measured.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema

from illume import __version__
from illume.core.errors import DataError
from illume.core.files import parse_json, write_json
from illume.core.statistics import ci95, mean

FORMAT_VERSION = 1
ABILITIES = ("see", "draw", "reconstruct", "edit", "edit_turns", "inpaint", "assess", "text")


@dataclass(frozen=True)
class Figure:
    """A mean over n items with its 95% interval."""

    score: float
    n: int
    ci95: tuple[float, float]

    @classmethod
    def of(cls, values: Sequence[float], seed: int = 0) -> "Figure":
        """The mean of `values` and its bootstrap interval."""
        return cls.rounded(mean(values), len(values), ci95(values, seed))

    @classmethod
    def rounded(cls, score: float, n: int, interval: tuple[float, float]) -> "Figure":
        """A figure that was measured otherwise, to four digits."""
        return cls(round(score, 4), n, (round(interval[0], 4), round(interval[1], 4)))


@dataclass(frozen=True)
class Row:
    """One ability: its score, the same by group, and what trivial answers would score."""

    score: float
    n: int
    ci95: tuple[float, float]
    by: Mapping[str, Figure] = field(default_factory=dict)
    baseline: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Scorecard:
    """The rows of a model and where they come from."""

    rows: Mapping[str, Row]
    seconds: Mapping[str, float]
    peak_memory_gb: float
    config_hash: str
    seed: int
    version: str = __version__
    format_version: int = FORMAT_VERSION

    def to_dict(self) -> dict[str, Any]:
        """As it stands in scorecard.json; validated."""
        plain = json.loads(json.dumps(asdict(self)))
        rows = plain.pop("rows")
        return validate({**rows, **plain}, "scorecard")

    def save(self, path: Path) -> None:
        """Write it, atomically."""
        write_json(path, self.to_dict())


def load(path: Path) -> dict[str, Any]:
    """Read and validate a scorecard file. DataError says what is wrong with it."""
    try:
        data = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable scorecard: {error}") from error
    return validate(data, str(path))


def validate(data: Any, where: str) -> dict[str, Any]:
    """The data, if it follows scorecard.schema.json; else DataError with the place and the reason."""
    try:
        jsonschema.validate(data, schema())
    except jsonschema.ValidationError as error:
        place = ".".join(str(step) for step in error.absolute_path) or "the whole"
        raise DataError(f"{where}: {place}: {error.message}") from error
    checked: dict[str, Any] = data
    return checked


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema of scorecard.json."""
    text = resources.files("illume.eval").joinpath("scorecard.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded
