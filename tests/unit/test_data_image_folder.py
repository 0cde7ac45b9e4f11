"""Image folders: what is read, which split it falls into, and every bad folder's error with file and line."""

import ntpath
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fixtures.imagefolder import make_image_folder, write_metadata
from illume.core.errors import ConfigError, DataError
from illume.data.image_files import ImageFiles
from illume.data.image_folder import ImageFolder, ImageFolderSource
from illume.data.metadata import read_image_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "shapes"
    make_image_folder(path, 64)
    return path


def test_sources_share_images_and_split_by_caption(folder: Path) -> None:
    images = ImageFolder(folder, 16, test_fraction=0.3)
    train, test = (ImageFolderSource(images, split, "caption") for split in ("train", "test"))  # type: ignore[arg-type]
    assert len(train) + len(test) == 64
    said = [{source.record(i).text for i in range(len(source))} for source in (train, test)]
    assert not said[0] & said[1], "no test caption occurs in training"
    record = ImageFolderSource(images, "train", "draw", name="drawing").record(3)
    assert record.task == "draw"
    assert record.where.startswith(str(folder / "metadata.csv"))
    assert record.images[0].startswith("shapes/pictures/")
    assert images.images.image(record.images[0]).shape == (16, 16, 3)
    assert ImageFolderSource(images, "train", "text").record(3).images == ()
    with pytest.raises(ConfigError, match="'edit'"):
        ImageFolderSource(images, "train", "edit")  # type: ignore[arg-type]


def test_csv_and_jsonl_say_the_same(folder: Path, tmp_path: Path) -> None:
    entries = make_image_folder(tmp_path / "shapes", 5, metadata="jsonl")
    assert [(e.file, e.text) for e in read_image_folder(tmp_path / "shapes").entries] == entries
    assert [(e.file, e.text) for e in read_image_folder(folder).entries[:5]] == entries


def test_images_are_decoded_once_over_white_and_cannot_be_written_to(folder: Path) -> None:
    images = ImageFiles(folder, ["pictures/001.png"], 16)
    picture = images.image("shapes/pictures/001.png")
    assert picture.shape == (16, 16, 3)
    assert picture.dtype == np.uint8
    assert (picture.reshape(-1, 3) == 255).all(axis=1).any(), "what was transparent is white"
    assert images.image("shapes/pictures/001.png") is picture
    with pytest.raises(ValueError, match="read-only"):
        picture[0, 0, 0] = 1
    uncached = ImageFiles(folder, ["pictures/001.png"], 16, cache_bytes=0)
    assert np.array_equal(uncached.image("shapes/pictures/001.png"), picture)
    assert uncached.image("shapes/pictures/001.png") is not uncached.image("shapes/pictures/001.png")
    with pytest.raises(ConfigError, match="cannot be called 'a/b'"):
        ImageFiles(folder, [], 16, name="a/b")
    with pytest.raises(DataError, match=r"no image 'shapes/other\.png'"):
        images.image("shapes/other.png")


def test_fingerprints_tell_images_apart(folder: Path, tmp_path: Path) -> None:
    make_image_folder(tmp_path / "shapes", 64)
    again = ImageFolder(tmp_path / "shapes", 16).images.fingerprint
    assert again == ImageFolder(folder, 16).images.fingerprint, "a copy is the same"
    assert again != ImageFolder(folder, 32).images.fingerprint
    assert again != ImageFolder(folder, 16, how="contain").images.fingerprint
    Image.new("RGB", (99, 99)).save(tmp_path / "shapes" / "pictures" / "000.png")
    assert again != ImageFolder(tmp_path / "shapes", 16).images.fingerprint


