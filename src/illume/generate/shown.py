"""What a person says and shows, as messages and the pixels of the images in them, large ones in slices if wanted.

It does not know what is asked of the model, nor how it answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from illume.core.errors import RequestError
from illume.generate.request import Pixels
from illume.images import ops
from illume.images.given import ImageLike, opened
from illume.images.slices import cut
from illume.tasks import prompts
from illume.tasks.detail import in_detail, overview_name, slice_name
from illume.vocab.messages import ImageFrame, ImagePart, Message


@dataclass(frozen=True)
class Turn:
    """One exchange of a conversation: a question, the images that came with it, and the answer."""

    question: str
    images: tuple[ImageLike, ...]
    reply: str


def conversation(
    question: str | Sequence[Message],
    images: Sequence[ImageLike] | Mapping[str, ImageLike],
    history: Sequence[Turn],
    frame: ImageFrame,
) -> tuple[Sequence[Message], Mapping[str, ImageLike]]:
    """The messages up to a question, and their images by name. Whole messages are themselves, with images by name."""
    if not isinstance(question, str):
        if images and not isinstance(images, Mapping):
            raise RequestError("with messages, give images by name: {'a': ...} for ImagePart(..., image='a')")
        return question, images if isinstance(images, Mapping) else {}
    if isinstance(images, Mapping):
        raise RequestError("with a question, give images as a list")
    shown: dict[str, ImageLike] = {}
    turns: list[tuple[Any, Any]] = []
    for turn in (*history, Turn(question, tuple(images), "")):
        names = [f"image {len(shown) + i}" for i in range(len(turn.images))]
        shown |= dict(zip(names, turn.images, strict=True))
        asked = [*(ImagePart(frame, image=name) for name in names), turn.question]
        turns += [("user", asked), ("assistant", turn.reply)]
    return prompts.chat(turns[:-1]), shown


def seen(
    messages: Sequence[Message], images: Mapping[str, ImageLike], size: tuple[int, int], slices: int = 0
) -> tuple[tuple[Message, ...], dict[str, Pixels]]:
    """A conversation and the pixels of all its images by name, each fitted to (height, width) `size`.

    With `slices` each image is read as an overview and at most so many slices of that size.
    """
    if not slices:
        return tuple(messages), {name: pixels_of(fitted(one, size)) for name, one in images.items()}
    found = {name: cut(opened(one), size, slices) for name, one in images.items()}
    pixels = {overview_name(name): pixels_of(one.overview) for name, one in found.items()}
    for name, one in found.items():
        pieces = [(slice_name(name, r, c), piece) for r, row in enumerate(one.rows) for c, piece in enumerate(row)]
        pixels |= {slice: pixels_of(piece) for slice, piece in pieces}
    return tuple(in_detail(messages, {name: one.grid for name, one in found.items()})), pixels


def fitted(image: ImageLike, size: tuple[int, int]) -> Image.Image:
    """An image as a model sees it: RGB, of its (height, width). DataError for what is no image."""
    return ops.fit(opened(image), size)


def pixels_of(picture: Image.Image) -> Pixels:
    """An RGB picture as a model reads it, in [-1, 1]."""
    return torch.from_numpy(ops.to_pixels(picture))
