"""The report on a data set: what is in it, every problem by file and line, nothing changed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fixtures.imagefolder import make_image_folder, write_metadata
from fixtures.own_data import conversation, make_every_kind, picture, write_lines
from illume.core.errors import UsageError
from illume.data.check import check, check_collection
from illume.data.kinds import open_kind
from illume.data.masked import MaskedFiles
from illume.data.sample_sheet import write_samples
from illume.images import masks


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


def test_what_repeats_is_told_and_lists_have_their_limit(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(0))
    (tmp_path / "b.png").write_bytes(picture(1))
    talks = [conversation(name, "<image>", "One", id="same") for name in ("a.png", "b.png")]
    talked = check(write_lines(tmp_path / "talks.jsonl", talks))
    assert (talked.repeated_ids, talked.num_problems) == ({"same": 2}, 0)
    records = [{"task": "caption", "images": [name], "text": "one text"} for name in ("a.png", "b.png")]
    path = write_lines(tmp_path / "r.jsonl", [*records, *({"task": "text", "text": n} for n in range(5))])
    report = check(path, limit=2)
    assert report.repeated_texts == {"one text": 2}
    assert (len(report.problems), report.num_problems) == (2, 5)
    assert report.problem_counts == {"text has to be a text, not int": 5}
    for word in ("problems (5):", "... and 3 more", "5 x text has to be", "2 images: one text"):
        assert word in report.to_text()


REPEATED = {
    "chat": {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]},
    "conversations": conversation("a.png", "<image>", "One"),
    "records": {"task": "text", "text": "one text"},
    "edits": {"source": "a.png", "target": "b.png", "edit": "make it red"},
}


@pytest.mark.parametrize("kind", REPEATED)
def test_records_that_come_again_are_told(kind: str, tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        (tmp_path / f"{name}.png").write_bytes(picture(number))
    row = REPEATED[kind]
    other = json.loads(json.dumps(row).replace("hello", "hi").replace("One", "Two").replace('text"}', 'more"}'))
    other = json.loads(json.dumps(other).replace("red", "blue"))
    path = write_lines(tmp_path / "set.jsonl", [row, row | {"id": "x"}, other, row | {"id": "y"}])
    report = check(path)
    assert (report.kind, report.num_records, report.num_problems) == (kind, 4, 0)
    assert (report.repeated_records, report.num_repeated_records) == ({f"{path}:1": 3}, 1)
    assert f"records that come again (1):\n  3 x {path}:1" in report.to_text()


def test_ids_of_edits_and_pairs_of_unequal_sizes_are_told(tmp_path: Path) -> None:
    for name, size in (("a", (8, 8)), ("b", (8, 8)), ("c", (16, 8))):
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    edits = [{"id": "same", "source": "a.png", "target": f"{name}.png", "edit": name} for name in "bc"]
    report = check(write_lines(tmp_path / "edits.jsonl", [*edits, {"source": "a.png", "target": "b.png", "edit": "x"}]))
    assert report.repeated_ids == {"same": 2}
    assert report.unequal_pairs == {"8x8 -> 16x8": 1}
    assert "edits that change the size (1):\n  1 x 8x8 -> 16x8" in report.to_text()
    assert report.num_problems == 0


def make_inpaintings(folder: Path) -> Path:
    """Four good records of two pictures, then one for each thing that can be wrong with a mask."""
    for number, name in enumerate(("a", "b", "c")):
        (folder / f"{name}.png").write_bytes(picture(number))
    for name, size, box in (("m", 32, (4, 6, 20, 12)), ("small", 16, (0, 0, 8, 8)), ("black", 32, (0, 0, 0, 0))):
        mask = Image.new("L", (size, size))
        mask.paste(255, box)
        mask.save(folder / f"{name}.png")
    good = [("a.png", "m.png"), ("b.png", "m.png"), ("a.png", [4, 6, 20, 12]), ("a.png", [0, 0, 32, 32])]
    wrong = [("a.png", mask) for mask in ("small.png", "black.png", "gone.png", "../m.png", [4, 6, 33, 12],
                                          [40, 40, 50, 50], [4, 6, 4, 12], [1, 2, 3])]  # fmt: skip
    rows = [*good, *wrong]
    lines = [
        {"task": "inpaint", "images": [source, "c.png"], "mask": mask, "instruction": "x"} for source, mask in rows
    ]
    return write_lines(folder / "inpaint.jsonl", lines)


MASK_PROBLEMS = (
    "small.png has 16 x 16 pixels, the image 32 x 32",
    "black.png marks nothing",
    "there is no file",
    "leads out of the folder",
    "the box [4, 6, 33, 12] (left, top, right, bottom) is none of 32 x 32 pixels",
    "the box [40, 40, 50, 50]",
    "the box [4, 6, 4, 12] (left, top, right, bottom) holds no pixel",
    "mask has to be",
)


def check_masks_are_told(path: Path) -> None:
    """Every unusable mask by its line and what is wrong with it; the good ones are counted, their pictures once."""
    report = check(path)
    assert (report.num_records, report.tasks, report.num_images) == (4, {"inpaint": 4}, 3)
    assert report.sizes == {"32x32": 3}
    assert [problem.where for problem in report.problems] == [f"{path}:{n}" for n in range(5, 13)]
    for problem, says in zip(report.problems, MASK_PROBLEMS, strict=True):
        assert says in problem.message


def test_what_is_wrong_with_masks_is_told(tmp_path: Path) -> None:
    check_masks_are_told(make_inpaintings(tmp_path))


def test_the_check_catches_masks_that_nobody_looks_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MaskedFiles, "masked", lambda self, record: record)
    with pytest.raises(AssertionError):
        check_masks_are_told(make_inpaintings(tmp_path))


def test_a_mask_is_shown_on_the_sheet(tmp_path: Path) -> None:
    collection = open_kind(make_inpaintings(tmp_path))
    records = check_collection(collection, num_samples=4).samples
    write_samples(tmp_path / "sheet.png", records, collection.files)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    marked = (sheet == masks.MARKER).all(axis=-1).sum()
    enlarged = (128 // 32) ** 2
    assert marked == (3 * 16 * 6 + 32 * 32) * enlarged, "the region of each, a whole number of times larger"
    write_samples(tmp_path / "sheet.html", records, collection.files)
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert "mask: m.png" in page
    assert "mask: [4, 6, 20, 12]" in page
    assert page.count("<img") == 8


@pytest.mark.parametrize("suffix", ["png", "html"])
def test_samples_of_every_kind_are_drawn(suffix: str, tmp_path: Path) -> None:
    for path in make_every_kind(tmp_path).values():
        collection = open_kind(path)
        report = check_collection(collection, num_samples=3)
        assert len(report.samples) == min(3, report.num_records)
        out = tmp_path / f"sheet.{suffix}"
        write_samples(out, report.samples, collection.files)
        if suffix == "png":
            assert min(Image.open(out).size) > 30
        else:
            page = out.read_text(encoding="utf-8")
            assert page.count("<section>") == len(report.samples)
            assert page.count("<img") == sum(len(record.images) for record in report.samples)
    with pytest.raises(UsageError, match=r"\.png or \.html"):
        write_samples(tmp_path / "sheet.gif", (), collection.files)


def test_samples_are_spread_over_the_whole(tmp_path: Path) -> None:
    lines = [{"task": "text", "text": f"text {number}"} for number in range(1000)]
    collection = open_kind(write_lines(tmp_path / "r.jsonl", lines))
    numbers = sorted(int(record.text.split()[1]) for record in check_collection(collection, num_samples=8).samples)
    assert len(set(numbers)) == 8
    assert numbers[-1] - numbers[0] > 400
