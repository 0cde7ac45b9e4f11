"""The report on a data set: what is in it, every problem by file and line, nothing changed."""

import json
import shutil
from pathlib import Path

from fixtures.imagefolder import make_image_folder, write_metadata
from illume.data.check import check


def test_a_good_folder_has_no_problems(tmp_path: Path) -> None:
    make_image_folder(tmp_path / "set", 6)
    report = check(tmp_path / "set")
    assert report.problems == ()
    assert (report.num_records, report.num_images, report.tasks) == (6, 6, {"caption": 6})
    assert report.sizes == {"32x32": 6}
    assert sum(report.text_lengths.values()) == 6
    assert json.loads(json.dumps(report.to_dict()))["num_records"] == 6


def test_every_problem_of_a_folder_is_listed(tmp_path: Path) -> None:
    entries = make_image_folder(tmp_path / "set", 4)
    folder = tmp_path / "set"
    shutil.copy(folder / entries[0][0], folder / "copy.png")
    (folder / "broken.png").write_bytes(b"no image")
    write_metadata(folder, [*entries, ("copy.png", "x"), ("broken.png", "x"), ("gone.png", "x"), (entries[0][0], "x")])
    report = check(folder)
    assert sorted(problem.where for problem in report.problems) == [f"{folder}/metadata.csv:{n}" for n in (7, 8, 9)]
    assert report.duplicates == ((entries[0][0], "copy.png"),)
    assert report.num_records == 5
    for word in ("problems (3):", "broken.png", "same content (1):", "32x32 #"):
        assert word in report.to_text()


def test_records_are_counted_by_task_and_a_broken_image_is_named_for_each(tmp_path: Path) -> None:
    make_image_folder(tmp_path, 2)
    (tmp_path / "broken.png").write_bytes(b"no image")
    records = [
        {"task": "draw", "images": ["pictures/000.png"], "text": "two words"},
        {"task": "text", "text": "just three words"},
        {"task": "reconstruct", "images": ["broken.png"]},
        {"task": "caption", "images": ["broken.png"], "text": "x"},
        {"task": "caption", "images": [], "text": "x"},
    ]
    path = tmp_path / "r.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    report = check(path)
    assert report.tasks == {"draw": 1, "text": 1}
    assert report.text_lengths == {2: 1, 3: 1}
    assert sorted(problem.where for problem in report.problems) == [f"{path}:{n}" for n in (3, 4, 5)]
