"""Chats without images, as OpenAI's fine-tuning files hold them: JSON lines (or one list) of `messages`.

    {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello to you."}]}

Chats of the ShareGPT kind, `conversations` of `from` and `value`, are read by conversations.py.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from illume.core.errors import DataError
from illume.data.collection import Row
from illume.data.conversations import Speaker
from illume.data.folder_files import Files, FolderFiles
from illume.data.item_rows import item_rows
from illume.data.json_text import kind_of, string
from illume.data.records import Record, Turn, check_turns

READ = ("id", "messages")
READ_OF_A_MESSAGE = ("role", "content")
ROLES: dict[object, Speaker] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
NOT_LEARNT = ("tool_calls", "function_call", "tool_call_id", "weight")  # what says more than a text, or less


class Chats:
    """The chats of a file."""

    kind = "chat"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: Files = FolderFiles(path.parent)
        self._ignored: dict[str, None] = {}

    @property
    def ignored(self) -> tuple[str, ...]:
        return tuple(self._ignored)

    def rows(self) -> Iterator[Row]:
        return item_rows(self.path, "a chat", READ, self._ignored, self._record)

    def _record(self, chat: Mapping[str, object], where: str) -> Record:
        messages = chat.get("messages")
        if not isinstance(messages, list) or not messages:
            raise DataError("messages has to be a list with at least one message")
        turns = tuple(self._turn(message, f"messages[{i}]") for i, message in enumerate(messages))
        check_turns(turns)
        identity = None if chat.get("id") is None else str(chat["id"])
        return Record("chat", messages=turns, id=identity, where=where)

    def _turn(self, message: object, where: str) -> Turn:
        if not isinstance(message, Mapping):
            raise DataError(f"{where} has to be an object, not {kind_of(message)}")
        for name in READ_OF_A_MESSAGE:
            if name not in message:
                raise DataError(f"{where} needs the field {name!r}")
        for name in NOT_LEARNT:
            if message.get(name) not in (None, [], 1):
                raise DataError(f"{where}.{name}: only texts that are all learnt can be used")
        self._ignored.update({f"messages.{name}": None for name in message if name not in READ_OF_A_MESSAGE})
        role = message["role"]
        if not isinstance(role, str) or role not in ROLES:
            raise DataError(f"{where}: unknown role {role!r}; there are {', '.join(map(str, ROLES))}")
        return Turn(ROLES[role], _texts(message["content"], f"{where}.content"))


def _texts(content: object, where: str) -> tuple[str, ...]:
    if not isinstance(content, list) or not content:
        return (string(content, where),)
    return tuple(_text(part, f"{where}[{i}]") for i, part in enumerate(content))


def _text(part: object, where: str) -> str:
    if not isinstance(part, Mapping) or part.get("type") != "text":
        raise DataError(f'{where} has to be {{"type": "text", "text"}}: chats of this kind have no images')
    return string(part.get("text"), f"{where}.text")
