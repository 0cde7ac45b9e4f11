"""What a model may be asked to do, and the request that each makes of the model's own values and a person's.

It does not know what is said in a task, nor how an answer comes about.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from illume.core.errors import RequestError
from illume.generate.folder import Generation
from illume.generate.request import Mode, Number, Pixels, Request, Sampling, Scale
from illume.vocab.messages import ImageFrame, Message

Ability = Literal["say", "draw", "edit", "ask", "assess"]
MODES: Mapping[Ability, Mode] = {"say": "auto", "draw": "image", "edit": "image", "ask": "text", "assess": "text"}

# How a person wants to be answered: in words and pictures, or in words alone.
ANSWERING: Mapping[str, Ability] = {"auto": "say", "text": "ask"}


def one_of(value: object, known: Iterable[str], what: str) -> str:
    """A name among those that are known. RequestError for any other, which would be taken for one of them."""
    names = tuple(known)
    if value not in names:
        raise RequestError(f"{what} is one of {', '.join(map(repr, names))}, not {value!r:.80}")
    return str(value)


@dataclass(frozen=True)
class Settings:
    """What a person may ask for; None is the model's own value."""

    guidance: Scale | None = None
    temperature: Number | None = None
    top_k: int | None = None
    top_p: Number | None = None
    max_new_text: int | None = None

    def over(self, own: Sampling) -> Sampling:
        """A model's own sampling, changed where something is asked for."""
        given: dict[str, Any] = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
        return replace(own, **{name: value for name, value in given.items() if value is not None})


def request_of(
    ability: Ability,
    messages: Sequence[Message],
    images: Mapping[str, Pixels],
    seed: int,
    settings: Settings,
    frame: ImageFrame,
    generation: Generation,
) -> Request:
    """The request of an ability; `frame` is the one of drawn images, `generation` the model's own values.

    RequestError for a setting that this ability has no use for.
    """
    mode = MODES[ability]
    if mode == "text" and settings.guidance is not None:
        raise RequestError("guidance is for pictures; an answer in words has none")
    if mode == "image" and settings.max_new_text is not None:
        raise RequestError("max_new_text is for words; a drawing has none")
    drawing = generation.edit if ability == "edit" else generation.draw
    text = generation.text if mode == "image" else settings.over(generation.text)
    regions = {"text": text, "image": settings.over(drawing.sampling)}
    scale = drawing.guidance if settings.guidance is None else settings.guidance
    guidance, drawn = (1.0, None) if mode == "text" else (scale, frame)
    return Request(tuple(messages), mode, drawn, False, regions, guidance, seed, settings.max_new_text, images)
