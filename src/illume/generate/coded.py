"""Images that a request shows, as codes: for models that read them so instead of through features.

It knows a tokenizer's codes, but not what ids they become.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import torch
from einops import rearrange

from illume.core.errors import RequestError
from illume.generate.request import Pixels, Request
from illume.models.tokenizing import AnyTokenizer
from illume.vocab.messages import ImagePart, Message, Part

Codes: TypeAlias = tuple[tuple[int, ...], ...]
Tokenize: TypeAlias = Callable[[Pixels], Codes]


class Coder:
    """An image's codes, row-major, one tuple a level; each image alone, so that they are the same in any company."""

    def __init__(self, tokenizer: AnyTokenizer) -> None:
        self.tokenizer = tokenizer
        self._device = next(tokenizer.parameters()).device

    @torch.inference_mode()
    def __call__(self, pixels: Pixels) -> Codes:
        levels = self.tokenizer.encode(pixels[None].to(self._device))
        return tuple(tuple(rearrange(level, "1 h w -> (h w)").tolist()) for level in levels)


def coded(request: Request, tokenize: Tokenize) -> Request:
    """The same request, each image of its messages with its codes; those that have them keep them.

    RequestError for an image without pixels, or with pixels of another frame than its part says.
    """
    found: dict[str, Codes] = {}

    def with_codes(messages: tuple[Message, ...]) -> tuple[Message, ...]:
        return tuple(replace(one, parts=_coded(one, request, tokenize, found)) for one in messages)

    against = None if request.against is None else with_codes(request.against)
    return replace(request, messages=with_codes(request.messages), against=against)


def _coded(message: Message, request: Request, tokenize: Tokenize, found: dict[str, Codes]) -> tuple[Part, ...]:
    parts: list[Part] = []
    for part in message.parts:
        if isinstance(part, ImagePart) and part.codes is None:
            image = str(part.image)
            if image not in request.images:
                raise RequestError(f"the messages show images without pixels in `images`: {image}")
            if image not in found:
                found[image] = tokenize(request.images[image])
            part = replace(part, codes=_of_frame(found[image], part))
        parts.append(part)
    return tuple(parts)


def _of_frame(codes: Codes, part: ImagePart) -> Codes:
    wanted, got = [rows * columns for rows, columns in part.frame.grids], list(map(len, codes))
    if wanted != got:
        raise RequestError(
            f"image {part.image}: its pixels make {got} codes, its frame in the messages says {wanted}: "
            "bring it to the frame's size first"
        )
    return codes
