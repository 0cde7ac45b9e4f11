"""What an assessment of an image against its prompt says: four criteria and an overall decision.

It does not know who judges, nor the prompt by which a judgement is asked for.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from illume.core.errors import DataError

CRITERIA = ("object", "counting", "colour", "relation")
SCHEMA = Path(__file__).with_name("verdict.schema.json")
"""The JSON Schema of a verdict's shape; that `overall` follows from the criteria is beyond it, and checked here."""


@dataclass(frozen=True)
class Criterion:
    """One criterion: does it apply to the prompt, what was seen, does the image pass. It looks before it decides."""

    applicable: bool
    reason: str
    passed: bool


@dataclass(frozen=True)
class Verdict:
    """An assessment. `overall` is true exactly where every applicable criterion passes; DataError otherwise."""

    object: Criterion
    counting: Criterion
    colour: Criterion
    relation: Criterion
    overall: bool

    def __post_init__(self) -> None:
        failed = [name for name, criterion in self.criteria.items() if criterion.applicable and not criterion.passed]
        if self.overall == bool(failed):
            said, why = json.dumps(self.overall), f"{', '.join(failed)} failed" if failed else "no criterion failed"
            raise DataError(f"a verdict says overall {said}, but {why}")

    @classmethod
    def of(cls, criteria: Mapping[str, Criterion]) -> "Verdict":
        """A verdict from its criteria, all four of them; `overall` follows."""
        _check_names(criteria, CRITERIA, "a verdict's criteria")
        overall = all(c.passed for c in criteria.values() if c.applicable)
        return cls(**criteria, overall=overall)

    @classmethod
    def from_json(cls, text: str) -> "Verdict":
        """Read a verdict, its keys in any order; DataError says what is wrong."""
        try:
            value = json.loads(text, object_pairs_hook=_no_duplicates)
        except (ValueError, RecursionError) as error:  # ValueError: no JSON, or a number of thousands of digits
            raise DataError(f"a verdict is not JSON ({error}): {text!r:.200}") from error
        _check_names(value, (*CRITERIA, "overall"), "a verdict")
        criteria = {name: _criterion(value[name], name) for name in CRITERIA}
        return cls(**criteria, overall=_typed(value["overall"], bool, "overall"))

    @property
    def criteria(self) -> dict[str, Criterion]:
        """Name -> criterion, in the order of CRITERIA."""
        return {name: getattr(self, name) for name in CRITERIA}

    def to_json(self) -> str:
        """The canonical form: one compact line, keys in a fixed order, the decision last."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))


def _criterion(value: Any, name: str) -> Criterion:
    keys = {field.name: field.type for field in fields(Criterion)}
    _check_names(value, tuple(keys), name)
    return Criterion(**{key: _typed(value[key], kind, f"{name}.{key}") for key, kind in keys.items()})


def _check_names(value: Any, names: tuple[str, ...], what: str) -> None:
    if not isinstance(value, Mapping):
        raise DataError(f"{what}: expected an object with {', '.join(names)}, got {value!r:.80}")
    missing, extra = [n for n in names if n not in value], [n for n in value if n not in names]
    if missing or extra:
        wrong = [f"{n} is missing" for n in missing] + [f"{n!r} is unknown" for n in extra]
        raise DataError(f"{what}: {', '.join(wrong)}")


def _typed(value: Any, kind: Any, what: str) -> Any:
    if not isinstance(value, kind):
        raise DataError(f"a verdict's {what}: expected {kind.__name__}, got {value!r:.80}")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise DataError(f"a verdict names a key twice: {', '.join(key for key, _ in pairs)}")
    return found
