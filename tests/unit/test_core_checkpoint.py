"""Training states and weights come back as they were, or not at all."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import nn

from fixtures.full_disk import file_size_limit, no_space_in
from illume.core import checkpoint, files
from illume.core.checkpoint import FORMAT_VERSION, latest, load_state, prune, save_state
from illume.core.errors import CheckpointError
from illume.core.tensors import load_tensors, read_metadata, save_tensors

META = {"config_hash": "abc", "part": "stage1"}


def state(value):
    torch.manual_seed(value)
    model = nn.Linear(3, 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1 * (value + 1))
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "loader": {"step": value, "name": f"n{value}", "list": [value, (2, 3)], 7: {"seen": value}},
        "step": value,
    }


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_core_checkpoint_state_comes_back_in_place(tmp_path):
    saved, other = state(1), state(2)
    path = save_state(tmp_path, 123, saved, META)
    assert path.name == "step-00000123"
    weight = other["model"]["weight"]
    meta = load_state(path, other, config_hash="abc")
    assert meta == {"format_version": FORMAT_VERSION, "step": 123, **META}
    assert same(other, saved)
    assert other["model"]["weight"] is weight


def test_core_checkpoint_latest_is_the_highest_complete_one(tmp_path):
    assert latest(tmp_path / "none") is None
    for step in (9, 10, 100_000_000):
        save_state(tmp_path, step, state(step % 7), META)
    (tmp_path / "step-999999999").mkdir()  # a copy that was broken off
    assert latest(tmp_path) == tmp_path / "step-100000000"
    prune(tmp_path, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000010", "step-100000000", "step-999999999"]
    with pytest.raises(ValueError, match="keep"):
        prune(tmp_path, keep=0)


def test_core_checkpoint_of_another_config_or_version_is_refused(tmp_path):
    path = save_state(tmp_path, 1, state(1), META)
    with pytest.raises(CheckpointError, match="config_hash is 'abc', this run's is 'xyz'"):
        load_state(path, state(1), config_hash="xyz")
    meta = json.loads((path / "meta.json").read_text())
    (path / "meta.json").write_text(json.dumps({**meta, "format_version": 99}))
    with pytest.raises(CheckpointError, match=f"format_version is 99, this run's is {FORMAT_VERSION}"):
        load_state(path, state(1), config_hash="abc")


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"extra": torch.zeros(2)}, "extra"),
        ({"model": {"weight": torch.zeros(9), "bias": torch.zeros(4)}}, "model.weight"),
    ],
)
def test_core_checkpoint_of_another_model_is_refused(tmp_path, wanted, words):
    path = save_state(tmp_path, 1, state(1), META)
    with pytest.raises(CheckpointError, match=words):
        load_state(path, wanted, config_hash="abc")


def check_moments_are_not_lost(path, load):
    fresh = nn.Linear(3, 4)
    wanted = {"model": fresh.state_dict(), "optimizer": torch.optim.AdamW(fresh.parameters()).state_dict()}
    with pytest.raises(CheckpointError, match=r"no place for optimizer\.state"):
        load(path, wanted)


def test_core_checkpoint_an_optimizer_without_moments_is_refused(tmp_path):
    path = save_state(tmp_path, 1, state(1), META)
    check_moments_are_not_lost(path, lambda path, wanted: load_state(path, wanted, config_hash="abc"))
    model = {"model": nn.Linear(3, 4).state_dict()}
    load_state(path, model, config_hash="abc")  # a part, but whole
    assert same(model["model"], state(1)["model"])


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_core_checkpoint_moments_catches_torchs_own_loading(tmp_path):
    path = save_state(tmp_path, 1, state(1), META)
    with pytest.raises(pytest.fail.Exception):
        check_moments_are_not_lost(path, lambda path, wanted: dcp.load(wanted, checkpoint_id=path))


def test_core_checkpoint_damaged_or_missing_is_named(tmp_path):
    path = save_state(tmp_path, 1, state(1), META)
    next(path.glob("*.distcp")).write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="step-00000001: cannot be loaded"):
        load_state(path, state(1), config_hash="abc")
    (path / "meta.json").write_text("{")
    for broken in (path, tmp_path / "none"):
        with pytest.raises(CheckpointError, match=r"meta\.json: cannot be read"):
            load_state(broken, state(1), config_hash="abc")


CHILD = """
import os, sys, time
import torch
torch.set_num_threads(1)
from illume.core.checkpoint import save_state
real = os.fsync
def stopping(handle):
    print("half", flush=True)
    time.sleep(60)
