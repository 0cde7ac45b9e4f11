"""Training states and model weights on disk, written whole or not at all; it does not know what they are states of.

Training states go through `torch.distributed.checkpoint` and trust their run folder; models are safetensors, which hold
no code. The file writers of `core.files` are offered here too, so that saving has one address.
"""

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException

from illume.core import dist
from illume.core.errors import CheckpointError
from illume.core.files import atomic_file, atomic_folder, clean_stale, discard, write_bytes, write_json, write_text

__all__ = [
    "FORMAT_VERSION",
    "atomic_file",
    "atomic_folder",
    "clean_stale",
    "latest",
    "load_state",
    "load_tensors",
    "prune",
    "read_metadata",
    "save_state",
    "save_tensors",
    "write_bytes",
    "write_json",
    "write_text",
]

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

    Raises CheckpointError if the checkpoint has another format version or configuration, lacks a name of `state`, or
    is damaged.
    """
    path = Path(path)
    meta = _read_json(path / "meta.json")
    _expect(path, "format_version", meta.get("format_version"), FORMAT_VERSION, "use the version that wrote it")
    _expect(path, "config_hash", meta.get("config_hash"), config_hash, "go on with that run's config, or start anew")
    with _plain_errors(path, "cannot be loaded"), _quiet():
        dcp.load(state, checkpoint_id=path)
    return meta


def prune(folder: str | Path, keep: int) -> None:
    """Remove all but the `keep` latest complete states. Only the main process does anything."""
    if keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}")
    if dist.is_main():
        for path in _states(Path(folder))[:-keep]:
            discard(path)


def save_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    max_shard_bytes: int = 5_000_000_000,
) -> None:
    """Write `path` (`.../model.safetensors`), or, above `max_shard_bytes`, shards beside it and an index.

    The shards have Hugging Face's names (`model-00001-of-00002.safetensors`, `model.safetensors.index.json`). Several
    files cannot replace others at once: save into a fresh `atomic_folder` where that is needed. Raises CheckpointError
    if it cannot be written, if another form of the same model is in the way, or if tensors share memory.
    """
    path = Path(path)
    shards = _shard(tensors, max_shard_bytes)
    text = {"format": "pt", **(metadata or {})}
    _refuse_leftovers(path, len(shards))
    if len(shards) == 1:
        _save_file(path, shards[0], text)
        return
    names = [f"{path.stem}-{i:05d}-of-{len(shards):05d}{path.suffix}" for i in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        _save_file(path.with_name(name), shard, text)
    weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
    total = sum(tensor.nbytes for tensor in tensors.values())
    write_json(_index(path), {"metadata": {**text, "total_size": total}, "weight_map": weight_map})


def load_tensors(path: str | Path, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """The tensors of `path` (`.../model.safetensors`) or of its shards. CheckpointError if missing or damaged."""
    path = Path(path)
    if path.exists() or not _index(path).exists():
        return _load_file(path, device)
    weight_map = _weight_map(path)
    loaded: dict[str, Tensor] = {}
    for name in sorted(set(weight_map.values())):
        loaded |= _load_file(path.with_name(name), device)
    if loaded.keys() != weight_map.keys():
        odd = sorted(loaded.keys() ^ weight_map.keys())
        raise CheckpointError(f"{_index(path)}: index and shards disagree about {odd[0]!r} ({len(odd)} names in all)")
    return loaded


def read_metadata(path: str | Path) -> dict[str, str]:
    """What `save_tensors` was given as metadata."""
    path = Path(path)
    if not path.exists() and _index(path).exists():
        path = path.with_name(next(iter(_weight_map(path).values())))
    with _plain_errors(path, "is not a readable safetensors file"), safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata() or {})
    metadata.pop("format", None)
    return metadata


# -- training states ------------------------------------------------------------------------------------------------


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


@contextmanager
def _plain_errors(path: Path, problem: str) -> Iterator[None]:
    """What safetensors and torch raise about files and names, as one CheckpointError."""
    try:
        yield
    except CheckpointException as error:  # a BaseException, holding one cause for each process
        cause = next((pair[0] for pair in error.failures.values()), error)
        raise CheckpointError(f"{path}: {problem}: {cause}") from error
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: {problem}: {error}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """One process is a way of working here, not something to warn of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


# -- weights --------------------------------------------------------------------------------------------------------


def _shard(tensors: Mapping[str, Tensor], max_bytes: int) -> list[dict[str, Tensor]]:
    """Whole tensors in their order, a new shard where the next would not fit; always at least one shard."""
    shards: list[dict[str, Tensor]] = [{}]
    used = 0
    for name, tensor in tensors.items():
        if shards[-1] and used + tensor.nbytes > max_bytes:
            shards.append({})
            used = 0
        shards[-1][name] = tensor
        used += tensor.nbytes
    return shards


def _refuse_leftovers(path: Path, num_shards: int) -> None:
    shards = sorted(path.parent.glob(f"{path.stem}-*-of-*{path.suffix}"))
    others = [entry for entry in (_index(path), *shards) if entry.exists()]
    if num_shards > 1 and path.exists():
        others.append(path)
    if others:
        raise CheckpointError(f"{others[0]}: is in the way of saving {path.name} ({num_shards} files); save elsewhere")


def _save_file(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with _plain_errors(path, "could not be written"), atomic_file(path) as temp:
        save_file(plain, temp, metadata)


def _load_file(path: Path, device: str | torch.device) -> dict[str, Tensor]:
    with _plain_errors(path, "is not a readable safetensors file"):
        return load_file(path, device=str(device))


def _index(path: Path) -> Path:
    return path.with_name(path.name + ".index.json")


def _weight_map(path: Path) -> dict[str, str]:
    weight_map = _read_json(_index(path)).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{_index(path)}: has no weight_map")
    for name in weight_map.values():
        if not isinstance(name, str) or Path(name).name != name:
            raise CheckpointError(f"{_index(path)}: {name!r} is not the name of a file in this folder")
    return weight_map


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object")
    return value
