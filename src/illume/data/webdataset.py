"""Webdataset tars, an image and its caption under one name in each sample, as a collection; any sample is read alone.

    000000.jpg  000000.txt  000001.jpg  000001.txt ...

The caption is the .txt, or else "caption" or "text" of the .json, or else the line of classnames.txt (beside the tars)
that the number in the .cls counts, from 0. What a sample is called ends at the first dot of the file's name, as in
webdataset/tariterators.py; files of one sample stand together.
"""

import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path

from illume.core.errors import DataError
from illume.data.collection import Row
from illume.data.folder_files import Files
from illume.data.json_text import BOM, decoded, fields, is_file, lines_of, parse_line, string
from illume.data.records import Record
from illume.data.tar_index import Member, TarIndex, index_tar

IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "avif")
TEXTS = ("txt", "json", "cls")  # the first of them that a sample has
JSON_TEXTS = ("caption", "text")
CLASS_NAMES = "classnames.txt"
_NOTED = 100  # files outside samples that are kept to be told
_LONGEST_TEXT = 1 << 20  # bytes
_SAMPLE = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]*)", re.DOTALL)
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


class TarFiles:
    """The members of tars as files; "TAR/MEMBER" is one's name. A tar is opened only while one is read."""

    def __init__(self, tars: Sequence[Path], indexes: Sequence[TarIndex]) -> None:
        self._found = {
            f"{tar.name}/{member.name}": (tar, member)
            for tar, index in zip(tars, indexes, strict=True)
            for member in index.members
        }

    def place(self, name: str) -> str:
        tar, member = self._of(name)
        return f"{tar}:{member.name}"

    def size(self, name: str) -> int:
        return self._of(name)[1].size

    def read(self, name: str) -> bytes:
        tar, member = self._of(name)
        try:
            with tar.open("rb") as file:
                file.seek(member.offset)
                data = file.read(member.size)
        except OSError as error:
            raise DataError(f"{tar}:{member.name}: cannot be read: {error.strerror or error}") from error
        if len(data) < member.size:
            raise DataError(f"{tar}:{member.name}: the tar has become shorter since it was opened")
        return data

    def _of(self, name: str) -> tuple[Path, Member]:
        if name not in self._found:
            raise DataError(f"there is no {name!r} in these tars")
        return self._found[name]


