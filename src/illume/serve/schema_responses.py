"""The body of POST /v1/responses, with the image_generation tool as the one tool there is; see `schema`."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, model_validator

from illume.serve.schema import (
    ONE_QUALITY,
    OPAQUE,
    Body,
    Few,
    File,
    Label,
    Metadata,
    Sampling,
    Size,
    Tokens,
    never,
    only,
)

_STATELESS = "nothing is kept: send the whole conversation as `input`"
_ONE_TOOL = "image_generation is the one tool there is"


class InputText(Body):
    """Words."""

    type: Literal["input_text", "output_text", "text"]
    text: str
    annotations: Any = None
    logprobs: Any = None


class InputImage(Body):
    """An image: a data URL, or, where the server allows it, an address."""

    type: Literal["input_image"]
    image_url: str
    detail: only("auto", "low", "high", "original", why="images are read in one way") = None  # type: ignore[valid-type]
    file_id: never("no files are kept") = None  # type: ignore[valid-type]


InputContent: TypeAlias = Annotated[InputText | InputImage, Field(discriminator="type")]


class InputMessage(Body):
    """A turn, or a stretch of one."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | Annotated[list[InputContent], Field(max_length=1000)]
    id: Label = None
    status: Label = None
    phase: Label = None


class ImageCall(Body):
    """A picture that an earlier answer drew, in base64."""

    type: Literal["image_generation_call"]
    result: str
    id: Label = None
    status: only("completed", why="a picture that was not finished is none") = None  # type: ignore[valid-type]
    action: Any = None
    background: Any = None
    output_format: Any = None
    quality: Any = None
    size: Any = None
    revised_prompt: Any = None
    svg_usage: Any = None
    error: never("a picture that was not finished is none") = None  # type: ignore[valid-type]


InputItem: TypeAlias = ImageCall | InputMessage


class ImageTool(Sampling, File):
    """The tool that draws, with what can be said of its pictures."""

    type: Literal["image_generation"]
    model: Label = None
    partial_images: Few = None
    size: Size = None
    quality: only("auto", "standard", why=ONE_QUALITY) = None  # type: ignore[valid-type]
    background: only("auto", "opaque", why=OPAQUE) = None  # type: ignore[valid-type]
    moderation: only("auto", "low", why="nothing is moderated here") = None  # type: ignore[valid-type]
    action: only("auto", "generate", "edit", why="there is nothing else") = None  # type: ignore[valid-type]
    input_fidelity: never("this model looks at an image in one way") = None  # type: ignore[valid-type]
    input_image_mask: never("masks are for /v1/images/edits") = None  # type: ignore[valid-type]
    complexity: never(ONE_QUALITY) = None  # type: ignore[valid-type]
    frame_count: never("pictures are still") = None  # type: ignore[valid-type]
    frame_duration_ms: never("pictures are still") = None  # type: ignore[valid-type]
    svg: never("pictures are made of pixels") = None  # type: ignore[valid-type]


class ToolChoice(Body):
    """The tool has to be used."""

    type: Literal["image_generation"]


class TextForm(Body):
    """The form of the words."""

    type: Literal["text"]


class TextOptions(Body):
    """What can be said of the words."""

    format: TextForm | None = None
    verbosity: only("medium", why="this model has one way of speaking") = None  # type: ignore[valid-type]


class StreamOptions(Body):
    """What a stream tells besides."""

    include_obfuscation: bool | None = None


class ResponseCreation(Sampling):
    """The body."""

    input: Annotated[str, Field(min_length=1)] | Annotated[list[InputItem], Field(min_length=1, max_length=1000)]
    model: Label = None
    instructions: str | None = None
    tools: Annotated[list[ImageTool], Field(max_length=1)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    max_output_tokens: Tokens = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    text: TextOptions | None = None
    store: only(False, why="nothing is kept") = None  # type: ignore[valid-type]
    background: only(False, why="nothing is kept, so nothing can be fetched later") = None  # type: ignore[valid-type]
    previous_response_id: never(_STATELESS) = None  # type: ignore[valid-type]
    conversation: never(_STATELESS) = None  # type: ignore[valid-type]
    prompt: never(_STATELESS) = None  # type: ignore[valid-type]
    include: never("answers are whole") = None  # type: ignore[valid-type]
    reasoning: never("this model does not reason aloud") = None  # type: ignore[valid-type]
    max_tool_calls: never(_ONE_TOOL) = None  # type: ignore[valid-type]
    top_logprobs: only(0, why="it tells no probabilities") = None  # type: ignore[valid-type]
    truncation: only("disabled", why="a conversation that is too long is refused") = None  # type: ignore[valid-type]
    service_tier: only("auto", "default", why="there is one tier") = None  # type: ignore[valid-type]
    moderation: never("nothing is moderated here") = None  # type: ignore[valid-type]
    context_management: never("a conversation that is too long is refused") = None  # type: ignore[valid-type]
    parallel_tool_calls: bool | None = None
    metadata: Metadata = None
    user: Label = None
    safety_identifier: Label = None
    prompt_cache_key: Label = None

    @model_validator(mode="after")
    def _consistent(self) -> "ResponseCreation":
        if self.tool_choice not in (None, "none", "auto") and not self.tools:
            raise ValueError("tool_choice asks for the tool image_generation: name it in tools")
        if not isinstance(self.input, str) and getattr(self.input[-1], "role", None) != "user":
            raise ValueError("input: the last item is the user's message, which is answered")
        if self.tools and self.tools[0].says_how and self.says_how:
            raise ValueError("seed, guidance_scale, temperature, top_k and top_p: in the body or in the tool")
        if self.tools and self.tools[0].partial_images and not self.stream:
            raise ValueError("tools: partial_images come with stream=true")
        if self.only_drawing and self.max_output_tokens is not None:
            raise ValueError("max_output_tokens is for words, and tool_choice asks for a picture alone")
        return self

    @property
    def drawing(self) -> bool:
        """Whether the answer may hold pictures."""
        return bool(self.tools) and self.tool_choice != "none"

    @property
    def only_drawing(self) -> bool:
        """Whether the answer is one picture."""
        return self.drawing and self.tool_choice not in (None, "auto")
