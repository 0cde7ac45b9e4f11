"""A records file as a source, its images beside it."""

import json
from pathlib import Path

import pytest

from fixtures.imagefolder import make_image_folder
from illume.core.errors import DataError
from illume.data.records_source import RecordsSource


def write(path: Path, *records: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_records_name_images_by_keys_that_can_be_read(tmp_path: Path) -> None:
    make_image_folder(tmp_path / "set", 2)
    pair = ["pictures/000.png", "pictures/001.png"]
    path = write(
        tmp_path / "set" / "train.jsonl",
        {"task": "edit", "images": pair, "instruction": "change it"},
        {"task": "text", "text": "words"},
    )
    source = RecordsSource(path, 16)
    assert source.name == "train"
    assert len(source) == 2
    assert (
        source.record(0).images == tuple(source.images.keys()) == ("train/pictures/000.png", "train/pictures/001.png")
    )
    assert source.images.image("train/pictures/001.png").shape == (16, 16, 3)


def test_missing_and_broken_images_are_named_or_skipped(tmp_path: Path) -> None:
    make_image_folder(tmp_path, 1)
    (tmp_path / "broken.png").write_bytes(b"no image")
    files = ["pictures/000.png", "gone.png", "broken.png", "../out.png"]
    path = write(tmp_path / "r.jsonl", *({"task": "caption", "images": [file], "text": "x"} for file in files))
    with pytest.raises(DataError, match=r"r\.jsonl:2: there is no image"):
        RecordsSource(path, 16)
    source = RecordsSource(path, 16, on_invalid="skip")
    assert len(source) == 1
    assert len(source.images.keys()) == 1
    assert sorted(problem.where for problem in source.problems) == [f"{path}:{line}" for line in (2, 3, 4)]


def test_a_file_without_a_usable_record_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", {"task": "caption", "images": ["gone.png"], "text": "x"})
    with pytest.raises(DataError, match="no record can be used"):
        RecordsSource(path, 16, on_invalid="skip")
