"""Records of inpainting from files: the source is given behind its mask; masks that do not fit it are named."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from illume.core.errors import DataError
from illume.data.records_source import RecordsSource
from illume.images.masks import MARKER

SIZE = 16


def write(folder: Path, **record: object) -> Path:
    pixels = np.random.default_rng(0).integers(0, 200, (SIZE, SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(255 - pixels).save(folder / "b.png")
    for name, side in (("m.png", SIZE), ("small.png", 8)):
        mask = np.zeros((side, side), np.uint8)
        mask[2:7, 3:8] = 255
        Image.fromarray(mask).save(folder / name)
    Image.new("L", (SIZE, SIZE)).save(folder / "black.png")
    path = folder / "records.jsonl"
    path.write_text(json.dumps({"task": "inpaint", "images": ["a.png", "b.png"], **record}), encoding="utf-8")
    return path


def given(path: Path) -> np.ndarray:
    """What the first record gives to a model."""
    source = RecordsSource(path, SIZE)
    return source.images.image(source.record(0).images[0])


@pytest.mark.parametrize("mask", ["m.png", [3, 2, 8, 7]])
def test_the_source_is_given_behind_its_mask_and_the_target_as_it_is(mask: object, tmp_path: Path) -> None:
    source = RecordsSource(write(tmp_path, mask=mask, instruction="a red circle"), SIZE)
    record = source.record(0)
    masked, target = (source.images.image(key) for key in record.images)
    marked = (masked == MARKER).all(axis=-1)
    assert marked[2:7, 3:8].all()
    assert marked.sum() == 25
    assert np.array_equal(masked[~marked], np.asarray(Image.open(tmp_path / "a.png"))[~marked])
    assert np.array_equal(target, np.asarray(Image.open(tmp_path / "b.png")))
    assert set(record.images) == set(source.images.keys()), "what is encoded is what is shown"


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        ("small.png", "small.png has 8 x 8 pixels, the image 16 x 16"),
        ("black.png", "black.png marks nothing"),
        ([3, 2, 17, 7], r"a.png: the box \[3, 2, 17, 7\]"),
        ("none.png", "there is no image .*none.png"),
        ("../m.png", "leads out of the folder"),
    ],
)
def test_a_mask_that_does_not_fit_is_named(mask: object, says: str, tmp_path: Path) -> None:
    path = write(tmp_path, mask=mask)
    with pytest.raises(DataError, match=says):
        given(path)
