"""Redrawing: records whose whole prompt is a picture's features, with loss on what is drawn alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.rounds import PAINTING, Bad, prompts_file, rows, small_illume
from fixtures.tiny_model_folder import tiny_parts
from illume.core.errors import CheckpointError, DataError
from illume.data.examples import Pictures, messages
from illume.data.records import Record, read_records
from illume.enhance.assess import assess
from illume.enhance.paint import paint
from illume.enhance.propose import from_file, propose
from illume.enhance.redraw import Redrawing, check_redrawings, redraw
from illume.enhance.round import RoundFolder
from illume.tasks.prompts import DRAW, RECONSTRUCT
from illume.vocab.format import render
from illume.vocab.messages import ImageFrame, ImagePart, TextPart

FRAME = ImageFrame(((4, 4),))


@pytest.fixture
def proposed(tmp_path: Path) -> RoundFolder:
    """Four prompts, two of them with a true picture."""
    folder = RoundFolder(tmp_path / "round")
    propose(folder, from_file(prompts_file(tmp_path, truths=(0, 2))))
    return folder


def check_dense(record: Record) -> None:
    """The prompt is one image read and an instruction that says nothing of it; what has loss is that image drawn."""
    parts = tiny_parts()
    said = messages(record, Pictures(FRAME, codes=lambda key: (tuple(range(16)),)))
    texts = [part.text for message in said for part in message.parts if isinstance(part, TextPart)]
    assert texts in ([DRAW], [RECONSTRUCT]), texts
    rendered = render(said, parts.layout, parts.text)
    assert [(run.image, run.start < rendered.loss_mask.index(True)) for run in rendered.slots] == [
        (record.images[0], 1)
    ]
    learnt = [id for id, loss in zip(rendered.ids, rendered.loss_mask, strict=True) if loss]
    codes = parts.layout.ranges()["level0"]
    assert [id - codes.start for id in learnt if id in codes] == list(range(16))
    assert not any(parts.layout.region(id) == "text" and id != parts.text.end for id in learnt)
    drawn = [part for part in said[-1].parts if isinstance(part, ImagePart)]
    assert [part.image for part in drawn] == list(record.images)


@pytest.mark.parametrize("words", ["draw", "reconstruct"])
def test_true_pictures_are_redrawn_from_their_features(proposed: RoundFolder, words: Any) -> None:
    assert redraw(proposed, Redrawing(words)) == 2
    records, _ = read_records(proposed.file("redraw"))
    truths = [row["image"] for row in rows(proposed.prompts) if "image" in row]
    assert [record.images for record in records] == [(truth,) for truth in truths]
    for record in records:
        check_dense(record)


def test_the_check_catches_a_caption_and_a_picture_only_told_of(proposed: RoundFolder) -> None:
    image = rows(proposed.prompts)[0]["image"]
    with pytest.raises(AssertionError):
        check_dense(Record("draw", images=(str(image),), text="a red circle"))
    with pytest.raises(AssertionError):
        check_dense(Record("caption", images=(str(image),), text="a red circle"))


def test_without_true_pictures_there_is_nothing_to_redraw(tmp_path: Path) -> None:
    folder = RoundFolder(tmp_path / "round")
    propose(folder, from_file(prompts_file(tmp_path, truths=())))
    with pytest.raises(DataError, match="no prompt has a true picture"):
        redraw(folder)


def test_a_drawing_that_did_not_pass_is_not_redrawn(proposed: RoundFolder) -> None:
    redraw(proposed)
    check_redrawings(proposed)
    paint(proposed, small_illume(), PAINTING)
    image = rows(proposed.drawings)[0]["image"]
    record = json.dumps({"task": "reconstruct", "images": [f"./{image}"]})
    for judge in (None, Bad()):
        if judge is not None:
            assess(proposed, judge)
        proposed.file("redraw").write_text(record + "\n")
        with pytest.raises(DataError, match="would be learnt to be drawn"):
            check_redrawings(proposed)


def test_edited_it_stands_until_what_it_was_made_of_changes(proposed: RoundFolder) -> None:
    redraw(proposed)
    path = proposed.file("redraw")
    path.write_text(path.read_text().splitlines()[0] + "\n")
    redraw(proposed)
    assert len(rows(path)) == 1
    with pytest.raises(CheckpointError, match="edited by hand"):
        redraw(proposed, Redrawing("reconstruct"))
