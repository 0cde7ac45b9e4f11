"""Step 1: which prompts are drawn, each maybe with what it means and with its true picture; nothing is drawn here.

prompts.jsonl has a line a prompt, {"key", "prompt"} and maybe "spec" and "image" (`prompt.schema.json`).
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from illume.core.errors import DataError, RequestError
from illume.core.files import atomic_file
from illume.core.streams import stream
from illume.data.json_log import read_log
from illume.data.json_text import decoded, fields, is_file, kind_of, lines_of, parse_line, string
from illume.data.sources import Source
from illume.enhance.round import RoundFolder, key_of
from illume.images.given import opened

SCHEMA = Path(__file__).with_name("prompt.schema.json")
"""The JSON Schema of a line."""
FIELDS = ("key", "prompt", "spec", "image")
SHOWN = 20  # problems told at once
Check = Callable[[str], None]
"""RequestError for a prompt that cannot be drawn: it is too long for the model."""


@dataclass(frozen=True)
class Prompt:
    """A line: `image` is the true picture, where there is one; `where` says where it stands."""

    key: str
    text: str
    spec: Mapping[str, Any] | None = None
    image: Path | None = None
    where: str = ""


@dataclass(frozen=True)
class Wanted:
    """A prompt as somebody gives it; `picture` opens the true one."""

    text: str
    where: str
    spec: Mapping[str, Any] | None = None
    picture: Callable[[], Image.Image] | None = None

    @property
    def key(self) -> str:
        """What it is called by: a hash of text and spec."""
        return key_of(self.text, self.spec)


def propose(folder: RoundFolder, wanted: Sequence[Wanted], check: Check | None = None) -> list[Prompt]:
    """Write prompts.jsonl and the true pictures; what stands there of the same prompts stays, edited or not.

    DataError, naming every line, for a prompt that is empty, there twice, or refused by `check`.
    """
    refuse(((one.text, one.where) for one in wanted), check)
    rows = [_row(one) for one in wanted]
    of = {"prompts": key_of(rows)}
    if not folder.stands("propose", of):
        for one, row in zip(wanted, rows, strict=True):
            if one.picture is not None and not (folder.path / row["image"]).is_file():
                save_picture(one.picture(), folder.path / row["image"])
        folder.settle("propose", of, lines(rows))
    return read_prompts(folder.prompts, check)


def read_prompts(path: Path, check: Check | None = None) -> list[Prompt]:
    """The prompts of a prompts.jsonl, in its order. DataError, with file and line, for whatever is wrong."""
    found: list[Prompt] = []
    taken: dict[str, str] = {}
    for where, row in read_log(path):
        try:
            found.append(_parsed(row, path.parent, where))
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        if taken.setdefault(found[-1].key, where) != where:
            raise DataError(f"{where}: the key {found[-1].key!r} is taken by {taken[found[-1].key]}")
    refuse(((prompt.text, prompt.where) for prompt in found), check)
    return found


def from_file(path: Path, number: int | None = None) -> list[Wanted]:
    """The prompts of a file: a text a line, or (.jsonl) objects with "prompt" and maybe "spec" and "image".

    An image is a path from the file's folder. `number`: only so many, from the first on. DataError, naming every line,
    where one cannot be read, or there are fewer.
    """
    read = _object_line if path.suffix == ".jsonl" else _text_line
    found, problems = [], []
    for where, line in lines_of(path):
        try:
            found.append(read(line, where, path.parent))
        except DataError as error:
            problems.append(f"{where}: {error}")
    _raise(problems)
    if number is not None and len(found) < number:
        raise DataError(f"{path}: has {len(found)} prompts, not the {number} asked for (--num-prompts)")
    return found[:number]


def from_source(source: Source, number: int, seed: int) -> list[Wanted]:
    """`number` texts of a source of drawing records, chosen by `seed`, with the pictures they are learnt with.

    ILLUME, section 3: the model draws for a subset of the texts that it learnt to draw from. DataError where the source
    has fewer different ones.
    """
    chosen: dict[str, Wanted] = {}
    for index in stream("propose", seed).sample(range(len(source)), len(source)):
        if len(chosen) == number:
            break
        record = source.record(index)
        if record.task != "draw":
            raise DataError(f"{source.name}[{index}]: a record of task {record.task!r} is nothing to draw")
        (key,) = record.images
        picture = _opener(source, key)
        chosen.setdefault(record.text, Wanted(record.text, f"{source.name}[{index}]", picture=picture))
    if len(chosen) < number:
        raise DataError(f"{source.name!r} has {len(chosen)} different texts to draw, not the {number} asked for")
    return list(chosen.values())


def refuse(texts: Iterable[tuple[str, str]], check: Check | None = None) -> None:
    """DataError for prompts, (text, where), that are empty, there twice, refused by `check`, or not there at all."""
    problems: list[str] = []
    seen: dict[str, str] = {}
    for text, where in texts:
        try:
            string(text, "the prompt")
            if check is not None:
                check(text)
        except (DataError, RequestError) as error:
            problems.append(f"{where}: {error}")
        if text in seen:
            problems.append(f"{where}: this prompt stands already at {seen[text]}: {text!r:.80}")
        seen.setdefault(text, where)
    _raise(problems)
    if not seen:
        raise DataError("there is no prompt: give a file with one a line")


def save_picture(picture: Image.Image, path: Path, notes: PngInfo | None = None) -> None:
    """Write a PNG, whole or not at all."""
    with atomic_file(path) as temp:
        picture.save(temp, "PNG", pnginfo=notes)


def lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)


def _row(one: Wanted) -> dict[str, Any]:
    image = None if one.picture is None else f"truth/{one.key}.png"
    row = {"key": one.key, "prompt": one.text, "spec": one.spec, "image": image}
    return {name: value for name, value in row.items() if value is not None}


def _parsed(row: Mapping[str, Any], folder: Path, where: str) -> Prompt:
    one = _object(row, where, folder)
    image = folder / row["image"] if "image" in row else None
    return Prompt(string(row.get("key"), "key"), one.text, one.spec, image, where)


def _text_line(line: bytes, where: str, folder: Path) -> Wanted:
    return Wanted(string(decoded(line).strip(), "the prompt"), where)


def _object_line(line: bytes, where: str, folder: Path) -> Wanted:
    return _object(fields(parse_line(line), "a prompt"), where, folder)


def _object(row: Mapping[str, Any], where: str, folder: Path) -> Wanted:
    if unknown := [name for name in row if name not in FIELDS]:
        raise DataError(f"a prompt has {', '.join(FIELDS)}, not {unknown[0]!r}")
    spec = row.get("spec")
    if not isinstance(spec, dict | None) or ("spec" in row and spec is None):
        raise DataError(f"spec has to be an object, not {kind_of(spec)}")
    picture = None
    if "image" in row:
        path = folder / string(row["image"], "image")
        if not is_file(path):
            raise DataError(f"the picture {path} is not there")
        picture = _reader(path)
    return Wanted(string(row.get("prompt"), "prompt"), where, spec, picture)


def _reader(path: Path) -> Callable[[], Image.Image]:
    return lambda: opened(path)


def _opener(source: Source, key: str) -> Callable[[], Image.Image]:
    return lambda: Image.fromarray(source.images.image(key))


def _raise(problems: Sequence[str]) -> None:
    if problems:
        more = f"\n... and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise DataError("\n".join(problems[:SHOWN]) + more)
