"""A conversation as a request brings it: turns of words and images, the images as bytes, wherever they came from.

It does not know which endpoint was asked, nor what a model makes of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from illume.serve import pictures
from illume.serve.errors import ApiError, bad
from illume.serve.schema_chat import AssistantMessage, ChatCompletion, ChatMessage, ImageContent, TextContent
from illume.serve.schema_responses import ImageCall, InputItem, InputText, ResponseCreation
from illume.serve.settings import Limits
from illume.serve.urls import Fetcher
from illume.vocab.messages import Role

_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True)
class Image:
    """An image by its address, and the field of the request that gave it."""

    url: str
    param: str


@dataclass(frozen=True)
class File:
    """An image's bytes, and the field of the request that gave it."""

    data: bytes
    param: str


Part: TypeAlias = str | Image | File


@dataclass(frozen=True)
class Turn:
    """What one side said, in its order."""

    role: Role
    parts: tuple[Part, ...]


def of_chat(body: ChatCompletion) -> list[Turn]:
    """The turns of a chat completion."""
    return [Turn(_ROLES[one.role], tuple(_said(one, f"messages.{i}"))) for i, one in enumerate(body.messages)]


def of_responses(body: ResponseCreation) -> list[Turn]:
    """The turns of a response; what one side says in several items is one turn."""
    turns = [Turn("system", (body.instructions,))] if body.instructions else []
    if isinstance(body.input, str):
        return [*turns, Turn("user", (body.input,))]
    for number, item in enumerate(body.input):
        role: Role = "assistant" if isinstance(item, ImageCall) else _ROLES[item.role]
        parts = tuple(_item(item, f"input.{number}"))
        if turns and turns[-1].role == role and role == "assistant":
            turns[-1] = Turn(role, (*turns[-1].parts, *parts))
        else:
            turns.append(Turn(role, parts))
    return turns


def check(turns: Sequence[Turn], limits: Limits) -> None:
    """ApiError 400 for more words or images than a request may bring."""
    words = sum(len(part) for turn in turns for part in turn.parts if isinstance(part, str))
    images = sum(not isinstance(part, str) for turn in turns for part in turn.parts)
    if words > limits.text:
        raise bad(f"the conversation has {words:,} characters; at most {limits.text:,} are taken", code="text_too_long")
    if images > limits.images:
        raise bad(f"the conversation has {images} images; at most {limits.images} are taken", code="too_many_images")


async def with_files(turns: Sequence[Turn], fetcher: Fetcher | None) -> list[Turn]:
    """The same with the bytes of all images. `fetcher`: None where no other server is asked for any; what it fetches of
    one request is together no more than it takes of one image."""
    found = []
    for turn in turns:
        parts = []
        for part in turn.parts:
            parts.append(file := await _file(part, fetcher))
            if fetcher is not None and isinstance(file, File) and _is_elsewhere(part):
                fetcher = replace(fetcher, size=fetcher.size - len(file.data))
        found.append(Turn(turn.role, tuple(parts)))
    return found


def _is_elsewhere(part: Part) -> bool:
    return isinstance(part, Image) and part.url[:5].lower() != "data:"


async def _file(part: Part, fetcher: Fetcher | None) -> Part:
    if not isinstance(part, Image):
        return part
    if not _is_elsewhere(part):
        return File(pictures.of_data_url(part.url, part.param), part.param)
    if fetcher is None:
        raise bad(
            f"{part.param}: this server fetches no images from elsewhere: send the image itself, as a data URL",
            part.param,
            "remote_images_off",
        )
    try:
        return File(await fetcher.fetch(part.url), part.param)
    except ApiError as error:
        error.param = part.param
        raise


def _said(message: ChatMessage, where: str) -> Iterator[Part]:
    content = message.content
    if isinstance(content, str):
        yield content
    else:
        yield from (_content(one, f"{where}.content.{i}") for i, one in enumerate(content or ()))
    if isinstance(message, AssistantMessage):
        yield from (_content(one, f"{where}.images.{i}") for i, one in enumerate(message.images or ()))


def _content(part: TextContent | ImageContent, where: str) -> Part:
    return part.text if isinstance(part, TextContent) else Image(part.image_url.url, f"{where}.image_url")


def _item(item: InputItem, where: str) -> Iterator[Part]:
    if isinstance(item, ImageCall):
        yield File(pictures.of_base64(item.result, f"{where}.result"), f"{where}.result")
    elif isinstance(item.content, str):
        yield item.content
    else:
        for number, part in enumerate(item.content):
            where_part = f"{where}.content.{number}.image_url"
            yield part.text if isinstance(part, InputText) else Image(part.image_url, where_part)
