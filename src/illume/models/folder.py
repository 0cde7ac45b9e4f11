"""The config.json of a part of a model folder, read with distrust, and networks of diffusers in it; it does not know
the parts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from illume.core.errors import ConfigError, IllumeError, ModelError
from illume.core.files import parse_json
from illume.core.tensors import save_tensors


@contextmanager
def distrusted(where: object, problem: str) -> Iterator[None]:
    """ModelError for whatever goes wrong inside, with what other programs wrote and with their own readers of it: their
    errors are of any class."""
    try:
        yield
    except ConfigError as error:
        raise ModelError(str(error)) from error
    except IllumeError:
        raise
    except Exception as error:
        raise ModelError(f"{where}: {problem}: {type(error).__name__}: {error}") from error


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object of a model folder. ModelError where it is missing, no JSON, or another kind of value."""
    try:
        plain = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if not isinstance(plain, dict):
        raise ModelError(f"{path}: expected a JSON object")
    return plain


def read_config(path: Path, format_version: int) -> dict[str, Any]:
    """The config.json of a part of a model. ModelError where it is missing, no JSON, or of another format version."""
    plain = read_object(path)
    found = plain.get("format_version")
    if found != format_version:
        raise ModelError(f"{path}: format_version {found!r}; this program reads {format_version}")
    return plain


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
