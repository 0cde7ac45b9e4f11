"""A session's folder: session.json and pictures/NAME.png, written whole, read with distrust.

It does not know how a turn comes about. Reading opens these files alone, decodes pictures, and runs nothing.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from illume.core.config import plain_hash, to_dict
from illume.core.errors import CheckpointError, DataError, IllumeError
from illume.core.files import atomic_folder, once, replaceable, write_json
from illume.generate.folder import Parts
from illume.images import ops
from illume.models.tokenizer import lasting
from illume.session.turns import Conversation, Turn, names_of, picture_name
from illume.vocab.format import render
from illume.vocab.messages import ImageFrame, ImagePart, Message, Part, Role, TextPart

FORMAT_VERSION = 1
SCHEMA = Path(__file__).with_name("session.schema.json")
FILE, PICTURES = "session.json", "pictures"
_KNOWN = (FILE, PICTURES, f"{PICTURES}/picture-*.png")
MAX_BYTES = 64_000_000  # of session.json: thousands of turns


def fingerprint(parts: Parts) -> dict[str, str]:
    """What two models must share to read each other's sessions: what ids mean, and what codes look like."""
    vocabulary = {
        "layout": to_dict(parts.layout),
        "template": to_dict(parts.text.template),
        "words": parts.text.tokenizer.fingerprint,
        "image_size": list(parts.image_size),
        "grids": [list(grid) for grid in parts.tokenizer.grids(parts.image_size)],
    }
    codes = hashlib.blake2b(digest_size=6)
    for name, tensor in sorted(lasting(parts.tokenizer.state_dict()).items()):
        if "quantizer" in name.split("."):  # weights, not what is computed of them: the same on every device
            codes.update(name.encode() + tensor.cpu().numpy().tobytes())
    return {"vocabulary": plain_hash(vocabulary), "codes": codes.hexdigest()}


def write(path: str | Path, conversation: Conversation, parts: Parts, model: Path | None) -> None:
    """Write a session, or leave what was there. DataError where something else than a session would be replaced."""
    folder = replaceable(path, "a session", _KNOWN, FILE, DataError)
    plain = {
        "format_version": FORMAT_VERSION,
        "model": {"name": model.name if model else None} | fingerprint(parts),
        "seed": conversation.seed,
        "memory": conversation.memory,
        **({"slices": conversation.slices} if conversation.slices else {}),  # younger than sessions without any
        "pictures": {name: digest(picture) for name, picture in conversation.pictures.items()},
        "turns": [_turn_to_plain(turn) for turn in conversation.turns],
    }
    with atomic_folder(folder) as inside:
        (inside / PICTURES).mkdir()
        for name, picture in conversation.pictures.items():
            picture.save(inside / PICTURES / f"{name}.png", "PNG")
        write_json(inside / FILE, plain)


