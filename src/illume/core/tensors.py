"""Named tensors as safetensors, whole or in Hugging Face's shards; it knows nothing of models, and never unpickles."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from illume.core.errors import CheckpointError
from illume.core.files import atomic_file, parse_json, read_json, write_json

_MOST_HEADER = 100_000_000  # bytes: safetensors' own limit


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
    odd: set[str] = set()
    for name in sorted(set(weight_map.values())):
        shard = _load_file(path.with_name(name), device)
        odd |= shard.keys() ^ {key for key, place in weight_map.items() if place == name}
        loaded |= shard
    if odd:
        raise CheckpointError(f"{_index(path)}: index and shards disagree about {min(odd)!r} ({len(odd)} names in all)")
    return loaded


def read_metadata(path: str | Path) -> dict[str, str]:
    """What `save_tensors` was given as metadata."""
    path = Path(path)
    if not path.exists() and _index(path).exists():
        path = path.with_name(next(iter(_weight_map(path).values())))
    with _plain_errors(path, "is not a readable safetensors file"):
        check_header(path)
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
    metadata.pop("format", None)
    return metadata


def check_header(path: Path) -> None:
    """ValueError where the header of a safetensors file is no JSON, or names a tensor twice: its own reader takes the
    last one. OSError where there is no such file."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > _MOST_HEADER:
            raise ValueError(f"a header of {size:,} bytes: damaged, or another kind of file")
        parse_json(file.read(size).decode("utf-8"))


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
        temp.touch()
        mode = temp.stat().st_mode  # as for any file; safetensors would let nobody else read it
        save_file(plain, temp, metadata)
        temp.chmod(mode)


def _load_file(path: Path, device: str | torch.device) -> dict[str, Tensor]:
    with _plain_errors(path, "is not a readable safetensors file"):
        check_header(path)
        return load_file(path, device=str(device))


def _index(path: Path) -> Path:
    return path.with_name(path.name + ".index.json")


def _weight_map(path: Path) -> dict[str, str]:
    weight_map = read_json(_index(path)).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{_index(path)}: has no weight_map")
    for name in weight_map.values():
        if not isinstance(name, str) or Path(name).name != name or Path(name).suffix != path.suffix:
            raise CheckpointError(f"{_index(path)}: {name!r:.200} is not the name of a file of tensors in this folder")
    return weight_map


@contextmanager
def _plain_errors(path: Path, problem: str) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path}: {problem}: {error}") from error
