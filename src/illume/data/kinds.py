"""What kind of data set a path holds, seen from its names and first values; here alone all kinds are known."""

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Literal, cast, get_args

from illume.core.errors import DataError, UsageError
from illume.data.captioned_folder import CaptionedFolder
from illume.data.chats import Chats
from illume.data.collection import Collection
from illume.data.conversations import Conversations
from illume.data.edits import Edits, check_columns
from illume.data.json_text import is_file, items_of
from illume.data.metadata import METADATA
from illume.data.pix2pix_folder import SEEDS, Pix2PixFolder
from illume.data.records_source import RecordsFile
from illume.data.tables import csv_header
from illume.data.tar_index import looks_like_tar
from illume.data.webdataset import WebDataset, is_pattern

Kind = Literal["auto", "folder", "records", "conversations", "edits", "chat", "webdataset"]
KINDS: tuple[str, ...] = get_args(Kind)
_TRIED = 100  # values looked at for one that shows the kind


def open_kind(path: Path, kind: Kind = "auto", folder: Path | None = None, cache: Path | None = None) -> Collection:
    """The data set at a path, of the kind given or recognised.

    `folder`: where its images are, if not beside the file. `cache`: a folder to keep the indexes of tars in. DataError
    where there is nothing, or nothing that can be recognised.
    """
    if kind == "auto":
        kind = recognise(path)
    if kind in ("conversations", "chat", "records") and _is_dir(path):
        path = _one_table(path)
    return _OPEN[kind](path, folder, cache)


def check_kind(name: str) -> Kind:
    """A kind by the name a person gave it. UsageError where there is none."""
    if name not in KINDS:
        raise UsageError(f"no kind of data is called {name!r}; there are {', '.join(KINDS)}")
    return cast(Kind, name)


def recognise(path: Path) -> Kind:
    """The kind of a data set. DataError says what was looked for."""
    if path.suffix.lower() == ".tar":
        return "webdataset"
    if _is_dir(path):
        return _of_folder(path)
    if not is_file(path) and is_pattern(path):
        return "webdataset"
    if not is_file(path):
        raise DataError(f"{path}: there is no such file or folder")
    if path.suffix.lower() == ".csv":
        return _of_names(path, [set(csv_header(path))])
    if looks_like_tar(path):
        return "webdataset"
    values = (value for _, value in islice(items_of(path), _TRIED))
    return _of_names(path, (set(value) for value in values if isinstance(value, dict)))


def _of_folder(path: Path) -> Kind:
    if is_file(path / SEEDS):
        return "edits"
    for name in METADATA:
        if is_file(path / name):
            return _of_metadata(path / name)
    if next(path.glob("*.tar"), None) is not None:
        return "webdataset"
    return recognise(_one_table(path))


def _of_metadata(path: Path) -> Kind:
    """An imagefolder's own, unless its columns are an edit's."""
    try:
        return recognise(path)
    except DataError:
        return "folder"  # which then says what is wrong with it


def _of_names(path: Path, rows: Iterable[set[str]]) -> Kind:
    """The kind by the names of fields or columns, of the first row that shows one."""
    for names in rows:
        if "task" in names:
            return "records"
        if "conversations" in names:
            return "conversations"
        if "messages" in names:
            return "chat"
        if "file_name" in names and "text" in names:
            return "folder"
        if _is_edit(names):
            return "edits"
    raise DataError(
        f"{path}: not of a kind that is known: expected lines with 'task' (records), 'conversations' (LLaVA), "
        "'messages' (chat), 'file_name' and 'text' (an imagefolder), or two images and an instruction (edits). "
        "Say which it is: --kind, or kind: in a recipe"
    )


def _is_edit(names: set[str]) -> bool:
    try:
        check_columns(names)
    except DataError:
        return False
    return True


def _one_table(path: Path) -> Path:
    """The one JSON file in a folder."""
    found = sorted(file for suffix in ("json", "jsonl") for file in path.glob(f"*.{suffix}"))
    if len(found) == 1:
        return found[0]
    held = "several JSON files: name one of them" if found else f"no {', '.join(METADATA)}, {SEEDS}, *.tar or *.json"
    raise DataError(f"{path}: there {'are' if found else 'is'} {held}")


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _folder(path: Path, folder: Path | None, cache: Path | None) -> Collection:
    return CaptionedFolder(path if _is_dir(path) else path.parent)


def _edits(path: Path, folder: Path | None, cache: Path | None) -> Collection:
    return Pix2PixFolder(path) if is_file(path / SEEDS) else Edits(path, folder)


_OPEN: dict[str, Callable[[Path, Path | None, Path | None], Collection]] = {
    "folder": _folder,
    "records": lambda path, folder, cache: RecordsFile(path, folder),
    "conversations": lambda path, folder, cache: Conversations(path, folder),
    "edits": _edits,
    "chat": lambda path, folder, cache: Chats(path),
    "webdataset": lambda path, folder, cache: WebDataset(path, cache),
}
