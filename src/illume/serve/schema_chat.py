"""The body of POST /v1/chat/completions, and images that come back as OpenRouter sends them; see `schema`."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, model_validator

from illume.serve.schema import Body, Count, File, Label, Metadata, Sampling, Tokens, never, only

_WORDS = "answers are words and pictures"
_NO_TOOLS = "this model calls no tools"
_AS_IS = "this model samples by temperature, top_k and top_p alone"


class ImageUrl(Body):
    """Where an image is: a data URL, or, where the server allows it, an address."""

    url: str
    detail: only("auto", "low", "high", "original", why="images are read in one way") = None  # type: ignore[valid-type]


class TextContent(Body):
    """Words."""

    type: Literal["text"]
    text: str


class ImageContent(Body):
    """An image. `index` is what images of an answer carry."""

    type: Literal["image_url"]
    image_url: ImageUrl
    index: int | None = None


Content: TypeAlias = Annotated[TextContent | ImageContent, Field(discriminator="type")]
Contents: TypeAlias = Annotated[list[Content], Field(max_length=1000)]


class SystemMessage(Body):
    """What is said before the conversation."""

    role: Literal["system", "developer"]
    content: str | Annotated[list[TextContent], Field(max_length=1000)]
    name: Label = None


class UserMessage(Body):
    """A person's turn."""

    role: Literal["user"]
    content: str | Contents
    name: Label = None


class AssistantMessage(Body):
    """An earlier answer, with its pictures where they stand, or in `images`, behind its words, as they were sent."""

    role: Literal["assistant"]
    content: str | Contents | None = None
    images: Annotated[list[ImageContent], Field(max_length=1000)] | None = None
    name: Label = None
    refusal: never("it is an answer that was not given") = None  # type: ignore[valid-type]
    audio: never(_WORDS) = None  # type: ignore[valid-type]
    tool_calls: never(_NO_TOOLS) = None  # type: ignore[valid-type]
    function_call: never(_NO_TOOLS) = None  # type: ignore[valid-type]
    annotations: Any = None


ChatMessage: TypeAlias = Annotated[SystemMessage | UserMessage | AssistantMessage, Field(discriminator="role")]


class StreamOptions(Body):
    """What a stream tells besides."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ResponseFormat(Body):
    """The form of an answer."""

    type: Literal["text"]


class ChatCompletion(Sampling, File):
    """The body. modalities: ["text"] words, ["image"] one picture, both: words and pictures as they come."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1000)]
    model: Label = None
    modalities: Annotated[list[Literal["text", "image"]], Field(min_length=1, max_length=2)] | None = None
    n: Count = None
    max_tokens: Tokens = None
    max_completion_tokens: Tokens = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    stop: never("an answer ends where the model ends it, or by max_tokens") = None  # type: ignore[valid-type]
    logprobs: only(False, why="it tells no probabilities") = None  # type: ignore[valid-type]
    top_logprobs: only(0, why="it tells no probabilities") = None  # type: ignore[valid-type]
    logit_bias: never(_AS_IS) = None  # type: ignore[valid-type]
    frequency_penalty: only(0, 0.0, why=_AS_IS) = None  # type: ignore[valid-type]
    presence_penalty: only(0, 0.0, why=_AS_IS) = None  # type: ignore[valid-type]
    tools: never(_NO_TOOLS) = None  # type: ignore[valid-type]
    tool_choice: only("none", "auto", why=_NO_TOOLS) = None  # type: ignore[valid-type]
    functions: never(_NO_TOOLS) = None  # type: ignore[valid-type]
    function_call: only("none", "auto", why=_NO_TOOLS) = None  # type: ignore[valid-type]
    audio: never(_WORDS) = None  # type: ignore[valid-type]
    prediction: never("nothing can be predicted for it") = None  # type: ignore[valid-type]
    web_search_options: never(_NO_TOOLS) = None  # type: ignore[valid-type]
    reasoning_effort: only("none", why="this model does not reason aloud") = None  # type: ignore[valid-type]
    verbosity: only("medium", why="this model has one way of speaking") = None  # type: ignore[valid-type]
    service_tier: only("auto", "default", why="there is one tier") = None  # type: ignore[valid-type]
    store: only(False, why="nothing is kept") = None  # type: ignore[valid-type]
    moderation: never("nothing is moderated here") = None  # type: ignore[valid-type]
    parallel_tool_calls: bool | None = None
    metadata: Metadata = None
    user: Label = None
    safety_identifier: Label = None
    prompt_cache_key: Label = None

    @model_validator(mode="after")
    def _consistent(self) -> "ChatCompletion":
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("max_tokens and max_completion_tokens say the same: give one")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options come with stream=true")
        if self.modalities is not None and len(set(self.modalities)) < len(self.modalities):
            raise ValueError("modalities: each at most once")
        if self.messages[-1].role != "user":
            raise ValueError("messages: the last one is the user's, which is answered")
        return self

    @model_validator(mode="after")
    def _of_use(self) -> "ChatCompletion":
        wanted = set(self.modalities or ("text",))
        if wanted == {"image"} and (self.max_tokens or self.max_completion_tokens) is not None:
            raise ValueError("max_tokens and max_completion_tokens are for words, and modalities asks for none")
        if wanted == {"text"} and (self.output_format or self.output_compression) is not None:
            raise ValueError("output_format and output_compression are for pictures, and modalities asks for none")
        return self
