"""What a judge is: it is given drawings and answers with a verdict or a failure each; it does not know who it is.

A failure is no verdict: nobody may count it as a pass, and it says why there is none.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol, get_args

from PIL import Image

from illume.core.config import plain_hash
from illume.images.given import ImageLike, opened
from illume.tasks.verdict import Verdict

FailureKind = Literal["refused", "malformed", "unavailable", "unfit"]
FAILURES: tuple[FailureKind, ...] = get_args(FailureKind)
"""refused: the judge declined. malformed: its answer is no verdict. unavailable: there was no answer, however often it
was asked. unfit: this judge cannot judge such a drawing (it does not read the prompt, or does not know the class).
"""


@dataclass(frozen=True)
class Drawing:
    """A picture and the prompt that it should show.

    `key` names it among others. `spec` is what the prompt means, for a judge that needs it told: GenEval's metadata.
    """

    prompt: str
    image: ImageLike
    key: str = ""
    spec: Mapping[str, Any] | None = None

    def picture(self) -> Image.Image:
        """The RGB picture. DataError, with the drawing's key, where there is none."""
        return opened(self.image)

    @cached_property
    def content(self) -> str:
        """24 hexadecimal digits naming prompt, spec and pixels: two drawings that share them are one question."""
        return content_of(self.prompt, self.spec, self.picture())


@dataclass(frozen=True)
class Failure:
    """Why there is no verdict."""

    kind: FailureKind
    reason: str


Outcome = Verdict | Failure


class Judgement(NamedTuple):
    """What came out for a drawing."""

    drawing: Drawing
    outcome: Outcome

    @property
    def passed(self) -> bool:
        """Whether there is a verdict, and it says that the drawing shows its prompt."""
        return passes(self.outcome)


def passes(outcome: Outcome) -> bool:
    """A verdict whose every applicable criterion passed; never a failure."""
    return isinstance(outcome, Verdict) and outcome.overall


@dataclass(frozen=True)
class Identity:
    """Who judges: a name, and the settings that its verdicts depend on, as plain data."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """12 hexadecimal digits: judges that share them give the same verdicts, up to chance of their own."""
        return plain_hash({"name": self.name, "settings": self.settings})

    def __str__(self) -> str:
        return f"{self.name}-{self.fingerprint}"


class Judge(Protocol):
    """One that judges. What is wrong with one drawing is its failure; what is wrong with all of them is raised."""

    @property
    def identity(self) -> Identity:
        """Who its verdicts are by."""

    def judge(self, drawings: Iterable[Drawing]) -> Iterator[Judgement]:
        """One judgement a drawing, each as soon as it is there, in any order. Closing the iterator stops the judge."""


def content_of(prompt: str, spec: Mapping[str, Any] | None, picture: Image.Image) -> str:
    """What `Drawing.content` is, of a picture that is open already."""
    said = json.dumps([prompt, spec, picture.size], sort_keys=True, allow_nan=False).encode()
    digest = hashlib.blake2b(said, digest_size=12)
    digest.update(picture.tobytes())
    return digest.hexdigest()
