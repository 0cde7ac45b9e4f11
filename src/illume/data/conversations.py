"""LLaVA's conversations, and ShareGPT's without images: a JSON list, or JSON lines; no image is opened here.

    {"id": "7", "image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\\nWhat is it?"},
                                                    {"from": "gpt", "value": "A cat."}]}

`image` (or `images`) is one path or a list of them, and `<image>` stands once for each, in order, wherever it is shown;
in an answer of `gpt` it is drawn. After haotian-liu/LLaVA, docs/Finetune_Custom_Data.md.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from illume.core.errors import DataError
from illume.data.collection import Row
from illume.data.folder_files import Files, FolderFiles
from illume.data.item_rows import item_rows
from illume.data.json_text import kind_of, string
from illume.data.records import Record, Turn, check_turns

IMAGE = "<image>"
READ = ("id", "image", "images", "system", "conversations")

Speaker = Literal["system", "user", "assistant"]
SPEAKERS: dict[object, Speaker] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}


class Conversations:
    """The conversations of `path`; their images are paths relative to `folder` (by default where `path` is)."""

    kind = "conversations"

    def __init__(self, path: Path, folder: Path | None = None) -> None:
        self.path = path
        self.files: Files = FolderFiles(folder if folder is not None else path.parent)
        self._ignored: dict[str, None] = {}

    @property
    def ignored(self) -> tuple[str, ...]:
        return tuple(self._ignored)

    def rows(self) -> Iterator[Row]:
        return item_rows(self.path, "a conversation", READ, self._ignored, to_record)


def to_record(conversation: Mapping[str, object], where: str) -> Record:
    """The record that a conversation is. DataError says what is wrong."""
    if "conversations" not in conversation:
        raise DataError("the field 'conversations' is missing")
    images = _images(conversation)
    turns = _turns(conversation)
    shown = sum(isinstance(part, int) for turn in turns for part in turn.parts)
    if shown != len(images):
        raise DataError(f"{IMAGE} stands {shown} times in the conversation, but it has {len(images)} images")
    check_turns(turns, "conversations")
    return Record("chat", images=images, messages=turns, id=_identity(conversation.get("id")), where=where)


def _images(conversation: Mapping[str, object]) -> tuple[str, ...]:
    if "image" in conversation and "images" in conversation:
        raise DataError("it has both 'image' and 'images': one of them is enough")
    value = conversation.get("image", conversation.get("images"))
    given = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(string(name, f"image[{i}]") for i, name in enumerate(given))


def _turns(conversation: Mapping[str, object]) -> tuple[Turn, ...]:
    said = conversation["conversations"]
    if not isinstance(said, list) or not said:
        raise DataError("conversations has to be a list with at least one turn")
    system = [Turn("system", (string(conversation["system"], "system"),))] if conversation.get("system") else []
    turns, shown = list(system), 0
    for i, turn in enumerate(said):
        speaker, value = _said(turn, f"conversations[{i}]")
        parts = _parts(value, shown)
        shown += sum(isinstance(part, int) for part in parts)
        turns.append(Turn(speaker, parts))
    return tuple(turns)


def _said(turn: object, where: str) -> tuple[Speaker, str]:
    if not isinstance(turn, Mapping):
        raise DataError(f"{where} has to be an object, not {kind_of(turn)}")
    for name in ("from", "value"):
        if name not in turn:
            raise DataError(f"{where} needs the field {name!r}")
    speaker = turn["from"]
    if not isinstance(speaker, str) or speaker not in SPEAKERS:
        raise DataError(f"{where}: nobody is called {speaker!r}; there are {', '.join(map(str, SPEAKERS))}")
    return SPEAKERS[speaker], string(turn["value"], f"{where}.value")


def _parts(value: str, shown: int) -> tuple[str | int, ...]:
    """Texts, and the numbers of images from `shown` on; the line breaks around a placeholder belong to it."""
    parts: list[str | int] = []
    for i, piece in enumerate(re.split(rf"\n?{IMAGE}\n?", value)):
        if i:
            parts.append(shown + i - 1)
        if piece.strip():
            parts.append(piece)
    return tuple(parts)


def _identity(value: object) -> str | None:
    """Ids are often numbers; here they only name a conversation."""
    if value is None or isinstance(value, bool):
        return None
    return str(value) if isinstance(value, int | float) else string(value, "id")