def read(path: str | Path, parts: Parts, frame: ImageFrame) -> Conversation:
    """Read a session. DataError says what is wrong in which file; CheckpointError: of another version or model."""
    try:
        folder = Path(path).resolve()
        file = _inside(folder, FILE)
        plain = _parsed(file)
        _check_version(plain, file)
        _check_schema(plain, file)
        _check_model(plain["model"], fingerprint(parts), folder)
        turns = _turns(plain["turns"], frame, file)
        _check_names(plain["pictures"], turns, file)
        _check_renders(turns, parts, file)
        large = set(plain["pictures"]) - {name for turn in turns for name in turn.drawn} if plain.get("slices") else ()
        pictures = {
            name: _picture(folder, name, told, None if name in large else parts.image_size)
            for name, told in _in_order(plain["pictures"])
        }
    except (OSError, ValueError) as error:  # what the system says of odd paths and files
        raise DataError(f"{path}: cannot be read as a session: {error}") from error
    return Conversation(plain["seed"], plain["memory"], turns, pictures, plain.get("slices", 0))


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema of session.json."""
    loaded: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return loaded


def _inside(folder: Path, name: str) -> Path:
    """A plain file of the folder; a link may not lead out of it."""
    path = folder / name
    if not folder.is_dir():
        raise DataError(f"{folder}: no such session folder")
    if not path.is_file():
        raise DataError(f"{path}: missing, so {folder.name} is no whole session")
    if not path.resolve().is_relative_to(folder):
        raise DataError(f"{path}: a link that leads out of the session's folder; put the file itself there")
    return path


def _parsed(file: Path) -> Any:
    size = file.stat().st_size
    if size > MAX_BYTES:
        raise DataError(f"{file}: {size:,} bytes, more than the {MAX_BYTES:,} of the longest session")
    try:
        text = file.read_text(encoding="utf-8")
        return json.loads(text, object_pairs_hook=once, parse_float=_no_fraction, parse_constant=_no_fraction)
    except RecursionError as error:
        raise DataError(f"{file}: nested too deeply to be a session") from error
    except ValueError as error:
        raise DataError(f"{file}: not JSON, or cut short: {error}") from error


def _no_fraction(text: str) -> None:
    raise ValueError(f"a session has whole numbers only, not {text:.40}")


def _check_version(plain: Any, file: Path) -> None:
    version = plain.get("format_version") if isinstance(plain, dict) else None
    if isinstance(version, int) and version is not True and version != FORMAT_VERSION:
        raise CheckpointError(
            f"{file}: format_version {version}; this ILLUME reads {FORMAT_VERSION}: use the one that wrote it"
        )


def _check_schema(plain: Any, file: Path) -> None:
    import jsonschema  # where it is wanted: it takes long to import

    try:
        jsonschema.validate(plain, schema())
    except jsonschema.ValidationError as error:
        place = ".".join(str(step) for step in error.absolute_path) or "the whole"
        raise DataError(f"{file}: {place:.80}: {error.message:.200}") from error
    except RecursionError as error:
        raise DataError(f"{file}: nested too deeply to be a session") from error


def _check_model(made_with: Mapping[str, Any], here: Mapping[str, str], folder: Path) -> None:
    for name, what in (("vocabulary", "its ids mean other things"), ("codes", "its codes look otherwise")):
        if made_with[name] != here[name]:
            model = f" ({made_with['name']!r:.80})" if made_with["name"] else ""
            raise CheckpointError(
                f"{folder}: a session with another model{model}: {what} ({name} {made_with[name]}, this model's is "
                f"{here[name]}): load the model it was made with"
            )


def _turns(plain: Sequence[Mapping[str, Any]], frame: ImageFrame, file: Path) -> tuple[Turn, ...]:
    turns: list[Turn] = []
    for number, one in enumerate(plain):
        try:
            asked, answer = (_message(role, one[key], frame) for role, key in _SIDES)
            if one["saw"] > number:
                raise DataError(f"its answer saw {one['saw']} turns, but only {number} came before it")
            turns.append(Turn(one["ability"], asked, answer, one["seed"], one["saw"], one["finished"]))
        except (IllumeError, ValueError) as error:
            raise DataError(f"{file}: turns.{number}: {error}") from error
    return tuple(turns)


_SIDES: tuple[tuple[Role, str], ...] = (("user", "asked"), ("assistant", "answer"))


def _message(role: Role, plain: Sequence[Mapping[str, Any]], frame: ImageFrame) -> Message:
    return Message(role, tuple(_part(one, frame) for one in plain))


def _part(plain: Mapping[str, Any], frame: ImageFrame) -> Part:
    if "text" in plain:
        return TextPart(plain["text"])
    codes = tuple(map(tuple, plain["codes"])) if "codes" in plain else None
    return ImagePart(frame, codes, image=plain["picture"])


def _turn_to_plain(turn: Turn) -> dict[str, Any]:
    return {
        "ability": turn.ability,
        "seed": turn.seed,
        "saw": turn.saw,
        "finished": turn.finished,
        "asked": [_part_to_plain(part) for part in turn.asked.parts],
        "answer": [_part_to_plain(part) for part in turn.answer.parts],
    }


def _part_to_plain(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"text": part.text}
    assert isinstance(part, ImagePart)  # a session's requests name no sizes
    shown: dict[str, Any] = {"picture": part.image}
    return shown if part.codes is None else shown | {"codes": [list(level) for level in part.codes]}


def _check_names(pictures: Mapping[str, str], turns: Sequence[Turn], file: Path) -> None:
    """Every picture is numbered as it comes, comes once, and has a digest."""
    known: list[str] = []
    for number, turn in enumerate(turns):
        old = [name for name in turn.drawn if name in (*known, *names_of([turn.asked]))]
        if old or len(turn.drawn) != sum(isinstance(part, ImagePart) for part in turn.answer.parts):
            raise DataError(f"{file}: turns.{number}: draws {', '.join(old or turn.drawn)} a second time")
        known = list(dict.fromkeys([*known, *names_of([turn.asked, turn.answer])]))
    wanted = [picture_name(number + 1) for number in range(len(known))]
    if known != wanted:
        raise DataError(f"{file}: the pictures come as {', '.join(known):.80}: they have to be numbered in this order")
    if set(pictures) != set(known):
        wrong = sorted(set(pictures) ^ set(known))
        raise DataError(f"{file}: turns and pictures disagree about {', '.join(wrong):.80}")


def _check_renders(turns: Sequence[Turn], parts: Parts, file: Path) -> None:
    """Codes are in their codebooks, words can be written."""
    for number, turn in enumerate(turns):
        try:
            render([turn.asked, turn.answer], parts.layout, parts.text)
        except IllumeError as error:
            raise DataError(f"{file}: turns.{number}: {error}") from error


def _in_order(pictures: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, pictures[name]) for name in map(picture_name, range(1, len(pictures) + 1))]


def _picture(folder: Path, name: str, told: str, size: tuple[int, int] | None) -> Image.Image:
    """A picture of this (height, width), or of any (None)."""
    path = _inside(folder, f"{PICTURES}/{name}.png")
    picture = ops.decode(path, max_pixels=ops.MAX_PIXELS if size is None else size[0] * size[1])
    if size is not None and (picture.height, picture.width) != size:
        raise DataError(
            f"{path}: {picture.width} x {picture.height} pixels, the model's pictures have {size[1]} x {size[0]}"
        )
    if digest(picture) != told:
        raise DataError(f"{path}: not the picture that {FILE} speaks of: damaged, or replaced")
    return picture


def digest(picture: Image.Image) -> str:
    """Of its pixels."""
    return hashlib.blake2b(picture.tobytes(), digest_size=16).hexdigest()
