"""The config.json of a part of a model folder, and networks of diffusers in it; it does not know the parts."""

import json
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from illume.core.errors import ModelError
from illume.core.tensors import save_tensors


def read_config(path: Path, format_version: int) -> dict[str, Any]:
    """The config.json of a part of a model. ModelError where it is missing, no JSON, or of another format version."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    found = plain.get("format_version") if isinstance(plain, dict) else None
    if found != format_version:
        raise ModelError(f"{path}: format_version {found!r}; this program reads {format_version}")
    return dict(plain)


@runtime_checkable
class DiffusersNetwork(Protocol):
    """What diffusers' networks have."""

    def save_config(self, save_directory: str | Path) -> Any: ...
    def state_dict(self) -> dict[str, Tensor]: ...


def save_network(folder: Path, network: DiffusersNetwork) -> None:
    """A folder as diffusers writes it, each file whole or not at all. CheckpointError where it cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    network.save_config(folder)
    save_tensors(folder / "diffusion_pytorch_model.safetensors", network.state_dict())
