"""JSON files of many values, one a line or in one list, each value with its file and line; what it means is not known.

Whatever the bytes are, what is wrong is a DataError: of one value where the others can still be read, of the file where
they cannot.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from illume.core.errors import DataError

BOM = b"\xef\xbb\xbf"  # what some editors put before UTF-8; it says nothing
Item = tuple[str, object]  # "file:line" and a JSON value, or the DataError that it is not one

_SPACE = re.compile(r"[ \t\n\r]*")


def lines_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """The lines of a text file with "file:line" before each; DataError if it is missing, empty or binary."""
    if not is_file(path):
        raise DataError(f"{path}: there is no such file")
    try:
        with path.open("rb") as file:
            if b"\0" in file.read(4096):
                raise DataError(f"{path}: this is a binary file, not lines of text")
            file.seek(0)
            number = 0
            for number, line in enumerate(file, start=1):
                yield f"{path}:{number}", (line.removeprefix(BOM) if number == 1 else line).rstrip(b"\r\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if number == 0:
        raise DataError(f"{path}: the file is empty")


def items_of(path: Path) -> Iterator[Item]:
    """The values of a file of JSON lines, or of a file that is one JSON list, told apart by the first sign.

    A line that is no JSON spoils itself; in a list nothing after such a place can be read.
    """
    first = next((line.lstrip()[:1] for _, line in lines_of(path) if line.strip()), b"")
    yield from _list_items(path) if first == b"[" else _line_items(path)


def parse_line(line: bytes) -> object:
    """The JSON value of one line; DataError for bytes that are not UTF-8, no JSON, or a field named twice."""
    try:
        return json.loads(decoded(line), object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        said = f"not JSON: {error.msg} at column {error.colno}" if line.strip() else "the line is empty"
        raise DataError(said) from None
    except ValueError as error:  # an int of thousands of digits
        raise DataError(f"not JSON that can be used: {error}") from None
    except RecursionError:
        raise DataError("not a record: brackets in brackets without end") from None


def decoded(data: bytes) -> str:
    """UTF-8 bytes as a text; DataError if they are not."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 text ({error.reason} at byte {error.start})") from None


def string(value: object, name: str) -> str:
    """`value` if it is a text with something in it that UTF-8 can write."""
    if not isinstance(value, str):
        raise DataError(f"{name} has to be a text, not {kind_of(value)}")
    if not value.strip():
        raise DataError(f"{name} is empty")
    if any("\ud800" <= letter <= "\udfff" for letter in value):  # JSON can spell them, no tokenizer can read them
        raise DataError(f"{name} holds half a surrogate pair, which is no text")
    return value


def fields(value: object, what: str) -> dict[str, object]:
    """`value` if it is a JSON object; DataError if not, or if it is one already."""
    if isinstance(value, DataError):
        raise value
    if not isinstance(value, dict):
        raise DataError(f"{what} is a JSON object, not {kind_of(value)}")
    return value


def kind_of(value: object) -> str:
    return "null" if value is None else type(value).__name__


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name too long for any file is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _line_items(path: Path) -> Iterator[Item]:
    for where, line in lines_of(path):
        try:
            yield where, parse_line(line)
        except DataError as error:
            yield where, error


def _list_items(path: Path) -> Iterator[Item]:
    text = text_of(path)
    here = _past_space(text, _past_space(text, 0) + 1)
    line, counted = 1, 0  # the line that `counted` stands in
    while text[here : here + 1] != "]":
        line, counted = line + text.count("\n", counted, here), here
        where = f"{path}:{line}"
        value, here = _value(text, here)
        yield where, value
        here = _past_space(text, here)
        if here >= len(text):
            if not isinstance(value, _SpoiltError):
                yield f"{path}:{line}", DataError("the file ends in the middle of its list")
            return
        if text[here] == "," and text[(after := _past_space(text, here + 1)) : after + 1] != "]":
            here = after
        elif text[here] != "]":
            line += text.count("\n", counted, here)
            yield f"{path}:{line}", DataError(f"expected ',' and a value, or ']': {_REST}")
            return
    if rest := text[here + 1 :].strip():
        line += text.count("\n", counted, here)
        yield f"{path}:{line}", DataError(f"after the end of the list stands more: {rest[:20]!r}")


class _SpoiltError(DataError):
    """A value after which nothing can be read."""


_REST = "nothing after it can be read"


def _value(text: str, here: int) -> tuple[object, int]:
    """The value at a place and where it ends; where that cannot be told, what is wrong, and the end of the text."""
    try:
        return _STRICT.raw_decode(text, here)
    except (DataError, ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError):
            return _SpoiltError(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}: {_REST}"), len(
                text
            )
        try:
            _, end = _LENIENT.raw_decode(text, here)
        except (ValueError, RecursionError):
            return _SpoiltError(f"not JSON that can be used ({error}): {_REST}"), len(text)
        return DataError(str(error)), end


def text_of(path: Path) -> str:
    """The whole of a text file. DataError naming the line that is no text."""
    lines: list[str] = []
    for where, line in lines_of(path):
        try:
            lines.append(decoded(line))
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
    return "\n".join(lines)


def _past_space(text: str, here: int) -> int:
    found = _SPACE.match(text, here)
    return found.end() if found is not None else here


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise DataError(f"the field {next(n for n in names if names.count(n) > 1)!r} stands twice in one object")
    return made


_STRICT = json.JSONDecoder(object_pairs_hook=_unique)
_LENIENT = json.JSONDecoder(parse_int=float)  # only to find where a value ends
