"""The codes that a picture was drawn with, kept inside its PNG, beside the pixels; it knows neither models nor rounds.

Painted and read again, a picture may have other codes than it was drawn with; who learns from what was drawn needs the
very ones. They are good for these pixels only: a picture that somebody changed has none.
"""

import hashlib
import json
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from illume.core.errors import DataError
from illume.core.files import parse_json
from illume.images.given import opened

Codes = tuple[tuple[int, ...], ...]  # row-major, one tuple a level
NAME = "illume:codes"


def noted(picture: Image.Image, codes: Codes) -> PngInfo:
    """What `save_picture` writes beside the pixels."""
    notes = PngInfo()
    notes.add_text(NAME, json.dumps({"pixels": _digest(picture), "codes": codes}))
    return notes


def drawn_codes(path: Path) -> Codes | None:
    """The codes of a picture as they were drawn; None where it has none, or its pixels have changed since.

    DataError where the file is no picture, or what it says of codes cannot be read.
    """
    picture = opened(path)
    with Image.open(path) as file:
        said = getattr(file, "text", {}).get(NAME)
    if said is None:
        return None
    try:
        found = parse_json(said)
        codes = tuple(tuple(int(code) for code in level) for level in found["codes"])
        return codes if found["pixels"] == _digest(picture) else None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: its {NAME} cannot be read: {error}") from error


def _digest(picture: Image.Image) -> str:
    return hashlib.blake2b(picture.tobytes(), digest_size=12).hexdigest()
