"""Whatever stands in a data set, reading it ends in records and DataErrors that say where, and in nothing else.

ILLUME_FUZZ=5000 reads that many damaged files of each kind instead of some hundred.
"""

import io
import json
import os
import random
import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.damage import damaged
from fixtures.own_data import make_every_kind, write_lines
from illume.core.errors import DataError
from illume.data.check import check_collection
from illume.data.collection import OpenCollection
from illume.data.kinds import KINDS, Kind, open_kind
from illume.data.records import Record

T = TypeVar("T")
ROUNDS = int(os.environ.get("ILLUME_FUZZ", "120"))
KINDS_ON_DISK = ("folder", "webdataset", "conversations", "edits", "pix2pix", "chat", "records")
# What is damaged of each kind, and what it is read as.
FILES: dict[str, tuple[str, Kind]] = {
    "folder": ("metadata.csv", "folder"),
    "webdataset": ("train-0.tar", "webdataset"),
    "conversations": ("talks.json", "conversations"),
    "edits": ("metadata.jsonl", "edits"),
    "pix2pix": ("seeds.json", "edits"),
    "chat": ("chat.jsonl", "chat"),
    "records": ("mine.jsonl", "records"),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sound")
    make_every_kind(root, 3)
    return root


def outcome(made: Callable[[], T]) -> T | DataError:
    """What a call gives, or its DataError; any other error is none of a reader's."""
    try:
        return made()
    except DataError as error:
        return error


def check_reading(path: Path, kind: Kind, names: Sequence[Path]) -> None:
    """Law: rows, the report and both ways of opening end in records, or in DataErrors that name a file of the set."""

    def said(error: DataError) -> bool:
        return any(str(name) in str(error) for name in (path, path.parent, *names))

    opened = outcome(lambda: open_kind(path, kind))
    rows = opened if isinstance(opened, DataError) else outcome(lambda: list(opened.rows()))
    if isinstance(opened, DataError) or isinstance(rows, DataError):
        assert isinstance(rows, DataError)
        assert said(rows), rows
        return
    bad = [(where, row) for where, row in rows if not isinstance(row, Record)]
    assert [where for where, _ in bad if not any(where.startswith(f"{name}:") for name in names)] == []
    report = outcome(lambda: check_collection(opened))
    kept = outcome(lambda: OpenCollection(opened, 8, name="x", on_invalid="skip"))
    strict = outcome(lambda: OpenCollection(opened, 8, name="x"))
    if isinstance(report, DataError):
        assert not rows
        assert said(report)
    else:
        assert report.num_records + report.num_problems == len(rows)
        assert report.num_problems >= len(bad)
    if isinstance(kept, DataError):
        assert isinstance(report, DataError) or report.num_records == 0
        assert said(kept)
    else:
        assert (len(kept.records), len(kept.problems)) == (report.num_records, report.num_problems)  # type: ignore[union-attr]
    assert said(strict) if isinstance(strict, DataError) else not bad


@pytest.mark.parametrize("name", KINDS_ON_DISK)
def test_damaged_files_are_read_with_distrust(name: str, sound: Path, tmp_path: Path) -> None:
    folder = "llava" if name == "conversations" else name
    shutil.copytree(sound / folder, tmp_path / "set")
    file, kind = FILES[name]
    whole = (tmp_path / "set" / file).read_bytes()
    path = tmp_path / "set" if name in ("folder", "edits", "pix2pix", "webdataset") else tmp_path / "set" / file
    names = [tmp_path / "set" / file, *(tmp_path / "set").glob("*.tar")]
    for number in range(ROUNDS):
        rng = random.Random(f"{name} {number}")
        data = damaged(whole, rng)
        (tmp_path / "set" / file).write_bytes(data)
        try:
            check_reading(path, kind, names)
        except BaseException:
            print(f"damage {number} of {name}: {data[:2000]!r}")
            raise


# Values instead of bytes: any JSON where a field should stand, the fields those of every kind.
FIELDS = ["task", "id", "image", "images", "conversations", "messages", "from", "value", "role", "content", "text"]
FIELDS += ["source", "target", "edit", "system", "file_name", "instruction", "verdict", "type", "index", "weight"]
WORDS = ["caption", "chat", "edit", "assess", "human", "gpt", "user", "assistant", "<image>", "0.png", "../0.png"]
WORDS += ["", "a\0b", "x" * 300]
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)


