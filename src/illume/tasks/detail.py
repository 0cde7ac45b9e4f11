"""A picture read in detail: its overview, then its slices row by row, as several images of one turn.

It knows neither pixels nor how a grid was chosen. Each row of slices stands on a line of its own, so that six slices
in two rows read otherwise than six in three.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from illume.core.errors import FormatError
from illume.vocab.messages import Grid, ImagePart, Message, Part, TextPart

ROW = "\n"
_NAME = re.compile(r"(.+)#(?:whole|(\d+),(\d+))", re.DOTALL)


def in_detail(messages: Sequence[Message], grids: Mapping[str, Grid]) -> list[Message]:
    """The conversation with each image that `grids` names read as an overview and such a grid of slices.

    Only what is read can be: FormatError for an image that is drawn or has codes to be drawn from. Their images are
    named by `overview_name` and `slice_name`.
    """
    return [
        replace(message, parts=tuple(piece for part in message.parts for piece in _pieces(part, message, grids)))
        for message in messages
    ]


def overview_name(image: str) -> str:
    """The name of an overview's pixels: the whole picture, none of it cut off."""
    return f"{image}#whole"


def slice_name(image: str, row: int, column: int) -> str:
    """The name of a slice's pixels."""
    return f"{image}#{row},{column}"


def parse_name(name: str) -> tuple[str, tuple[int, int] | None] | None:
    """The image of such a name with the slice's (row, column), None for its overview; None for any other name."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    image, row, column = found.groups()
    return image, None if row is None else (int(row), int(column))


def _pieces(part: Part, message: Message, grids: Mapping[str, Grid]) -> list[Part]:
    if not isinstance(part, ImagePart) or part.image is None or part.image not in grids:
        return [part]
    if message.role == "assistant" or part.codes is not None:
        raise FormatError(f"the image {part.image!r} is drawn: only an image that is read can be read in slices")
    rows, columns = grids[part.image]
    pieces: list[Part] = [replace(part, image=overview_name(part.image))]
    for row in range(rows):
        pieces.append(TextPart(ROW))
        pieces += [replace(part, image=slice_name(part.image, row, column)) for column in range(columns)]
    return pieces
