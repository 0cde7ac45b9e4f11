"""What is asked of the engine and what comes back: requests, sampling values, results.

It knows neither tensors of a model nor how an id is chosen.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from jaxtyping import Float
from torch import Tensor

from illume.core.errors import RequestError
from illume.vocab.messages import ImageFrame, ImagePart, Message, Part, TextPart

Mode: TypeAlias = Literal["text", "image", "auto"]
Key: TypeAlias = int
Number: TypeAlias = float | int
Scale: TypeAlias = Number | tuple[Number, ...]  # of guidance: one for all levels of an image, or one for each
Pixels: TypeAlias = Float[Tensor, "3 _ _"]  # height and width: several of them need not agree


def name_of(pixels: Pixels) -> str:
    """The same for equal pictures alone."""
    values = pixels.detach().float().cpu().contiguous().numpy()
    return hashlib.blake2b(values.tobytes(), digest_size=16, person=repr(values.shape).encode()[:16]).hexdigest()


LEAST_TEMPERATURE, MOST_TEMPERATURE, LEAST_TOP_P = 1e-4, 1e4, 1e-9  # in float32, logits over these are still numbers


@dataclass(frozen=True)
class Sampling:
    """How one id is drawn: `temperature` (0: the likeliest), then `top_k` (0: off), then `top_p` (1: off)."""

    temperature: Number = 1.0
    top_k: int = 0
    top_p: Number = 1.0

    def __post_init__(self) -> None:
        if self.temperature != 0 and not LEAST_TEMPERATURE <= self.temperature <= MOST_TEMPERATURE:
            raise RequestError(
                f"temperature must be 0 (the likeliest) or a number from {LEAST_TEMPERATURE:g} to "
                f"{MOST_TEMPERATURE:g}, not {self.temperature}"
            )
        if self.top_k < 0:
            raise RequestError(f"top_k must be at least 0 (0 switches it off), not {self.top_k}")
        if not LEAST_TOP_P <= self.top_p <= 1:
            raise RequestError(f"top_p must be from {LEAST_TOP_P:g} to 1 (1 switches it off), not {self.top_p}")


GREEDY = Sampling(temperature=0.0)


@dataclass(frozen=True)
class Request:
    """One answer asked for: a conversation that ends with the person's turn, and how to answer it.

    mode: "text", "image" (exactly one) or "auto" (both, in any order). frame: the drawn image's grids, where an image
    may come. sampling: by region, "text", "image" (every level) or "level0", "level1"...; a region not named is sampled
    at temperature 1. guidance: scale of classifier-free guidance inside images, or one for each level; 1 is none. seed:
    the same request with the same seed gives the same ids. max_new_text: most ids of text in the answer; None is as
    many as fit. images: pixels in [-1, 1] by the identity that the messages' image parts carry. against: what guidance
    leads away from, another conversation of the same images; None is the same without its instruction.
    """

    messages: tuple[Message, ...]
    mode: Mode = "text"
    frame: ImageFrame | None = None
    sized: bool = False
    sampling: Mapping[str, Sampling] = field(default_factory=dict)
    guidance: Scale = 1.0
    seed: int = 0
    max_new_text: int | None = None
    images: Mapping[str, Pixels] = field(default_factory=dict, compare=False)
    against: tuple[Message, ...] | None = None

    def __post_init__(self) -> None:
        if not self.messages:
            raise RequestError("a request needs at least one message")
        if self.mode == "image" and self.frame is None:
            raise RequestError('a request of mode "image" needs a frame: the grids of the image to draw')
        if not self.scales or not all(0 <= scale < float("inf") for scale in self.scales):
            raise RequestError(f"guidance must be a number of at least 0, or one for each level, not {self.guidance}")
        if self.max_new_text is not None and self.max_new_text < 1:
            raise RequestError(f"max_new_text must be at least 1, not {self.max_new_text}")
        if self.against is not None and not self.guided:
            raise RequestError("nothing leads away from anything without guidance: give a scale other than 1")
        for region in self.sampling:
            if not re.fullmatch(r"text|image|level\d+", region):
                raise RequestError(f'sampling is given for "text", "image", "level0", "level1"..., not for {region!r}')

    @property
    def scales(self) -> tuple[Number, ...]:
        """The scales of guidance, a level each or one for all."""
        return self.guidance if isinstance(self.guidance, tuple) else (self.guidance,)

    @property
    def guided(self) -> bool:
        """Whether an image of this request needs a second, unconditional row."""
        return self.mode != "text" and any(scale != 1 for scale in self.scales)

    def guidance_of(self, region: str) -> Number:
        """The scale in a region of the vocabulary: a level's own; a frame's other ids have the first level's."""
        level = int(region.removeprefix("level")) if region.startswith("level") else 0
        return self.scales[level] if isinstance(self.guidance, tuple) else self.guidance

    def sampling_of(self, region: str) -> Sampling:
        """The sampling values of a region of the vocabulary: "text" or "level0", "level1"..."""
        shared = self.sampling.get("image") if region != "text" else None
        return self.sampling.get(region) or shared or Sampling()


@dataclass(frozen=True)
class Usage:
    """How many ids a request took: read (`prompt_ids`), and written as text and as images (frames included).

    cached_ids: of the prompt's so many did not have to be read, as another row held them.
    """

    prompt_ids: int
    text_ids: int
    image_ids: int
    cached_ids: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Partial:
    """An image being drawn, the answer's `number`-th from 0: its codes so far (row-major, one tuple a level), which are
    `rows` finished rows `of` so many, over all levels."""

    number: int
    frame: ImageFrame
    codes: tuple[tuple[int, ...], ...]
    rows: int
    of: int


@dataclass(frozen=True)
class Progress:
    """How far an answer is: whether it was `begun` or waits for rows, its words and how many images are finished, the
    one being drawn, what it took so far; the finished images with their codes, where more may follow (mode "auto")."""

    begun: bool
    text: str
    images: int
    drawing: Partial | None
    usage: Usage
    drawn: tuple[ImagePart, ...] = ()


@dataclass(frozen=True)
class Load:
    """What an engine is doing: requests waiting and running, rows there are and busy; prompt positions that were taken
    from other rows instead of being read, since it was built."""

    waiting: int
    running: int
    rows: int
    busy_rows: int
    reused: int


@dataclass(frozen=True)
class Result:
    """The answer to one request.

    ids: what was generated, with the read frames of images that were looked at again. parts: the same, parsed.
    finished: "end" (the model ended its turn) or "length" (max_new_text or the row's length was reached, or there is an
    error). error: why a drawing that the model was to look at could not be painted; the answer goes no further.
    images: pixels of the images that the engine had to paint for the model to read, by the image of their part.
    """

    key: Key
    ids: tuple[int, ...]
    parts: tuple[Part, ...]
    finished: Literal["end", "length"]
    usage: Usage
    images: Mapping[str, Pixels] = field(default_factory=dict, compare=False)
    error: BaseException | None = None

    @property
    def text(self) -> str:
        """Its words, without its images."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))
