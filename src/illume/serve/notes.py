"""What is noted of a request on its way, for its line in the log."""

from collections.abc import MutableMapping
from typing import Any


def notes_of(scope: MutableMapping[str, Any]) -> dict[str, Any]:
    """The notes of a request, by its ASGI scope."""
    found: dict[str, Any] = scope.setdefault("illume.notes", {})
    return found
