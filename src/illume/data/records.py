"""A record is one JSON line, what one training sample says; here it is checked and read, and no image is opened."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from illume.core.errors import DataError
from illume.data.json_text import kind_of, lines_of, parse_line, string
from illume.data.problems import OnInvalid, Problem
from illume.tasks.verdict import Verdict

TaskName = Literal["caption", "draw", "reconstruct", "edit", "chat", "text", "assess", "inpaint"]
TASKS: tuple[str, ...] = get_args(TaskName)
ROLES = ("system", "user", "assistant")

Mask = str | tuple[int, int, int, int]
"""An image file whose white is to be painted anew, or a box: left, top, right, bottom in pixels of the source."""

# The fields each task has, all of them required but those of OPTIONAL; `id` may stand in any.
FIELDS: dict[str, tuple[str, ...]] = {
    "caption": ("images", "text"),
    "draw": ("images", "text"),
    "reconstruct": ("images",),
    "edit": ("images", "instruction"),
    "chat": ("images", "messages", "independent"),
    "text": ("text",),
    "assess": ("images", "text", "verdict"),
    "inpaint": ("images", "mask", "instruction"),
}
OPTIONAL: dict[str, tuple[str, ...]] = {"inpaint": ("instruction",), "chat": ("independent",)}
# (fewest, most) images; a chat has as many as its messages show.
NUM_IMAGES: dict[str, tuple[int, int]] = {
    "caption": (1, 1),
    "draw": (1, 1),
    "reconstruct": (1, 1),
    "edit": (2, 2),
    "assess": (1, 2),
    "inpaint": (2, 2),
}


@dataclass(frozen=True)
class Turn:
    """One message of a chat: a text is a str, an image the int index of it in the record's images."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[str | int, ...]


@dataclass(frozen=True)
class Record:
    """One validated record. `images` are keys that its source can turn into pixels; `where` says where it was read.

    `independent`: the questions of this chat know nothing of each other; each is asked of the images of the first.
    """

    task: TaskName
    images: tuple[str, ...] = ()
    text: str = ""
    instruction: str = ""
    messages: tuple[Turn, ...] = ()
    independent: bool = False
    verdict: Verdict | None = None
    mask: Mask | None = None
    id: str | None = None
    where: str = field(default="", compare=False)


def validate(obj: object, where: str) -> Record:
    """The record that a parsed JSON line is; DataError, beginning with `where`, for whatever is wrong with it."""
    try:
        return parse_record(obj, where)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def parse_record(obj: object, where: str = "") -> Record:
    """`validate`, with errors that say only what is wrong."""
    if not isinstance(obj, Mapping):
        raise DataError(f"a record is a JSON object, not {kind_of(obj)}")
    task = _task(obj)
    optional = OPTIONAL.get(task, ())
    required = tuple(name for name in FIELDS[task] if name not in optional)
    _same_fields(obj, ("task", *required), optional=(*optional, "id"), what=f"a record of task {task!r}")
    made: dict[str, Any] = {name: _READ[name](obj[name]) for name in FIELDS[task] if name in obj}
    _check_images(task, made)
    if made.get("independent"):
        check_independent(made["messages"])
    identity = string(obj["id"], "id") if "id" in obj else None
    return Record(task=cast(TaskName, task), id=identity, where=where, **made)


def to_dict(record: Record) -> dict[str, Any]:
    """The JSON object of a record; `validate(to_dict(r), where) == r`."""
    made: dict[str, Any] = {"task": record.task}
    for name in FIELDS[record.task]:
        if name in OPTIONAL.get(record.task, ()) and not getattr(record, name):
            continue
        made[name] = _PLAIN.get(name, lambda value: value)(getattr(record, name))
    if record.id is not None:
        made["id"] = record.id
    return made


def read_records(path: Path, on_invalid: OnInvalid = "raise") -> tuple[list[Record], list[Problem]]:
    """The records of a JSON-lines file, and the lines skipped (none unless `on_invalid` is "skip").

    A file that is missing, empty or not text is an error either way: there is nothing in it to go on with.
    """
    records: list[Record] = []
    problems: list[Problem] = []
    for where, found in record_rows(path):
        if isinstance(found, Record):
            records.append(found)
        elif on_invalid == "raise":
            raise DataError(f"{where}: {found}")
        else:
            problems.append(Problem(where, str(found)))
    return records, problems


def record_rows(path: Path) -> Iterator[tuple[str, Record | DataError]]:
    """Each line of a JSON-lines file: where it stands, and its record or what is wrong with it."""
    seen: dict[str, str] = {}
    for where, line in lines_of(path):
        try:
            record = parse_record(parse_line(line), where)
            _claim(record.id, where, seen)
        except DataError as error:
            yield where, error
        else:
            yield where, record


def check_turns(turns: Sequence[Turn], what: str = "messages") -> None:
    """DataError unless user and assistant alternate, maybe after the system, and the assistant has the last word."""
    talk = turns[1:] if turns and turns[0].role == "system" else turns
    for i, turn in enumerate(talk):
        wanted = ("user", "assistant")[i % 2]
        if turn.role != wanted:
            raise DataError(f"{what}[{i + len(turns) - len(talk)}]: {wanted} speaks here, not {turn.role}")
    if not talk or talk[-1].role != "assistant":
        raise DataError("the last message has to be the assistant's: there is nothing to learn otherwise")


