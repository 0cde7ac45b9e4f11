"""Reading the config.json of a part of a model folder; it does not know the parts."""

import json
from pathlib import Path
from typing import Any

from illume.core.errors import ModelError


def read_config(path: Path, format_version: int) -> dict[str, Any]:
    """The config.json of a part of a model. ModelError where it is missing, no JSON, or of another format version."""
    try:
        plain = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    found = plain.get("format_version") if isinstance(plain, dict) else None
    if found != format_version:
        raise ModelError(f"{path}: format_version {found!r}; this program reads {format_version}")
    return dict(plain)
