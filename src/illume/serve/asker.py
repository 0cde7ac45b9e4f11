"""What the endpoints want, as orders to one model: what is said to it, with which images, how it answers.

It does not know HTTP, nor how an order is carried out. All of it may take a while: decoding, resizing, writing ids.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from PIL import Image

from illume.api import Illume
from illume.core.errors import DataError
from illume.generate.abilities import Ability
from illume.generate.coded import Coder
from illume.generate.request import Pixels, Request
from illume.generate.shown import pixels_of
from illume.images import ops
from illume.images.masks import Masked, composite, masked
from illume.serve import pictures
from illume.serve.conversation import File, Turn
from illume.serve.errors import ApiError, bad
from illume.serve.job import Order
from illume.serve.memory import Codes, Memory
from illume.serve.painter import Compute
from illume.serve.pictures import Format
from illume.serve.schema import Drawing, ImageEdit, ImageGeneration, Sampling
from illume.serve.schema import File as FileFields
from illume.vocab.layout import read_frame, written_frame
from illume.vocab.messages import ImagePart, Message, Part, TextPart

_SEEDS = 2**32


class Asker:
    """Makes orders for a model. `memory` knows drawings that come back; `compute` has tensors computed where that may
    be done."""

    def __init__(self, illume: Illume, memory: Memory, max_pixels: int, compute: Compute[Codes]) -> None:
        self.illume = illume
        self.memory = memory
        self._max_pixels = max_pixels
        self._compute = compute
        self._coder = Coder(illume.parts.tokenizer)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of what it draws."""
        height, width = self.illume.parts.image_size
        upscale = self.illume.parts.pixel_decoder.upscale
        return width * upscale, height * upscale

    def check_size(self, size: str | None, param: str = "size") -> None:
        """ApiError 400 for a size that is not the model's."""
        own = "x".join(map(str, self.size))
        if size not in (None, "auto", own):
            raise bad(f"{param}: this model draws pictures of {own} pixels: leave it out, or say {own} or auto", param)

    def draw(self, body: ImageGeneration) -> list[Order]:
        """Pictures of a prompt."""
        settings = settings_of(body)
        return self._drawings(body, lambda words, seed: self.illume.draw_request(words, seed, **settings))

    def edit(self, body: ImageEdit, image: File, mask: File | None) -> list[Order]:
        """A picture, changed."""
        settings = settings_of(body)
        source = pictures.opened(image.data, image.param, self._max_pixels)
        if mask is None:
            shown = self.illume.pixels(source)
            return self._drawings(body, lambda words, seed: self.illume.edit_request(shown, words, seed, **settings))
        part = self._masked(source, pictures.opened_mask(mask.data, mask.param, self._max_pixels))

        def finish(drawn: Image.Image) -> Image.Image:
            return composite(part.kept, ops.fit(drawn, self.illume.parts.image_size), part.region)

        def make(words: str, seed: int) -> Request:
            return self.illume.inpaint_request(part.shown, words, seed, **settings)

        return self._drawings(body, make, finish=finish)

    def converse(
        self,
        turns: Sequence[Turn],
        ability: Ability,
        sampling: Sampling,
        file: FileFields,
        n: int = 1,
        **order: Any,
    ) -> list[Order]:
        """Answers to a conversation. `ability` "draw": a picture, of no picture or of those that are shown."""
        messages, pixels = self._messages(turns)
        if ability == "draw" and pixels:
            ability = "edit"
        seed, settings = seed_of(sampling), settings_of(sampling)
        max_new_text = order.pop("max_new_text", None)
        if max_new_text is not None and ability in ("ask", "say"):
            settings["max_new_text"] = max_new_text
        made = [self.illume.request(ability, messages, pixels, seed + i, **settings) for i in range(n)]
        return self._orders(made, file, **order)

    def _drawings(self, body: Drawing, make: Callable[[str, int], Request], **order: Any) -> list[Order]:
        """As many as are wanted, each with a seed of its own, led away from a negative prompt if there is one."""
        seed = seed_of(body)
        against = make(body.negative_prompt, seed).messages if body.negative_prompt else None
        made = [replace(make(body.prompt, seed + i), against=against) for i in range(body.n or 1)]
        return self._orders(made, body, partials=body.partial_images or 0, **order)

    def _masked(self, source: Image.Image, region: Image.Image) -> Masked:
        try:
            return masked(source, region, self.illume.parts.image_size)
        except DataError as error:
            raise ApiError(422, str(error), param="mask", code="invalid_mask") from error

    def _orders(self, requests: Sequence[Request], file: FileFields, **settings: Any) -> list[Order]:
        image_ids = self._image_ids(requests[0].messages)
        return [Order(request, image_ids, format_of(file), **settings) for request in requests]

    def _messages(self, turns: Sequence[Turn]) -> tuple[list[Message], Mapping[str, Pixels]]:
        pixels: dict[str, Pixels] = {}
        messages = []
        for turn in turns:
            parts: list[Part] = []
            for part in turn.parts:
                if isinstance(part, str):
                    parts.append(TextPart(part))
                else:
                    assert isinstance(part, File)  # fetched before
                    parts.append(self._image(turn, part, pixels))
            messages.append(Message(turn.role, tuple(parts)))
        return messages, pixels

    def _image(self, turn: Turn, file: File, pixels: dict[str, Pixels]) -> ImagePart:
        """An image that is shown, or, in an assistant's turn, was drawn."""
        picture = pictures.opened(file.data, file.param, self._max_pixels)
        name = f"image {len(pixels)}"
        fitted = self.illume.pixels(picture)
        pixels[name] = pixels_of(fitted)
        frame = self.illume.frame
        if turn.role != "assistant":
            return ImagePart(frame, image=name)
        codes = self.memory.find(picture, frame) or self._compute(partial(self._coder, pixels[name]))
        return ImagePart(frame, codes, image=name)

    def _image_ids(self, messages: Sequence[Message]) -> int:
        """How many ids of a prompt stand for images: their codes or slots, and the markers around them."""
        layout, coded = self.illume.parts.layout, self.illume.parts.reading == "codes"
        written = len(written_frame(layout, self.illume.frame, False))
        read = len(read_frame(layout, self.illume.frame))
        seen = written if coded else read
        kept = written + (read if layout.reread and not coded else 0)
        count = 0
        for message in messages:
            images = sum(isinstance(part, ImagePart) for part in message.parts)
            count += images * (kept if message.role == "assistant" else seen)
        return count


def seed_of(sampling: Sampling) -> int:
    """The seed that is asked for, or one of no one's choosing."""
    return secrets.randbelow(_SEEDS) if sampling.seed is None else sampling.seed


def settings_of(sampling: Sampling) -> dict[str, Any]:
    """What a person says of sampling, as the model knows it."""
    return {
        "guidance": sampling.guidance_scale,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
    }


def format_of(file: FileFields) -> Format:
    """How pictures are to be sent."""
    quality = 100 if file.output_compression is None else file.output_compression
    return Format(file.output_format or "png", quality)
