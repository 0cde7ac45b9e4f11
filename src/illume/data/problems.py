"""What cannot be used in a data set, and whether to stop at it or to list it and go on; it does not know why."""

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from illume.core.errors import DataError

OnInvalid = Literal["raise", "skip"]


class Problem(NamedTuple):
    """Something that cannot be used: where it is (file:line, or an image's path) and what is wrong with it."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class Placed(Protocol):
    """Something that remembers where it was read."""

    @property
    def where(self) -> str: ...


T = TypeVar("T", bound=Placed)


def usable(items: Iterable[T], check: Callable[[T], Any], on_invalid: OnInvalid) -> tuple[list[T], list[Problem]]:
    """The items for which `check` raises no DataError, and what it says of the others.

    With `on_invalid="raise"` the first of them is raised instead, its place before what is wrong.
    """
    good: list[T] = []
    problems: list[Problem] = []
    for item in items:
        try:
            check(item)
        except DataError as error:
            if on_invalid == "raise":
                raise DataError(f"{item.where}: {error}") from error
            problems.append(Problem(item.where, str(error)))
        else:
            good.append(item)
    return good, problems
