"""Training states on disk, written whole or not at all; it does not know what they are states of.

They go through `torch.distributed.checkpoint` and trust their run folder. Models are safetensors, which hold no code:
`core.tensors` keeps them, so that whoever only uses a model does not import what training saves with.
"""

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException

from illume.core import dist
from illume.core.errors import CheckpointError
from illume.core.files import atomic_folder, clean_stale, discard, read_json, write_text

FORMAT_VERSION = 1
_STEP = re.compile(r"step-(\d{8,})")


def save_state(folder: str | Path, step: int, state: dict[str, Any], meta: Mapping[str, Any]) -> Path:
    """Write a training state to `folder/step-<8 digits>/`, on every process together; returns its path.

    `meta` is plain data and holds `config_hash`; it comes back from `load_state`. Raises CheckpointError, on every
    process, if the state cannot be written: what was there before is then untouched.
    """
    path = Path(folder) / f"step-{step:08d}"
    full = {"format_version": FORMAT_VERSION, "step": step, "config_hash": meta["config_hash"], **meta}
    meta_text = json.dumps(full, indent=2, ensure_ascii=False)  # what is not plain data fails here, on every process
    failure: str | None = None
    try:
        with _shared_folder(path) as temp:
            with _plain_errors(path, "could not be written; what stood there before is unchanged"), _quiet():
                dcp.save(state, checkpoint_id=temp)
            if dist.is_main():
                write_text(temp / "meta.json", meta_text + "\n")
    except CheckpointError as error:
        failure = str(error)
    failure = dist.broadcast_object(failure)
    if failure is not None:
        raise CheckpointError(failure)
    return path


def latest(folder: str | Path) -> Path | None:
    """The complete state of the highest step, if there is one."""
    states = _states(Path(folder))
    return states[-1] if states else None


def load_state(path: str | Path, state: dict[str, Any], *, config_hash: str) -> dict[str, Any]:
    """Fill `state` in place (tensors keep their storage) from `path`, on every process together; returns the meta.

    Of the top names only those in `state` are loaded, each of them whole. Raises CheckpointError if the checkpoint has
    another format version or configuration, if names inside these are lacking on either side, or if it is damaged.
    """
    path = Path(path)
    meta = read_json(path / "meta.json")
    _expect(path, "format_version", meta.get("format_version"), FORMAT_VERSION, "use the version that wrote it")
    _expect(path, "config_hash", meta.get("config_hash"), config_hash, "go on with that run's config, or start anew")
    with _plain_errors(path, "cannot be loaded"), _quiet():
        by_text = _text_keys(state)
        _expect_whole(path, by_text)
        dcp.load(by_text, checkpoint_id=path)
    _fill(state, by_text)
    return meta


def prune(folder: str | Path, keep: int) -> None:
    """Remove all but the `keep` latest complete states. Only the main process does anything."""
    if keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}")
    if dist.is_main():
        for path in _states(Path(folder))[:-keep]:
            discard(path)


@contextmanager
def _shared_folder(path: Path) -> Iterator[Path]:
    """One atomic folder for all processes: the main one makes it and moves it into place when all are through."""
    if not dist.is_main():
        shared: Path | None = dist.broadcast_object(None)
        if shared is None:
            raise CheckpointError(f"{path}: the main process could not begin to write it")
        yield shared
        return
    announced = False
    try:
        with atomic_folder(path) as temp:
            _clean_steps(path.parent)
            dist.broadcast_object(temp)
            announced = True
            yield temp
    finally:
        if not announced:  # the others wait to hear
            dist.broadcast_object(None)


def _states(folder: Path) -> list[Path]:
    """Complete states by step. A state arrives by one rename; one copied only in part lacks a file of these two."""
    found = [entry for entry in folder.iterdir() if _STEP.fullmatch(entry.name)] if folder.is_dir() else []
    complete = [entry for entry in found if (entry / "meta.json").is_file() and (entry / ".metadata").is_file()]
    return sorted(complete, key=lambda entry: int(entry.name.removeprefix("step-")))


def _clean_steps(folder: Path) -> None:
    """A killed run may have left any step's temporary folder, not only that of the step saved next."""
    hidden = folder.glob(".step-*") if folder.is_dir() else ()
    for name in {entry.name[1:].split(".")[0] for entry in hidden}:
        clean_stale(folder / name)


def _expect(path: Path, name: str, found: Any, expected: Any, advice: str) -> None:
    if found != expected:
        raise CheckpointError(f"{path}: its {name} is {found!r}, this run's is {expected!r}: {advice}")


def _expect_whole(path: Path, state: dict[str, Any]) -> None:
    """torch passes over what the state has no place for: an optimizer not yet stepped would lose its moments."""
    stored = dcp.FileSystemReader(path).read_metadata().planner_data
    homeless = [names for names in stored.values() if names[0] in state and not _has_place(state, names)]
    if homeless:
        first = ".".join(str(name) for name in homeless[0])
        raise ValueError(f"the state to fill has no place for {first} ({len(homeless)} such names)")


def _has_place(node: Any, names: tuple[str | int, ...]) -> bool:
    for name in names:
        if isinstance(node, list | tuple):
            node = dict(enumerate(node))
        if not isinstance(node, dict):
            return True  # a value that is replaced whole
        if name not in node:
            return False
        node = node[name]
    return True


def _text_keys(node: Any) -> Any:
    """The same values under keys of text, as torch writes them: an optimizer counts its parameters by integers."""
    return {str(key): _text_keys(item) for key, item in node.items()} if isinstance(node, Mapping) else node


def _fill(node: dict[Any, Any], loaded: Mapping[str, Any]) -> None:
    for key, item in node.items():
        new = loaded[str(key)]
        if isinstance(item, dict) and isinstance(new, Mapping):
            _fill(item, new)
        else:
            node[key] = new


@contextmanager
def _plain_errors(path: Path, problem: str) -> Iterator[None]:
    """What torch raises about files and names, as one CheckpointError."""
    try:
        yield
    except CheckpointException as error:  # a BaseException, holding one cause for each process
        cause = next((pair[0] for pair in error.failures.values()), error)
        raise CheckpointError(f"{path}: {problem}: {_first_os_error(cause)}") from error
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: {problem}: {error}") from error


def _first_os_error(error: BaseException) -> BaseException:
    """What the disk said, where closing the broken file hid it behind errors of its own."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError):
            return found
        found = found.__cause__ or found.__context__
    return error


@contextmanager
def _quiet() -> Iterator[None]:
    """One process is a way of working here, not something to warn of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield
