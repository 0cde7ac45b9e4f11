"""Which folder a model's name means: one that is here, one that comes with ILLUME, or one of the hub.

It does not know what is in a model folder.
"""

from pathlib import Path

from illume.core.errors import ModelError
from illume.generate.folder import model_inside
from illume.generate.hub import download, is_name

WEIGHTS = Path(__file__).parents[1] / "weights"
BUILT_IN: dict[str, Path] = {"nano": WEIGHTS / "nano"}


def model_folder(name: str | Path) -> Path:
    """The folder of a model: its own or its run's where there is one, else that of a built-in name or of OWNER/MODEL.

    ModelError where nothing is called so, or the hub does not give it.
    """
    if Path(name).exists():
        return model_inside(Path(name))
    if (folder := built_in(name)) is not None:
        return folder
    if is_name(str(name)):
        return download(str(name))
    if str(name) in BUILT_IN:
        raise ModelError(f"{name}: its weights did not come with this copy of ILLUME; train them: illume train {name}")
    known = ", ".join(BUILT_IN)
    raise ModelError(f"{name}: neither a folder nor a model that comes with ILLUME ({known}); on the hub: OWNER/MODEL")


def built_in(name: str | Path) -> Path | None:
    """Where a model is that comes with ILLUME; None where none is called so, or its weights did not come."""
    folder = BUILT_IN.get(str(name))
    return folder if folder is not None and folder.is_dir() else None
