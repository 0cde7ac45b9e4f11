"""The one in-memory shape of a conversation: messages made of text, size tags and images.

It does not know how any of this becomes ids, nor what a task says.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

Grid = tuple[int, int]
"""(rows, columns) of one codebook level."""

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class ImageFrame:
    """The grids of one image, coarsest first, one a level."""

    grids: tuple[Grid, ...]

    def __post_init__(self) -> None:
        if not self.grids or any(rows < 1 or columns < 1 for rows, columns in self.grids):
            raise ValueError(f"an image frame needs one grid of at least 1x1 a level, not {self.grids}")

    @property
    def num_codes(self) -> int:
        """Codes of one image, over all levels."""
        return sum(rows * columns for rows, columns in self.grids)


@dataclass(frozen=True)
class TextPart:
    """Words. Whatever they say, they are only words: markers and braces have no power here."""

    text: str


@dataclass(frozen=True)
class SizePart:
    """A pair of size tags named in a prompt; indices of the layout's height and width ids, not pixels."""

    height: int
    width: int


@dataclass(frozen=True)
class ImagePart:
    """An image that is read or drawn.

    `codes` holds one row-major tuple a level; an image that is drawn needs them, one that is only read ignores them.
    `image` is the identity of its pixels, by which whoever fills the slots finds them; it does not count in equality.
    `sized` says that size tags open the frame when the image is drawn.
    """

    frame: ImageFrame
    codes: tuple[tuple[int, ...], ...] | None = None
    image: str | None = field(default=None, compare=False)
    sized: bool = False

    def __post_init__(self) -> None:
        if self.codes is None:
            return
        have = tuple(len(level) for level in self.codes)
        want = tuple(rows * columns for rows, columns in self.frame.grids)
        if have != want:
            raise ValueError(f"the image {self.image!r} has {have} codes in its levels, its frame needs {want}")


Part = TextPart | SizePart | ImagePart


@dataclass(frozen=True)
class Message:
    """One turn. `target` says whether it is learnt; None means: an assistant's turn is, any other is not."""

    role: Role
    parts: tuple[Part, ...]
    target: bool | None = None

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"a message's role is one of {', '.join(ROLES)}, not {self.role!r}")
        if self.target and self.role != "assistant":
            raise ValueError(f"only an assistant's message can be a target, not a {self.role}'s")

    @property
    def is_target(self) -> bool:
        """Whether this turn's content is predicted with loss."""
        return self.role == "assistant" if self.target is None else self.target
