"""One finished (arm, seed) as one small JSON file; it does not know how anything in it was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from illume import __version__
from illume.core.config import from_dict, to_dict
from illume.core.errors import ConfigError, DataError
from illume.core.files import read_json, write_json

FORMAT_VERSION = 1
SECOND = "draw, second judge"  # the score of the drawings by a judge that was nobody's reward


@dataclass(frozen=True)
class Group:
    """The items of one kind."""

    score: float
    n: int


@dataclass(frozen=True)
class Score:
    """A score over n items. `items` has a 0 or a 1 for each, in their order, so that scores of the same items can be
    compared item by item: whether it is right, or, where `true` is there (kappa), what was said beside what is true."""

    score: float
    n: int
    by: dict[str, Group]
    items: str
    true: str = ""

    def __post_init__(self) -> None:
        for bits in filter(None, (self.items, self.true)):
            if len(bits) != self.n or set(bits) - set("01"):
                raise ValueError(f"items and true are {self.n} digits, 0 or 1 each")


@dataclass(frozen=True)
class Result:
    """`hash` names what made it but for the seed, `settings` says it; `against`: the hashes of the arms it is compared
    with. `steps` and `drawings`: all that it trained and drew beyond the baseline, `tokens` those of the dialogues or
    pictures that it learnt. `judge` gave the verdicts or rewards, `second` judged the drawings beside the oracle."""

    arm: str
    seed: int
    hash: str
    settings: dict[str, Any]
    against: dict[str, str]
    scores: dict[str, Score]
    steps: int
    drawings: int
    tokens: int | None
    judge: str | None
    second: str | None
    seconds: dict[str, float]
    smoke: bool = False
    version: str = field(default=__version__)
    format_version: int = FORMAT_VERSION

    @property
    def name(self) -> str:
        """Of its file."""
        return file_name(self.arm, self.seed, self.hash)

    def save(self, folder: Path) -> Path:
        """Write it, whole or not at all."""
        path = folder / self.name
        write_json(path, to_dict(self))
        return path


def file_name(arm: str, seed: int, name: str) -> str:
    """What the result of an arm, a seed and a configuration is called."""
    return f"{arm}-seed{seed}-{name}.json"


def read_result(path: Path) -> Result:
    """DataError for a file that is no result, or not the one that its name says."""
    plain = read_json(path)
    settings = plain.pop("settings", None)
    try:
        if not isinstance(settings, dict) or plain.get("format_version") != FORMAT_VERSION:
            raise DataError(f"no settings, or not format {FORMAT_VERSION}")
        result = from_dict(Result, {**plain, "settings": {}}, where=str(path))
    except (ConfigError, DataError) as error:
        raise DataError(f"{path}: not a result of this benchmark: {error}") from error
    result.settings.update(settings)
    if result.name != path.name:
        raise DataError(f"{path}: what it holds is called {result.name}: was it renamed?")
    return result


def read_results(folder: Path) -> list[Result]:
    """Every result of a folder, by name; none where there is no folder."""
    return [read_result(path) for path in sorted(folder.glob("*.json"))]


def by_seed(results: Sequence[Result]) -> Mapping[int, Result]:
    """Results of one arm and configuration by their seed, in its order."""
    return {result.seed: result for result in sorted(results, key=lambda result: result.seed)}