@given(kind=st.sampled_from(KINDS), values=st.lists(ANY, min_size=1, max_size=4), as_list=st.booleans())
@settings(max_examples=ROUNDS)
def test_any_json_is_read_with_distrust(kind: Kind, values: list[Any], as_list: bool, sound: Path) -> None:
    path = sound / "llava" / ("any.json" if as_list else "any.jsonl")
    if as_list:
        path.write_text(json.dumps(values), encoding="utf-8")
    else:
        write_lines(path, values)
    check_reading(path, kind, [path])


@given(rows=st.lists(st.lists(st.text(max_size=6), max_size=4), max_size=5), kind=st.sampled_from(("folder", "edits")))
@settings(max_examples=ROUNDS)
def test_any_table_is_read_with_distrust(rows: list[list[str]], kind: Kind, sound: Path) -> None:
    folder = sound / "tables"
    folder.mkdir(exist_ok=True)
    header = "file_name,text" if kind == "folder" else "source,target,edit"
    text = "\n".join([header, *(",".join(row) for row in rows)])
    (folder / "metadata.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    check_reading(folder, kind, [folder / "metadata.csv"])


def _tar(path: Path, members: Sequence[tuple[str, bytes, bytes]]) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, data in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, "../0000.png", len(data) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(data) if kind == tarfile.REGTYPE else None)


TYPES = (tarfile.REGTYPE,) * 6 + (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE)
STEMS = st.sampled_from(("a", "b", "../a", "/a", "d/a", "a/../../b", "C:\\a", ".a", "__a", "a.b", "", "ü", "n" * 150))
ENDS = st.sampled_from((".png", ".jpg", ".txt", ".json", ".cls", ".TXT", "", ".tar", ".input.png"))
CAPTIONS = (b"", b"words", b"\xff", b"0", b"9" * 5000, b'{"caption": "x"}', b"{", b"[1]", b"\xef\xbb\xbfx", b"[" * 9000)
CONTENTS = st.sampled_from(CAPTIONS)
MEMBER = st.tuples(st.builds(str.__add__, STEMS, ENDS), st.sampled_from(TYPES), CONTENTS)


@given(members=st.lists(MEMBER, max_size=6))
@settings(max_examples=ROUNDS)
def test_any_members_of_a_tar_are_read_with_distrust(members: list[tuple[str, bytes, bytes]], sound: Path) -> None:
    path = sound / "tars" / "a.tar"
    path.parent.mkdir(exist_ok=True)
    _tar(path, members)
    check_reading(path, "webdataset", [path])
    names = [name for _, row in open_kind(path).rows() if isinstance(row, Record) for name in row.images]
    assert not [name for name in names if ".." in name or name.startswith("/")]


def test_the_law_of_reading_catches_a_reader_that_fails(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that lets an error of its own through, and one that does not say where."""
    path = write_lines(sound / "chat" / "bad.jsonl", [{"messages": 5}])
    check_reading(path, "chat", [path])
    broken: tuple[type[Exception], ...] = (TypeError, DataError)
    for error in broken:
        with monkeypatch.context() as patch:
            patch.setattr("illume.data.item_rows.items_of", _raiser(error))
            with pytest.raises((TypeError, AssertionError)):
                check_reading(path, "chat", [path])


def _raiser(error: type[Exception]) -> Callable[[Path], Any]:
    def items(path: Path) -> Any:
        raise error("something is wrong")

    return items
