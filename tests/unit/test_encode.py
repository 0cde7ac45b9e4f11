"""Codes on disk: complete, resumable to the same bytes, never of another tokenizer or of other images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from illume.core.errors import DataError
from illume.data.codes import CodeStore, Origin, read_shard, shard_path, write_shard
from illume.data.world_images import WorldImages
from illume.encode import encode_images, encode_keys, weights_hash
from illume.world import PICO

IMAGES = WorldImages(PICO, "train", 7, 2)


class MeanTokenizer(nn.Module):
    """Two levels: the brightness of 2x2 and of 4x4 patches, in 16 steps."""

    def __init__(self, fails_at: int | None = None) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(7.9))
        self.calls, self.fails_at = 0, fails_at

    def encode(self, pixels: Tensor) -> tuple[Tensor, ...]:
        self.calls += 1
        if self.calls == self.fails_at:
            raise KeyboardInterrupt
        grids = (nn.functional.adaptive_avg_pool2d(pixels.mean(1, keepdim=True), side) for side in (2, 4))
        return tuple(((grid[:, 0] + 1) * self.scale).long() for grid in grids)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run(folder: Path, tokenizer: Any = None, images: Any = IMAGES, **sizes: int) -> CodeStore:
    return encode_images(tokenizer or MeanTokenizer(), images, folder, **{"batch_size": 2, "shard_size": 4, **sizes})


def test_every_image_has_its_own_codes(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    store = encode_images(
        MeanTokenizer(), IMAGES, tmp_path, shard_size=4, on_progress=lambda done, total: seen.append((done, total))
    )
    assert len(store) == len(IMAGES.keys()) == 18
    assert store.grids == ((2, 2), (4, 4))
    assert seen == [(4, 18), (8, 18), (12, 18), (16, 18), (18, 18)]
    for key in tuple(IMAGES.keys()):
        alone = encode_keys(MeanTokenizer(), IMAGES, [key])
        assert store(key) == alone(key)
    assert CodeStore.load(tmp_path)(IMAGES.keys()[5]) == store(IMAGES.keys()[5])
    with pytest.raises(DataError, match="no codes of the image 'other'"):
        store("other")


def check_resume(folder: Path, stopped: Path, stop: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(stopped, MeanTokenizer(fails_at=stop))
    assert len(files(stopped)) < len(files(folder))
    run(stopped)
    assert files(stopped) == files(folder)


@pytest.mark.parametrize("stop", [1, 3, 4, 6])
def test_stopped_and_run_again_it_ends_with_the_same_files(stop: int, tmp_path: Path) -> None:
    run(tmp_path / "whole")
    check_resume(tmp_path / "whole", tmp_path / "stopped", stop)


def test_the_resume_law_catches_files_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "whole")

    def in_place(path: Path, store: CodeStore, origin: Origin) -> None:
        path.write_bytes(b"half a file")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("illume.encode.write_shard", in_place)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "stopped")
    with pytest.raises(DataError, match="not a shard of codes"):
        run(tmp_path / "stopped")


def test_finished_shards_are_not_made_again(tmp_path: Path) -> None:
    run(tmp_path)
    idle = MeanTokenizer()
    run(tmp_path, idle)
    assert idle.calls == 0


def test_shards_of_another_origin_are_refused(tmp_path: Path) -> None:
    run(tmp_path)
    before = files(tmp_path)
    other = MeanTokenizer()
    with torch.no_grad():
        other.scale += 0.1
    with pytest.raises(DataError, match="made of other tokenizer"):
        run(tmp_path, other)
    with pytest.raises(DataError, match="made of other images"):
        run(tmp_path, images=WorldImages(PICO, "train", 8, 2))
    with pytest.raises(DataError, match="codes of other keys"):
        run(tmp_path, shard_size=5)
    assert files(tmp_path) == before, "nothing was deleted"


def test_damaged_shards_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no codes here"):
        CodeStore.load(tmp_path)
    run(tmp_path)
    path = shard_path(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="not a shard of codes"):
        CodeStore.load(tmp_path)


def test_another_format_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CodeStore(["a"], [np.zeros((1, 2, 2), np.int64)])
    with monkeypatch.context() as patch:
        patch.setattr("illume.data.codes.FORMAT_VERSION", 99)
        write_shard(shard_path(tmp_path, 0), store, Origin("t", "i"))
    with pytest.raises(DataError, match="format 99, this version reads 1"):
        read_shard(shard_path(tmp_path, 0))


def test_stores_of_one_shape_and_different_keys_can_be_joined() -> None:
    a, b, c = (CodeStore([key], [np.full((1, side, side), side)]) for key, side in (("a", 2), ("b", 2), ("c", 3)))
    assert CodeStore.merge([a, b])("b") == ((2, 2, 2, 2),)
    for wrong in ([a, c], [a, a]):
        with pytest.raises(DataError, match="cannot be joined"):
            CodeStore.merge(wrong)


def test_weights_are_told_apart() -> None:
    one, other = MeanTokenizer(), MeanTokenizer()
    assert weights_hash(one) == weights_hash(other)
    other.register_buffer("more", torch.zeros(1))
    assert weights_hash(one) != weights_hash(other)
