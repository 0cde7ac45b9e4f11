"""The folder of a round, and when a step's file stands as it is; it does not know what any step does.

`round.json` says what each file was made of. A file made of just what is there now stands, whatever was edited in it by
hand; one that nobody edited is made again; one that was edited, of something that changed since, is never overwritten.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from illume.core.config import plain_hash
from illume.core.errors import CheckpointError
from illume.core.files import read_json, write_json, write_text

Step = Literal["propose", "paint", "assess", "compose", "redraw", "pair"]
FILES: Mapping[Step, str] = {
    "propose": "prompts.jsonl",
    "paint": "drawings.jsonl",
    "assess": "verdicts.jsonl",
    "compose": "records.jsonl",
    "redraw": "redrawings.jsonl",
    "pair": "pairs.jsonl",
}
FORMAT_VERSION = 1


class RoundFolder:
    """`prompts.jsonl`, `drawings.jsonl`, `verdicts.jsonl`, what is learnt from, and `round.json`, with the pictures
    that were drawn in `images/` and the true ones in `truth/`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.prompts, self.drawings = path / FILES["propose"], path / FILES["paint"]
        self.verdicts, self.records = path / FILES["assess"], path / FILES["compose"]

    def file(self, step: Step) -> Path:
        """What a step writes."""
        return self.path / FILES[step]

    def made_of(self, step: Step) -> dict[str, Any] | None:
        """What a step's file was made of, or None where it never was."""
        said = self._steps().get(step)
        return None if said is None else dict(said["of"])

    def stands(self, step: Step, of: Mapping[str, Any]) -> bool:
        """Whether a step's file is there and was made of just this."""
        return self.file(step).is_file() and self.made_of(step) == of

    def settle(self, step: Step, of: Mapping[str, Any], text: str) -> None:
        """Write what a step made, unless it stands. CheckpointError where that would undo what somebody edited."""
        if self.stands(step, of):
            return
        path, data = self.file(step), text.encode()
        there = path.read_bytes() if path.is_file() else data
        if there not in (data, b"") and self._steps().get(step, {}).get("wrote") != _digest(there):
            raise CheckpointError(
                f"{path} was edited by hand, and what it was made of has changed since: nothing is overwritten. "
                "Move it away to have it made again, or undo the change"
            )
        write_text(path, text)
        self.note(step, of, data)

    def note(self, step: Step, of: Mapping[str, Any], data: bytes | None = None) -> None:
        """Say what a step's file was made of, and what was written."""
        said = {"of": dict(of)} | ({} if data is None else {"wrote": _digest(data)})
        steps = self._steps()
        if steps.get(step) != said:
            write_json(self.path / "round.json", {"format_version": FORMAT_VERSION, "steps": {**steps, step: said}})

    def digest(self, step: Step) -> str:
        """Names the bytes of a step's file. CheckpointError where the step has not been run."""
        path = self.file(step)
        try:
            return _digest(path.read_bytes())
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror}): run the step {step!r} first") from error

    def _steps(self) -> dict[str, Any]:
        path = self.path / "round.json"
        if not path.is_file():
            return {}
        plain = read_json(path)
        if plain.get("format_version") != FORMAT_VERSION or not isinstance(plain.get("steps"), dict):
            raise CheckpointError(f"{path}: not a round of format {FORMAT_VERSION}: use the version that wrote it")
        return dict(plain["steps"])


def key_of(*content: Any) -> str:
    """A name for plain data: what a line is of."""
    return plain_hash({"content": list(content)})


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()
