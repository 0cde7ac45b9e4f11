"""Images to codes on disk, with a frozen tokenizer; stopped at any point and run again, it ends with the same files.

It does not know what the codes are for, nor how to train a tokenizer.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from illume.core.files import clean_stale
from illume.data.codes import CodeStore, Origin, read_shard, shard_path, write_shard
from illume.data.collate import to_pixels
from illume.data.sources import Images


class Weighed(Protocol):
    """Something told from others by its weights."""

    def state_dict(self) -> dict[str, Any]:
        """Name -> weight, and whatever else it keeps."""


class ImageTokenizer(Weighed, Protocol):
    """What a vision tokenizer has to offer here."""

    def encode(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Pixels [b, 3, h, w] to one grid of codes [b, rows, columns] a level."""


def encode_images(
    tokenizer: ImageTokenizer,
    images: Images,
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 64,
    shard_size: int = 4096,
    on_progress: Callable[[int, int], None] | None = None,
) -> CodeStore:
    """The codes of all `images`, in shards of `shard_size` in `folder`; shards that are there are only read.

    `on_progress(done, total)` is called after each shard. DataError for shards of another tokenizer, of other images or
    other shard sizes: old codes are never mixed with new ones, and never deleted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    origin = Origin(weights_hash(tokenizer), images.fingerprint)
    stores = []
    done, keys = 0, images.keys()
    for number, part in enumerate(_parts(keys, shard_size)):
        path = shard_path(folder, number)
        clean_stale(path)
        if not path.exists():
            write_shard(path, encode_keys(tokenizer, images, part, device=device, batch_size=batch_size), origin)
        stores.append(read_shard(path, origin, part))
        done += len(part)
        if on_progress is not None:
            on_progress(done, len(keys))
    return CodeStore.merge(stores)


@torch.inference_mode()
def encode_keys(
    tokenizer: ImageTokenizer,
    images: Images,
    keys: Sequence[str],
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 64,
) -> CodeStore:
    """The codes of these images, in memory."""
    batches: list[tuple[np.ndarray, ...]] = []
    for part in _parts(keys, batch_size):
        pixels = to_pixels([images.image(key) for key in part], part, images.size)
        batches.append(tuple(level.cpu().numpy() for level in tokenizer.encode(pixels.to(device))))
    return CodeStore(keys, [np.concatenate(level) for level in zip(*batches, strict=True)])


def weights_hash(module: Weighed) -> str:
    """12 hex digits of the names, shapes and values of a module's state."""
    digest = hashlib.blake2b(digest_size=6)
    for name, value in sorted(module.state_dict().items()):
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _parts(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))