class WebDataset:
    """The samples of a tar, of every *.tar in a folder, or of a pattern: "set/train-*.tar", "set/{000..127}.tar"."""

    kind = "webdataset"

    def __init__(self, path: Path, cache: Path | None = None) -> None:
        self.path = path
        self.tars = find_tars(path)
        self._indexes = [index_tar(tar, cache) for tar in self.tars]
        self.files: Files = TarFiles(self.tars, self._indexes)
        self._ignored: dict[str, None] = {}

    @property
    def ignored(self) -> tuple[str, ...]:
        return tuple(self._ignored)

    def rows(self) -> Iterator[Row]:
        for tar, index in zip(self.tars, self._indexes, strict=True):
            seen: set[str] = set()
            yield from (Row(problem.where, DataError(problem.message)) for problem in index.problems)
            for key, members in groupby(self._parts(index), lambda part: part[0]):
                where = f"{tar}:{key}"
                try:
                    if key in seen:
                        raise DataError("a sample of this name stands before it in the same tar")
                    seen.add(key)
                    yield Row(where, self._record(tar, [(ext, member) for _, ext, member in members], where))
                except DataError as error:
                    yield Row(where, error)

    def _parts(self, index: TarIndex) -> Iterator[tuple[str, str, Member]]:
        """(sample, extension, member) of what belongs to samples."""
        for member in index.members:
            found = _SAMPLE.fullmatch(member.name)
            if found is None or found[1].rsplit("/", 1)[-1].startswith("__"):  # webdataset keeps its own notes there
                if len(self._ignored) < _NOTED:
                    self._ignored[member.name] = None
            else:
                yield found[1], found[2].lower(), member

    def _record(self, tar: Path, members: Sequence[tuple[str, Member]], where: str) -> Record:
        parts: dict[str, Member] = {}
        for extension, member in members:
            if extension in parts:
                raise DataError(f"it has two files .{extension}")
            parts[extension] = member
        images = [extension for extension in parts if extension in IMAGES]
        if len(images) != 1:
            raise DataError(f"it needs one image, but has {_listed(images)} (its files: {_listed(list(parts))})")
        said = next((extension for extension in TEXTS if extension in parts), None)
        if said is None:
            raise DataError(f"it needs a caption, .txt, .json or .cls, but has only {_listed(list(parts))}")
        self._ignored.update({f".{name}": None for name in parts if name not in (images[0], *TEXTS)})
        text = self._text(tar, said, parts[said])
        return Record("caption", images=(f"{tar.name}/{parts[images[0]].name}",), text=text, where=where)

    def _text(self, tar: Path, extension: str, member: Member) -> str:
        if member.size > _LONGEST_TEXT:
            raise DataError(f"{member.name}: a caption of {member.size} bytes")
        data = self.files.read(f"{tar.name}/{member.name}").removeprefix(BOM)
        try:
            if extension == "txt":
                return string(decoded(data), "the caption").strip()
            return _json_text(parse_line(data)) if extension == "json" else self._class_name(decoded(data))
        except DataError as error:
            raise DataError(f"{member.name}: {error}") from None

    def _class_name(self, text: str) -> str:
        number = text.strip()
        if not (number.isascii() and number.isdigit() and len(number) < 10):
            raise DataError(f"a class is a number from 0, not {number[:20]!r}")
        if int(number) >= len(self._class_names):
            raise DataError(f"there is no class {number}: {CLASS_NAMES} has {len(self._class_names)} lines")
        return self._class_names[int(number)]

    @cached_property
    def _class_names(self) -> tuple[str, ...]:
        path = self.tars[0].parent / CLASS_NAMES
        if not is_file(path):
            raise DataError(f"classes have no words: write them to {path}, one a line")
        return tuple(string(decoded(line), where).strip() for where, line in lines_of(path))


def find_tars(path: Path) -> tuple[Path, ...]:
    """The tars that a path means, in the order of their names; DataError if there are none."""
    if path.is_dir():
        tars = sorted(path.glob("*.tar"))
    elif is_file(path):
        tars = [path]
    else:
        tars = [found for name in _expanded(path.name) for found in _matching(path.parent, name)]
    if not tars:
        raise DataError(f"{path}: there are no tars")
    return tuple(tars)


def is_pattern(path: Path) -> bool:
    """Whether a path's last part names several files."""
    return glob.has_magic(path.name) or _RANGE.search(path.name) is not None


def _expanded(name: str) -> list[str]:
    """A name with {000..127}, as all the names it stands for."""
    found = _RANGE.search(name)
    if found is None:
        return [name]
    low, high = found[1], found[2]
    if not int(low) <= int(high) < int(low) + 1_000_000:
        raise DataError(f"{name}: {{{low}..{high}}} is no range of numbers")
    filled = [str(number).zfill(len(low)) for number in range(int(low), int(high) + 1)]
    return [full for middle in filled for full in _expanded(name[: found.start()] + middle + name[found.end() :])]


def _matching(folder: Path, name: str) -> list[Path]:
    if glob.has_magic(name):
        try:
            return sorted(path for path in folder.glob(name) if path.is_file())
        except ValueError as error:
            raise DataError(f"{folder / name}: {error}") from None
    if not is_file(folder / name):
        raise DataError(f"{folder / name}: there is no such file")
    return [folder / name]


def _json_text(value: object) -> str:
    said: Mapping[str, object] = fields(value, "a caption's .json")
    for name in JSON_TEXTS:
        if said.get(name) is not None:
            return string(said[name], name).strip()
    raise DataError(f"it has neither {' nor '.join(map(repr, JSON_TEXTS))}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f".{name}" for name in names) or "none"
