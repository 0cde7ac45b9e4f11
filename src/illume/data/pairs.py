"""pairs.jsonl: a line a pair of pictures of one prompt, the one preferred and the other; it opens no picture.

A line is {"key", "prompt", "chosen", "rejected"} (`pair.schema.json`); pictures are paths from the file's folder.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from illume.core.errors import DataError
from illume.data.json_log import parsed, read_log
from illume.data.json_text import is_file, string

SCHEMA = Path(__file__).with_name("pair.schema.json")
"""The JSON Schema of a line. Beyond it: a key stands once in a file, the two pictures differ, and both are there."""
FIELDS = ("key", "prompt", "chosen", "rejected")


@dataclass(frozen=True)
class Pair:
    """Two pictures of `prompt`, of which `chosen` shows it and `rejected` does not."""

    key: str
    prompt: str
    chosen: str
    rejected: str

    def to_dict(self) -> dict[str, str]:
        """As a line."""
        return asdict(self)


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a file, in its order. DataError, with file and line, for whatever is wrong, or where there is none.

    Their pictures are looked for, not opened.
    """
    found = parsed(read_log(path), lambda row: _pair(row, path.parent), key=lambda pair: pair.key)
    if not found:
        raise DataError(f"{path}: there is no pair in it")
    return found


def _pair(row: Mapping[str, Any], folder: Path) -> Pair:
    if list(row) != list(FIELDS) and (wrong := sorted(set(row) ^ set(FIELDS))):
        raise DataError(
            f"a pair has {', '.join(FIELDS)}: {wrong[0]!r} is {'unknown' if wrong[0] in row else 'missing'}"
        )
    pair = Pair(**{name: string(row[name], name) for name in FIELDS})
    if pair.chosen == pair.rejected:
        raise DataError(f"{pair.chosen} is preferred to itself")
    for image in (pair.chosen, pair.rejected):
        if not is_file(folder / image):
            raise DataError(f"the picture {folder / image} is not there")
    return pair
