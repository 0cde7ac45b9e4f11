"""The shapes of answers, for the OpenAPI document; answers are put together elsewhere, as plain values."""

from typing import Any, Literal

from pydantic import BaseModel


class ErrorFields(BaseModel):
    """What went wrong. `param`: the field to blame."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(BaseModel):
    """An error."""

    error: ErrorFields


class TokenDetails(BaseModel):
    """Ids of text and of images."""

    text_tokens: int
    image_tokens: int


class ImageUsage(BaseModel):
    """What pictures took."""

    input_tokens: int
    input_tokens_details: TokenDetails
    output_tokens: int
    output_tokens_details: TokenDetails
    total_tokens: int


class Picture(BaseModel):
    """A picture, and the seed that draws it again."""

    b64_json: str
    seed: int


class Images(BaseModel):
    """Pictures."""

    created: int
    data: list[Picture]
    size: str
    quality: str
    background: str
    output_format: str
    usage: ImageUsage


class Chat(BaseModel):
    """A chat completion."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: dict[str, Any]


class Created(BaseModel):
    """A response."""

    id: str
    object: Literal["response"]
    created_at: int
    model: str
    status: Literal["completed", "incomplete"]
    output: list[dict[str, Any]]
    usage: dict[str, Any]


class Model(BaseModel):
    """A model. context_length: ids of a conversation with its answer; image_size: (height, width) of its pictures."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    context_length: int
    image_size: tuple[int, int]
    partial_images: int


class Models(BaseModel):
    """All models."""

    object: Literal["list"]
    data: list[Model]


class Health(BaseModel):
    """Whether requests are answered."""

    status: Literal["ok", "draining", "failed"]


_ABOUT = {
    400: "a parameter is wrong, or cannot be honoured", 401: "no key of this server", 403: "a page of another origin",
    404: "no such path or model", 405: "another method", 408: "the body took too long", 413: "too many bytes or pixels",
    422: "an image cannot be used", 429: "too much at once: Retry-After says when to come again",
    500: "something went wrong here", 503: "not serving",
}  # fmt: skip
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error, "description": about} for status, about in _ABOUT.items()
}
STREAMED: dict[int | str, dict[str, Any]] = ERRORS | {
    200: {
        "description": "the answer; with stream=true its events",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}