save_state(sys.argv[1], 1, {"w": torch.ones(1000)}, {"config_hash": "abc"})
os.fsync = stopping
save_state(sys.argv[1], 2, {"w": torch.zeros(1000)}, {"config_hash": "abc"})
"""


def test_core_checkpoint_killed_in_the_middle_of_a_save(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "half\n"
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert len(list(tmp_path.iterdir())) == 2  # the old state, and what the killed run was writing
    assert latest(tmp_path) == tmp_path / "step-00000001"
    loaded = {"w": torch.full((1000,), 7.0)}
    load_state(tmp_path / "step-00000001", loaded, config_hash="abc")
    assert torch.equal(loaded["w"], torch.ones(1000))
    save_state(tmp_path, 3, loaded, META)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000001", "step-00000003"]


def check_full_disk(folder, step, full, words="could not be written"):
    path = save_state(folder, 1, state(1), META)
    with full, pytest.raises(CheckpointError, match=words):
        save_state(folder, step, {"big": torch.zeros(100_000)}, META)
    assert [p.name for p in folder.iterdir()] == [path.name]
    loaded = state(2)
    load_state(path, loaded, config_hash="abc")
    assert same(loaded, state(1))


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("broken", ["_flush_file", "_flush_tree"])
def test_core_checkpoint_full_disk_leaves_the_old_state(tmp_path, broken, step):
    check_full_disk(tmp_path, step, no_space_in(broken))


@pytest.mark.parametrize("step", [1, 2])
def test_core_checkpoint_disk_filling_up_inside_a_state(tmp_path, step):
    check_full_disk(tmp_path, step, file_size_limit(20_000), "could not be written.*File too large")


def test_core_checkpoint_full_disk_catches_a_save_over_the_old_state(tmp_path, monkeypatch):
    @contextmanager
    def in_place(path):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(exist_ok=True)
        try:
            yield path
            files._flush_tree(path)
        except OSError as error:
            raise CheckpointError(f"{path}: could not be written") from error

    monkeypatch.setattr(checkpoint, "atomic_folder", in_place)
    with pytest.raises((AssertionError, CheckpointError)):
        check_full_disk(tmp_path, 1, no_space_in("_flush_tree"))


TENSORS = {"a": torch.arange(6).view(2, 3), "b": torch.ones(5, dtype=torch.bfloat16), "c": torch.tensor(1.5)}


@pytest.mark.parametrize(("limit", "num_files"), [(10**9, 1), (50, 3), (1, 4)])
def test_core_checkpoint_tensors_come_back_whole_or_sharded(tmp_path, limit, num_files):
    path = tmp_path / "model.safetensors"
    save_tensors(path, TENSORS, {"note": "x"}, max_shard_bytes=limit)
    assert len(list(tmp_path.iterdir())) == num_files
    assert same(load_tensors(path), TENSORS)
    assert read_metadata(path) == {"note": "x"}


def test_core_checkpoint_shards_have_hugging_faces_names(tmp_path):
    save_tensors(tmp_path / "model.safetensors", TENSORS, max_shard_bytes=50)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 48 + 10 + 4
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    assert index["weight_map"] == {"a": first, "b": second, "c": second}


@pytest.mark.parametrize(("before", "after"), [(10**9, 50), (50, 10**9), (50, 1)])
def test_core_checkpoint_another_form_in_the_way_is_refused(tmp_path, before, after):
    path = tmp_path / "model.safetensors"
    save_tensors(path, TENSORS, max_shard_bytes=before)
    with pytest.raises(CheckpointError, match="is in the way"):
        save_tensors(path, TENSORS, max_shard_bytes=after)
    assert same(load_tensors(path), TENSORS)


def test_core_checkpoint_disk_filling_up_inside_weights(tmp_path):
    path = tmp_path / "model.safetensors"
    save_tensors(path, TENSORS)
    with file_size_limit(4096), pytest.raises(CheckpointError, match="could not be written"):
        save_tensors(path, {"big": torch.zeros(100_000)})
    assert same(load_tensors(path), TENSORS)
    assert len(list(tmp_path.iterdir())) == 1


def test_core_checkpoint_tensors_sharing_memory_are_refused(tmp_path):
    shared = torch.zeros(4)
    with pytest.raises(CheckpointError, match="share"):
        save_tensors(tmp_path / "model.safetensors", {"a": shared, "b": shared})


def test_core_checkpoint_no_pickle_and_no_torn_weights(tmp_path):
    path = tmp_path / "model.safetensors"
    for content in (pickle.dumps({"a": 1}), b"", None):
        if content is not None:
            path.write_bytes(content)
        else:
            path.unlink()
        with pytest.raises(CheckpointError, match=r"model\.safetensors: is not a readable"):
            load_tensors(path)
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError):
        load_tensors(path)
    save_tensors(path, {"a": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError):
        load_tensors(path)


@pytest.mark.parametrize("weight_map", [{}, {"a": "../x"}, {"a": "/etc/passwd"}, {"a": 3}, ["a"]])
def test_core_checkpoint_an_index_stays_in_its_folder(tmp_path, weight_map):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match=r"index\.json"):
        load_tensors(tmp_path / "model.safetensors")


def test_core_checkpoint_index_and_shards_must_agree(tmp_path):
    path = tmp_path / "model.safetensors"
    save_tensors(path, TENSORS, max_shard_bytes=50)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(index.read_text().replace('"c"', '"d"'))
    with pytest.raises(CheckpointError, match="disagree about 'c'"):
        load_tensors(path)
