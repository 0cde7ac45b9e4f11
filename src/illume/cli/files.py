"""Models and prompts read from files and pictures written to them; it does not know how they are drawn."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from illume.core.errors import RequestError, UsageError

if TYPE_CHECKING:
    from illume.api import Illume


class Asked(NamedTuple):
    """A prompt, and what it means, for judges that have to be told."""

    text: str
    spec: Mapping[str, Any] | None = None


def read_prompts(prompt: str | None, file: Path | None) -> list[Asked]:
    """One prompt from the command line, or every non-empty line of a file, or those of a .jsonl (docs/enhance.md)."""
    if (prompt is None) == (file is None):
        raise UsageError("give either a prompt or --prompts FILE")
    if file is None:
        assert prompt is not None
        return [Asked(prompt)]
    if file.suffix == ".jsonl":
        from illume.enhance.propose import from_file

        return [Asked(one.text, one.spec) for one in from_file(file)]
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{file}: the prompts cannot be read: {error}") from error
    if not (wanted := [line.strip() for line in lines if line.strip()]):
        raise RequestError(f"{file}: holds no prompt; write one a line")
    return [Asked(text) for text in wanted]


def check_writable(out: Path) -> None:
    """Before anything is drawn: that pictures can be written there."""
    if out.suffix.lower() not in {".png", ".jpg", ".jpeg", ".webp"}:
        raise UsageError(f"{out}: write pictures as .png, .jpg or .webp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out}: its folder cannot be made: {error}") from error


def save_images(images: list[Any], out: Path) -> list[Path]:
    """Write one image to `out`, several to NAME-0.png, NAME-1.png, ...; each wholly or not at all."""
    return [file for file in save_some(images, out) if file is not None]


def save_some(images: Sequence[Any | None], out: Path) -> list[Path | None]:
    """The same with gaps: where there is no image nothing is written, and the others are called as if there were."""
    from illume.core.files import atomic_file

    names = [out] if len(images) == 1 else [out.with_name(f"{out.stem}-{i}{out.suffix}") for i in range(len(images))]
    formats = {".png": "PNG", ".webp": "WEBP"}
    for image, name in zip(images, names, strict=True):
        if image is not None:
            with atomic_file(name) as temp:
                image.save(temp, formats.get(name.suffix.lower(), "JPEG"))
    return [None if image is None else name for image, name in zip(images, names, strict=True)]


def load_model(model: str, device: str, tier: str = "auto", parallel: int = 0) -> "Illume":
    """The model of a folder, of a run's folder, or of a name."""
    from illume.api import load

    return load(model, device=device, tier=tier, parallel=parallel)
