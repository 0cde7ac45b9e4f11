"""Codes of images on disk, by key: safetensors shards, each saying what it was made of; nothing here can encode."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from illume.core.errors import DataError
from illume.core.files import parse_json, write_bytes
from illume.core.tensors import check_header

FORMAT_VERSION = 1
Grid = tuple[int, int]


@dataclass(frozen=True)
class Origin:
    """What codes were made of: the tokenizer (a hash of its weights) and the images (their fingerprint)."""

    tokenizer: str
    images: str


class CodeStore:
    """The codes of images by key. `store(key)` is one row-major tuple a level; `grids` says their shape."""

    def __init__(self, keys: Sequence[str], levels: Sequence[np.ndarray]) -> None:
        """`levels`: one int array [len(keys), rows, columns] a level."""
        if not keys or not levels or any(level.ndim != 3 or len(level) != len(keys) for level in levels):
            raise DataError(f"codes need one [{len(keys)}, rows, columns] array a level, and at least one image")
        self.grids: tuple[Grid, ...] = tuple((level.shape[1], level.shape[2]) for level in levels)
        self.levels = tuple(levels)
        self._row = {key: row for row, key in enumerate(keys)}

    def __len__(self) -> int:
        return len(self._row)

    def __contains__(self, key: str) -> bool:
        return key in self._row

    def __call__(self, key: str) -> tuple[tuple[int, ...], ...]:
        if key not in self._row:
            raise DataError(f"there are no codes of the image {key!r}: encode its images first")
        row = self._row[key]
        return tuple(tuple(level[row].ravel().tolist()) for level in self.levels)

    @classmethod
    def merge(cls, stores: Sequence["CodeStore"]) -> "CodeStore":
        """Several stores as one; DataError if their grids differ or a key is in two of them."""
        keys = [key for store in stores for key in store._row]
        grids = {store.grids for store in stores}
        if len(grids) != 1 or len(set(keys)) != len(keys):
            raise DataError(
                f"these codes cannot be joined: grids {sorted(grids)}, {len(keys) - len(set(keys))} keys twice"
            )
        return cls(keys, [np.concatenate(level) for level in zip(*(s.levels for s in stores), strict=True)])

    @classmethod
    def load(cls, folder: Path, origin: Origin | None = None) -> "CodeStore":
        """The codes of a folder's shards; DataError if there are none, or one is damaged or of another origin."""
        shards = [read_shard(path, origin) for path in sorted(folder.glob("codes-*.safetensors"))]
        if not shards:
            raise DataError(f"{folder}: there are no codes here")
        return cls.merge(shards)


def shard_path(folder: Path, number: int) -> Path:
    return folder / f"codes-{number:05d}.safetensors"


def write_shard(path: Path, store: CodeStore, origin: Origin) -> None:
    """One shard, written whole or not at all; the same codes give the same bytes."""
    # One metadata entry: safetensors does not keep the order of several, and the files would differ.
    said = {"format_version": FORMAT_VERSION, "origin": asdict(origin), "keys": list(store._row)}
    tensors = {f"level{number}": np.ascontiguousarray(level, np.int32) for number, level in enumerate(store.levels)}
    write_bytes(path, save(tensors, {"illume": json.dumps(said, sort_keys=True)}))


def read_shard(path: Path, origin: Origin | None = None, keys: Sequence[str] | None = None) -> CodeStore:
    """A shard; DataError if it is damaged, of another format, of another origin, or holds other keys."""
    said, levels = _open(path)
    _check_said(said, path)
    if origin is not None:
        for name, wanted in asdict(origin).items():
            if said["origin"][name] != wanted:
                raise DataError(
                    f"{path}: made of other {name} ({said['origin'][name]}, now {wanted}): "
                    "delete this folder or write to another one"
                )
    if keys is not None and said["keys"] != list(keys):
        raise DataError(f"{path}: it holds the codes of other keys: delete this folder or write to another one")
    try:
        return CodeStore(said["keys"], levels)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _check_said(said: Any, path: Path) -> None:
    version = said.get("format_version") if isinstance(said, dict) else None
    if version != FORMAT_VERSION:
        raise DataError(f"{path}: codes of format {version!r:.40}, this version reads {FORMAT_VERSION}")
    match said:
        case {"origin": {"tokenizer": str(), "images": str()}, "keys": list(keys)} if all(
            isinstance(key, str) for key in keys
        ):
            return
    raise DataError(f"{path}: not a shard of codes: it does not say of what images, and of what tokenizer")


def _open(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    try:
        check_header(path)
        with safe_open(path, framework="np") as file:
            said = parse_json((file.metadata() or {})["illume"])
            return said, [file.get_tensor(f"level{number}") for number in range(len(file.keys()))]
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: not a shard of codes: {error}") from error
