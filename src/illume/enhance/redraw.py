"""Reconstruction alignment (RecA, Xie et al. 2025, arXiv 2509.07295): the true pictures become records to redraw.

A picture's own features, as the model reads them, are the whole prompt: no caption stands beside them, and the loss is
on what is drawn. Nothing is drawn before, and nobody judges.
"""

from dataclasses import asdict, dataclass
from typing import Literal, get_args

from illume.core.errors import DataError
from illume.data.records import Record, Turn, read_records, to_dict
from illume.enhance.compose import bad_of, check_targets, inner
from illume.enhance.propose import lines, read_prompts
from illume.enhance.round import RoundFolder
from illume.tasks.prompts import DRAW

Words = Literal["draw", "reconstruct"]


@dataclass(frozen=True)
class Redrawing:
    """`words`: what stands beside the picture. "draw": the words by which all is drawn, so that the features stand
    where a text would. "reconstruct": those of the task to reconstruct, which guidance of edits drops to."""

    words: Words = "draw"

    def __post_init__(self) -> None:
        if self.words not in get_args(Words):
            raise ValueError(f"words {self.words!r}: there are {', '.join(get_args(Words))}")


def redraw(folder: RoundFolder, redrawing: Redrawing | None = None) -> int:
    """Write redrawings.jsonl, a record for every prompt with a true picture; how many there are.

    DataError where no prompt has one. What was edited since stands, as in every step.
    """
    redrawing = redrawing or Redrawing()
    found = [prompt for prompt in read_prompts(folder.prompts) if prompt.image is not None]
    if not found:
        raise DataError(f"{folder.prompts}: no prompt has a true picture, so there is nothing to redraw")
    records = [to_record(prompt.key, inner(prompt.image, folder.path), redrawing.words) for prompt in found]
    check_targets(records, bad_of(folder))
    of = {"prompts": folder.digest("propose"), **asdict(redrawing)}
    folder.settle("redraw", of, lines(to_dict(record) for record in records))
    return len(records)


def check_redrawings(folder: RoundFolder) -> list[Record]:
    """The records of a round, edited or not. DataError for whatever is wrong with them: a drawing of the same round
    that did not pass is no true picture."""
    records, _ = read_records(folder.file("redraw"))
    check_targets(records, bad_of(folder))
    return records


def to_record(key: str, image: str, words: Words) -> Record:
    """The picture read, then drawn as it is."""
    if words == "reconstruct":
        return Record("reconstruct", images=(image,), id=key)
    return Record("chat", images=(image,), messages=(Turn("user", (DRAW, 0)), Turn("assistant", (0,))), id=key)