def check_independent(turns: Sequence[Turn]) -> None:
    """DataError unless each question can stand alone: the images first in the first message, then only texts."""
    first, *rest = turns
    kinds = [isinstance(part, int) for part in first.parts]
    if first.role == "system":
        raise DataError("independent questions have no system message")
    if kinds != sorted(kinds, reverse=True) or False not in kinds:
        raise DataError("the first of independent questions shows the images, and then asks its text")
    if any(isinstance(part, int) for turn in rest for part in turn.parts):
        raise DataError("independent questions show their images in the first message alone")


def _task(obj: Mapping[str, object]) -> str:
    if "task" not in obj:
        raise DataError("the field 'task' is missing")
    task = obj["task"]
    if task not in TASKS:
        raise DataError(f"unknown task {task!r}; there are {', '.join(TASKS)}")
    return str(task)


def _same_fields(obj: Mapping[str, object], required: tuple[str, ...], optional: tuple[str, ...], what: str) -> None:
    missing = [name for name in required if name not in obj]
    unknown = [name for name in obj if name not in required and name not in optional]
    if missing:
        raise DataError(f"{what} needs the field {missing[0]!r}")
    if unknown:
        raise DataError(f"{what} has no field {unknown[0]!r}; its fields are {', '.join(required + optional)}")


def _images(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise DataError(f"images has to be a list, not {kind_of(value)}")
    return tuple(string(name, f"images[{i}]") for i, name in enumerate(value))


def _check_images(task: str, made: Mapping[str, Any]) -> None:
    count = len(made.get("images", ()))
    if task in NUM_IMAGES:
        low, high = NUM_IMAGES[task]
        if not low <= count <= high:
            wanted = str(low) if low == high else f"{low} or {high}"
            raise DataError(f"a record of task {task!r} has {wanted} image(s), this one {count}")
    if task == "chat":
        used = {part for turn in made["messages"] for part in turn.parts if isinstance(part, int)}
        for index in sorted(used):
            if index >= count:
                raise DataError(f"messages show image {index}, but images has {count}")
        for index in range(count):
            if index not in used:
                raise DataError(f"images[{index}] is shown in no message")


def _messages(value: object) -> tuple[Turn, ...]:
    if not isinstance(value, list) or not value:
        raise DataError("messages has to be a list with at least one message")
    turns = tuple(_turn(message, f"messages[{i}]") for i, message in enumerate(value))
    check_turns(turns)
    return turns


def _independent(value: object) -> bool:
    if not isinstance(value, bool):
        raise DataError(f"independent is true or false, not {value!r}")
    return value


def _turn(value: object, where: str) -> Turn:
    if not isinstance(value, Mapping):
        raise DataError(f"{where} has to be an object, not {kind_of(value)}")
    _same_fields(value, ("role", "content"), (), where)
    if value["role"] not in ROLES:
        raise DataError(f"{where}: unknown role {value['role']!r}; there are {', '.join(ROLES)}")
    content = value["content"]
    if isinstance(content, list) and content:
        parts = tuple(_part(part, f"{where}.content[{i}]") for i, part in enumerate(content))
    else:
        parts = (string(content, f"{where}.content"),)
    return Turn(value["role"], parts)


def _part(value: object, where: str) -> str | int:
    if not isinstance(value, Mapping) or value.get("type") not in ("text", "image"):
        raise DataError(f'{where} has to be {{"type": "text", "text"}} or {{"type": "image", "index"}}')
    if value["type"] == "text":
        _same_fields(value, ("type", "text"), (), where)
        return string(value["text"], f"{where}.text")
    _same_fields(value, ("type", "index"), (), where)
    index = value["index"]
    if not isinstance(index, int) or isinstance(index, bool) or index < 0:
        raise DataError(f"{where}.index has to be an integer from 0, not {index!r}")
    return index


def _mask(value: object) -> Mask:
    if isinstance(value, str):
        return string(value, "mask")
    if not isinstance(value, list) or len(value) != 4:
        raise DataError("mask has to be the name of an image file, or a box: [left, top, right, bottom] in pixels")
    if any(not isinstance(side, int) or isinstance(side, bool) or side < 0 for side in value):
        raise DataError(f"mask: the sides of a box are whole numbers from 0, unlike {value}")
    left, top, right, bottom = value
    if left >= right or top >= bottom:
        raise DataError(f"mask: the box {value} (left, top, right, bottom) holds no pixel")
    return left, top, right, bottom


def _verdict(value: object) -> Verdict:
    if not isinstance(value, Mapping):
        raise DataError(f"verdict has to be an object, not {kind_of(value)}")
    try:
        return Verdict.from_json(json.dumps(value))
    except DataError as error:
        raise DataError(f"verdict: {error}") from None


def _plain_turn(turn: Turn) -> dict[str, Any]:
    if len(turn.parts) == 1 and isinstance(turn.parts[0], str):
        return {"role": turn.role, "content": turn.parts[0]}
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "index": part}
        for part in turn.parts
    ]
    return {"role": turn.role, "content": content}


def _claim(identity: str | None, where: str, seen: dict[str, str]) -> None:
    if identity is None:
        return
    if identity in seen:
        raise DataError(f"the id {identity!r} is taken by {seen[identity]}")
    seen[identity] = where


_READ: dict[str, Callable[[object], Any]] = {
    "images": _images,
    "text": lambda value: string(value, "text"),
    "instruction": lambda value: string(value, "instruction"),
    "messages": _messages,
    "independent": _independent,
    "verdict": _verdict,
    "mask": _mask,
}
_PLAIN: dict[str, Callable[[Any], Any]] = {
    "images": list,
    "mask": lambda mask: mask if isinstance(mask, str) else list(mask),
    "messages": lambda turns: [_plain_turn(turn) for turn in turns],
    "verdict": lambda verdict: json.loads(verdict.to_json()),
}
