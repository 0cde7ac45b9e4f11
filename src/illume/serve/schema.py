"""The bodies of requests: what OpenAI's clients send, field by field, and what is added; it does nothing with them.

A field that nobody knows is an error, and so is a known one whose wish this server cannot fulfil: nothing is ignored
silently but what asks for nothing (a user's name, metadata, the default of something).
"""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from illume.generate.request import LEAST_TEMPERATURE, LEAST_TOP_P
from illume.serve.pictures import Kind

MOST_SEED = 2**53 - 1024  # beyond 2**53 JSON's numbers are not exact everywhere; further pictures have the next seeds
MOST_PROMPT = 32_000  # characters, as OpenAI's
_MOST_GUIDANCE, _MOST_TEMPERATURE, _MOST_TOP_K = 100.0, 10.0, 1_000_000


def never(why: str) -> Any:
    """The type of a field that is known, and can only be left out."""

    def refuse(value: object) -> None:
        if value not in (None, [], {}, ""):
            raise ValueError(f"is not supported: {why}")

    return Annotated[Any, AfterValidator(refuse), WithJsonSchema({"type": "null"})]


def only(*values: object, why: str) -> Any:
    """The type of a field that is known, and has only these values here, besides null."""

    def check(value: object) -> object:
        if value is not None and not any(value == one and type(value) is type(one) for one in values):
            raise ValueError(f"can only be {', '.join(map(repr, values))}: {why}")
        return value

    return Annotated[Any, AfterValidator(check), WithJsonSchema({"enum": [*values, None]})]


def _warm(temperature: float) -> float:
    if 0 < temperature < LEAST_TEMPERATURE:
        raise ValueError(f"is 0, for the likeliest, or {LEAST_TEMPERATURE:g} or more")
    return temperature


Label: TypeAlias = Annotated[str, Field(max_length=1000)] | None
Metadata: TypeAlias = dict[str, str] | None
Seed: TypeAlias = Annotated[int, Field(ge=0, le=MOST_SEED)] | None
Guidance: TypeAlias = Annotated[float, Field(ge=0, le=_MOST_GUIDANCE, allow_inf_nan=False)] | None
Warmth: TypeAlias = Annotated[float, Field(ge=0, le=_MOST_TEMPERATURE, allow_inf_nan=False), AfterValidator(_warm)]
Temperature: TypeAlias = Warmth | None
TopK: TypeAlias = Annotated[int, Field(ge=0, le=_MOST_TOP_K)] | None
TopP: TypeAlias = Annotated[float, Field(ge=LEAST_TOP_P, le=1, allow_inf_nan=False)] | None
Count: TypeAlias = Annotated[int, Field(ge=1, le=10)] | None
Tokens: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000)] | None
Percent: TypeAlias = Annotated[int, Field(ge=0, le=100)] | None
Few: TypeAlias = Annotated[int, Field(ge=0, le=3)] | Literal["rows"] | None
Size: TypeAlias = Annotated[str, Field(pattern=r"^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$")] | None

ONE_QUALITY = "this model draws in one quality"
OPAQUE = "this model draws no transparency"


class Body(BaseModel):
    """Any body: its own fields, of their own types, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class Sampling(Body):
    """How an answer is sampled: None is the model's own value, a seed of None another one each time."""

    seed: Seed = None
    guidance_scale: Guidance = None
    temperature: Temperature = None
    top_k: TopK = None
    top_p: TopP = None

    @property
    def says_how(self) -> bool:
        """Whether any of this is asked for."""
        return any(getattr(self, name) is not None for name in Sampling.model_fields)


class File(Body):
    """How pictures are sent back."""

    output_format: Kind | None = None
    output_compression: Percent = None

    @model_validator(mode="after")
    def _compressible(self) -> "File":
        if self.output_format in (None, "png") and self.output_compression not in (None, 100):
            raise ValueError("output_compression is for output_format webp and jpeg: a png has one quality")
        return self


class Drawing(Sampling, File):
    """What images/generations and images/edits share."""

    prompt: Annotated[str, Field(min_length=1, max_length=MOST_PROMPT)]
    model: Label = None
    n: Count = None
    size: Size = None
    negative_prompt: Annotated[str, Field(max_length=MOST_PROMPT)] | None = None
    stream: bool | None = None
    partial_images: Few = None
    quality: only("auto", "standard", why=ONE_QUALITY) = None  # type: ignore[valid-type]
    background: only("auto", "opaque", why=OPAQUE) = None  # type: ignore[valid-type]
    moderation: only("auto", "low", why="nothing is moderated here") = None  # type: ignore[valid-type]
    response_format: only("b64_json", why="pictures are sent, not kept behind an address") = None  # type: ignore[valid-type]
    complexity: never(ONE_QUALITY) = None  # type: ignore[valid-type]
    frame_count: never("pictures are still") = None  # type: ignore[valid-type]
    frame_duration_ms: never("pictures are still") = None  # type: ignore[valid-type]
    svg: never("pictures are made of pixels") = None  # type: ignore[valid-type]
    user: Label = None
    safety_identifier: Label = None

    @model_validator(mode="after")
    def _streamed(self) -> "Drawing":
        if self.partial_images and not self.stream:
            raise ValueError("partial_images come with stream=true")
        return self


class ImageGeneration(Drawing):
    """The body of POST /v1/images/generations."""

    style: never("this model has one style") = None  # type: ignore[valid-type]


class ImageEdit(Drawing):
    """The fields of POST /v1/images/edits, besides its files; a form's values are texts, read as what they spell."""

    model_config = ConfigDict(strict=False)

    input_fidelity: never("this model looks at an image in one way") = None  # type: ignore[valid-type]