def csv_of(*lines: str) -> Callable[[Path], None]:
    return lambda path: (path / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8") and None


def jsonl_of(*lines: str) -> Callable[[Path], None]:
    return lambda path: (path / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8") and None


def raw(content: bytes) -> Callable[[Path], None]:
    return lambda path: (path / "metadata.csv").write_bytes(content) and None


# A line that cannot be used: (how the folder comes to be, the line, what is said of it).
BAD_LINES = {
    "missing image": (csv_of("file_name,text", "a.png,x", "no.png,y"), "metadata.csv:3", "there is no image"),
    "empty caption": (csv_of("file_name,text", "a.png,x", "b.png, "), "metadata.csv:3", "text is empty"),
    "no file name": (csv_of("file_name,text", "a.png,x", ",y"), "metadata.csv:3", "file_name is empty"),
    "listed twice": (csv_of("file_name,text", "a.png,x", "./a.png,y"), "metadata.csv:3", "listed before, at"),
    "leads out": (csv_of("file_name,text", "a.png,x", "../a.png,y"), "metadata.csv:3", "leads out of the folder"),
    "absolute": (csv_of("file_name,text", "a.png,x", "/etc/passwd,y"), "metadata.csv:3", "absolute"),
    "a comma too many": (csv_of("file_name,text", "a.png,x", "b.png,y,z"), "metadata.csv:3", "3 columns"),
    "after a long cell": (csv_of("file_name,text", 'a.png,"x', 'y"', "no.png,z"), "metadata.csv:4", "no image"),
    "missing column": (
        jsonl_of('{"file_name": "a.png", "text": "x"}', '{"file_name": "b.png", "caption": "y"}'),
        "metadata.jsonl:2",
        "'text' is missing; there are file_name, caption",
    ),
    "not an object": (jsonl_of('{"file_name": "a.png", "text": "x"}', "[1]"), "metadata.jsonl:2", "JSON object"),
    "not JSON": (jsonl_of('{"file_name": "a.png", "text": "x"}', "{"), "metadata.jsonl:2", "not JSON"),
    "text is a number": (
        jsonl_of('{"file_name": "a.png", "text": "x"}', '{"file_name": "b.png", "text": 5}'),
        "metadata.jsonl:2",
        "text has to be a text, not int",
    ),
}
# A metadata file that cannot be used at all.
BAD_FILES = {
    "no metadata": (lambda path: None, "has neither metadata.csv nor metadata.jsonl"),
    "both": (lambda path: (csv_of("file_name,text")(path), jsonl_of("{}")(path)), "has both"),
    "empty": (raw(b""), "metadata.csv: the file is empty"),
    "only a header": (csv_of("file_name,text"), "lists no images"),
    "binary": (raw(b"PK\x03\x04\x00\x00"), "binary file"),
    "not UTF-8": (raw(b"file_name,text\na.png,\xff\n"), "metadata.csv:2: not UTF-8"),
    "missing column": (
        csv_of("file,text", "a.png,x"),
        "metadata.csv:1: the column 'file_name' is missing; there are file",
    ),
    "column twice": (csv_of("file_name,text,text", "a.png,x,y"), "metadata.csv:1: a column stands twice"),
    "open quote": (csv_of("file_name,text", 'a.png,"x'), "not CSV"),
}


def two_images(path: Path) -> Path:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (4, 4), (200, 0, 0)).save(path / name)
    return path


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_named_or_skipped(name: str, tmp_path: Path) -> None:
    make, where, says = BAD_LINES[name]
    make(two_images(tmp_path))
    with pytest.raises(DataError) as error:
        read_image_folder(tmp_path)
    assert str(error.value).startswith(f"{tmp_path}/{where}: ")
    assert says in str(error.value)
    listing = read_image_folder(tmp_path, on_invalid="skip")
    assert [entry.file for entry in listing.entries] == ["a.png"]
    assert [(p.where, says in p.message) for p in listing.problems] == [(f"{tmp_path}/{where}", True)]


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_metadata_file_is_an_error_either_way(name: str, tmp_path: Path) -> None:
    make, says = BAD_FILES[name]
    make(two_images(tmp_path))
    for on_invalid in ("raise", "skip"):
        with pytest.raises(DataError) as error:
            read_image_folder(tmp_path, on_invalid)  # type: ignore[arg-type]
        assert says in str(error.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        read_image_folder(tmp_path / "nowhere")


def test_other_columns_are_said_and_a_byte_order_mark_is_none(tmp_path: Path) -> None:
    two_images(tmp_path)
    raw("\ufefffile_name,text,licence\na.png,x,free\n".encode())(tmp_path)
    listing = read_image_folder(tmp_path)
    assert listing.ignored_columns == ("licence",)
    assert listing.entries[0].file == "a.png"


def test_an_unreadable_image_is_named_or_skipped(tmp_path: Path) -> None:
    two_images(tmp_path)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    write_metadata(tmp_path, [("a.png", "x"), ("b.png", "y")])
    images = ImageFolder(tmp_path, 4, name="d").images
    with pytest.raises(DataError, match=r"b\.png"):
        images.image("d/b.png")
    skipped = ImageFolder(tmp_path, 4, name="d", on_invalid="skip")
    assert [entry.file for entry in skipped.entries] == ["a.png"]
    assert skipped.images.keys() == ("d/a.png",)
    assert [problem.where for problem in skipped.problems] == [f"{tmp_path}/metadata.csv:3"]


def test_a_split_without_images_is_an_error(tmp_path: Path) -> None:
    two_images(tmp_path)
    write_metadata(tmp_path, [("a.png", "x"), ("b.png", "x")])
    images = ImageFolder(tmp_path, 4, test_fraction=0.0)
    with pytest.raises(DataError, match="none of its 2 images falls into the split 'test'"):
        ImageFolderSource(images, "test", "caption")


def test_names_are_the_same_on_every_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are keys, and decide what is held out."""
    make_image_folder(tmp_path / "set", 3)
    names = [entry.file for entry in read_image_folder(tmp_path / "set").entries]
    monkeypatch.setattr("os.path", ntpath)  # as on Windows
    assert [entry.file for entry in read_image_folder(tmp_path / "set").entries] == names
    assert all("/" in name for name in names)
