"""drawings.jsonl: a line a drawing, with its picture in a file beside it; it does not know who drew or who will judge.

A line is {"key", "prompt", "image"} and may have "seed", "drawer" and "spec" (`drawing.schema.json`). `image` is a path
from the folder of the file.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from illume.core.errors import DataError
from illume.data.json_log import parsed, read_log
from illume.data.json_text import is_file, kind_of, string
from illume.judge.protocol import Drawing

SCHEMA = Path(__file__).with_name("drawing.schema.json")
"""The JSON Schema of a line. Beyond it: keys are unique, and the pictures are there."""


def read_drawings(path: Path) -> list[Drawing]:
    """The drawings of a file, in its order. DataError, with file and line, for whatever is wrong with one of them.

    Their pictures are looked for, not opened.
    """
    found = parsed(read_log(path), lambda row: parse_drawing(row, path.parent), key=lambda drawing: drawing.key)
    if not found:
        raise DataError(f"{path}: holds no drawing; a line is {{'key', 'prompt', 'image'}}")
    return found


def parse_drawing(row: Mapping[str, Any], folder: Path) -> Drawing:
    """The drawing that a line is. DataError says what is wrong with it."""
    missing = [name for name in REQUIRED if name not in row]
    unknown = [name for name in row if name not in FIELDS]
    if missing or unknown:
        wrong = [f"the field {name!r} is missing" for name in missing] + [f"unknown field {name!r}" for name in unknown]
        raise DataError(f"a drawing has {', '.join(FIELDS)}: {', '.join(wrong)}")
    for name, value in row.items():
        FIELDS[name](value, name)
    image = folder / row["image"]
    if not is_file(image):
        raise DataError(f"the picture {image} is not there")
    return Drawing(row["prompt"], image, row["key"], row.get("spec"))


def drawing_row(
    key: str, prompt: str, image: str, *, seed: int | None = None, drawer: str | None = None,
    spec: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A line: `image` is the picture's path from the file's folder, `drawer` who drew it, `spec` GenEval's metadata."""
    row = {"key": key, "prompt": prompt, "image": image, "seed": seed, "drawer": drawer, "spec": spec}
    return {name: value for name, value in row.items() if value is not None}


def open_all(drawings: Sequence[Drawing], on_progress: Callable[[int], None] | None = None) -> None:
    """Open every picture once, so that none is found to be damaged when others were paid for. DataError names it."""
    for drawing in drawings:
        try:
            _ = drawing.content
        except DataError as error:
            raise DataError(f"the drawing {drawing.key!r}: {error}") from None
        if on_progress is not None:
            on_progress(1)


def _whole(value: object, name: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise DataError(f"{name} has to be a whole number, not {kind_of(value)}")


def _object(value: object, name: str) -> None:
    if not isinstance(value, dict):
        raise DataError(f"{name} has to be an object, not {kind_of(value)}")


REQUIRED = ("key", "prompt", "image")
FIELDS: dict[str, Callable[[object, str], object]] = {
    "key": string,
    "prompt": string,
    "image": string,
    "seed": _whole,
    "drawer": string,
    "spec": _object,
}
