"""Where each file stands in a tar, by its bytes, so that any of them can be read alone; no file's content is read.

The standard library stops in silence where a header is damaged, and follows whatever a header says: here every byte is
accounted for, or a problem is listed. Links, devices and names that lead out of a folder are problems too.
"""

import json
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any, NamedTuple

from illume.core.errors import CheckpointError, DataError
from illume.core.files import write_text
from illume.core.streams import seed_of
from illume.data.folder_files import check_name
from illume.data.json_text import decoded, is_file
from illume.data.problems import Problem

FORMAT_VERSION = 1
BLOCK = 512
_LONGEST_NAME = 1 << 16  # bytes of a long name or of a pax header: more is damage, or an attack
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstandard"}
_EMPTY = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE)
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)


class Member(NamedTuple):
    """A file in a tar: its bytes are offset .. offset + size - 1."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class TarIndex:
    """The files of a tar in their order, and what else it holds that cannot be used."""

    members: tuple[Member, ...]
    problems: tuple[Problem, ...]


def index_tar(path: Path, cache: Path | None = None) -> TarIndex:
    """The index of a tar, kept in the folder `cache` if one is given, until the tar changes.

    DataError where it is no tar at all, or a compressed one, in which nothing can be read alone.
    """
    if not is_file(path):
        raise DataError(f"{path}: there is no such file")
    if cache is None:
        return _scan(path)
    stamp = [FORMAT_VERSION, path.name, path.stat().st_size, path.stat().st_mtime_ns]
    kept = cache / f"{path.name}-{seed_of(str(path.resolve())):016x}.json"
    found = _load(kept, stamp)
    if found is None:
        from illume.core.dist import is_main  # here, for it imports torch, which a look at data does not need

        found = _scan(path)
        if is_main():
            with suppress(CheckpointError):  # a full disk: the index is only made again next time
                write_text(kept, json.dumps({"stamp": stamp, "members": found.members, "problems": found.problems}))
    return found


def looks_like_tar(path: Path) -> bool:
    """Whether a file begins as a tar does, whatever it is called."""
    try:
        with path.open("rb") as file:
            return file.read(262)[257:] == b"ustar"
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _load(kept: Path, stamp: list[Any]) -> TarIndex | None:
    try:
        said = json.loads(kept.read_text(encoding="utf-8"))
        if said["stamp"] != stamp:
            return None
        members = tuple(Member(str(name), int(offset), int(size)) for name, offset, size in said["members"])
        return TarIndex(members, tuple(Problem(str(where), str(what)) for where, what in said["problems"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # a cache that cannot be read is made again


def _scan(path: Path) -> TarIndex:
    members: list[Member] = []
    problems: list[Problem] = []
    try:
        with path.open("rb", buffering=0) as file:
            _refuse_others(path, file.read(BLOCK))
            for found in _walk(path, file, path.stat().st_size):
                (members if isinstance(found, Member) else problems).append(found)  # type: ignore[arg-type]
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    return TarIndex(tuple(members), tuple(problems))


def _refuse_others(path: Path, start: bytes) -> None:
    if not start:
        raise DataError(f"{path}: the file is empty")
    for magic, name in _COMPRESSED.items():
        if start.startswith(magic):
            raise DataError(f"{path}: compressed with {name}: unpack it, for in there no file can be read alone")
    if start != bytes(BLOCK):
        try:
            _header(start)
        except DataError:
            raise DataError(f"{path}: this is not a tar") from None


def _walk(path: Path, file: RawIOBase, total: int) -> Iterator[Member | Problem]:
    """Every file, or what is wrong in its place; ends at the end mark, or where nothing further can be read."""
    here = 0
    said: dict[str, str] = {}  # what extended headers say of the next file
    while True:
        file.seek(here)
        block = file.read(BLOCK)
        if block == bytes(BLOCK):
            return
        where = f"{path}:byte {here}"
        if len(block) < BLOCK:
            yield Problem(where, "the tar ends without its end mark: is it truncated?")
            return
        try:
            header = _header(block)
            size = _size(header, said)
            if here + BLOCK + size > total:
                raise DataError(f"{header.name!r} goes on beyond the end of the tar: is it truncated?")
            if header.type in _EXTENDED:
                said |= _extended(header.type, _read_name(file, size))
        except DataError as error:
            yield Problem(where, f"{error}; nothing after it can be read")
            return
        if header.type not in _EXTENDED:
            found = _member(header, said, here + BLOCK, size, path)
            said = {}
            if found is not None:
                yield found
        here += BLOCK + -(-size // BLOCK) * BLOCK


def _header(block: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError) as error:
        raise DataError(f"a damaged header ({error})") from None


def _size(header: tarfile.TarInfo, said: dict[str, str]) -> int:
    try:
        size = int(said["size"]) if "size" in said and header.type not in _EXTENDED else header.size
    except ValueError:
        size = -1
    if size < 0:
        raise DataError(f"{header.name!r} has no length that can be understood")
    # Links, folders and devices carry no content, whatever their header says.
    return 0 if header.type in _EMPTY else size


def _member(
    header: tarfile.TarInfo, said: dict[str, str], offset: int, size: int, path: Path
) -> Member | Problem | None:
    """The file that a header describes, a problem, or None for a folder."""
    name = said.get("path", header.name)
    shown = name.encode("utf-8", "backslashreplace").decode()
    if header.isdir():
        return None
    if header.type not in _FILES or any(key.startswith("GNU.sparse") for key in said):
        what = "a link" if header.issym() or header.islnk() else "a device, a pipe or a sparse file"
        return Problem(f"{path}:{shown}", f"{what}, not a plain file")
    try:
        check_name(name)
        name.encode()
    except DataError as error:
        return Problem(f"{path}:{shown}", str(error))
    except UnicodeEncodeError:
        return Problem(f"{path}:{shown}", "its name is not UTF-8")
    return Member(name, offset, size)


def _read_name(file: RawIOBase, size: int) -> bytes:
    if size > _LONGEST_NAME:
        raise DataError(f"an extended header of {size} bytes")
    return file.read(size)


def _extended(kind: bytes, data: bytes) -> dict[str, str]:
    """What an extended header says of the next file: of GNU's its name, of pax's `path`, `size` and more."""
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {"path": decoded(data.rstrip(b"\0"))}
    if kind == tarfile.GNUTYPE_LONGLINK or kind == tarfile.XGLTYPE:
        return {}  # of links, which are refused; of all files, which no writer uses for names
    found: dict[str, str] = {}
    while data.rstrip(b"\0"):
        number, _, _ = data.partition(b" ")
        length = int(number) if number.isdigit() and len(number) < 10 else 0
        name, equals, value = data[len(number) + 1 : length].partition(b"=")
        if not equals or length > len(data) or not value.endswith(b"\n"):
            raise DataError("a damaged extended header")
        found[decoded(name)] = value[:-1].decode("utf-8", "surrogateescape")
        data = data[length:]
    return found


_EXTENDED = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
