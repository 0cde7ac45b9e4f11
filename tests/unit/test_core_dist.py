"""The collectives on two processes, and as no-ops on one."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from illume.core import dist
from illume.core.checkpoint import latest, load_state, save_state
from illume.core.errors import CheckpointError

CPU = torch.device("cpu")
ROWS = (3, 1)  # the processes have different numbers of rows


def rows_of(rank):
    return torch.arange(ROWS[rank] * 2, dtype=torch.float32).view(-1, 2) + 10 * rank


def all_rows():
    return torch.cat([rows_of(0), rows_of(1)])


def check_gather(gather, rank):
    """A loss over all rows, computed on both processes, has twice the gradient of one process over all rows."""
    mine = rows_of(rank).requires_grad_()
    gathered = gather(mine)
    assert torch.equal(gathered, all_rows())
    (gathered**3).sum().backward()
    assert torch.allclose(mine.grad, 2 * 3 * rows_of(rank) ** 2)


def one_of_two(rank, folder):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    torch.set_num_threads(1)
    # A file as the meeting place: no port to be taken by another test.
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    assert dist.init_from_env(CPU) == CPU  # a running group is left alone
    assert (dist.rank(), dist.world_size(), dist.is_main()) == (rank, 2, rank == 0)
    mine = torch.tensor([1.0, 2.0]) * (rank + 1)
    assert dist.all_reduce_sum(mine).tolist() == [3.0, 6.0]
    assert mine.tolist() == [1.0 + rank, 2.0 + 2 * rank]
    assert dist.broadcast_object({"rank": rank}) == {"rank": 0}
    check_gather(dist.gather_rows, rank)
    with pytest.raises(AssertionError):  # shown to fail: gathering without a gradient across processes
        check_gather(lambda mine: torch.cat([mine if r == rank else rows_of(r) for r in (0, 1)]), rank)
    check_states(Path(folder), rank)
    dist.barrier()
    dist.close()
    assert dist.world_size() == 1


def check_states(folder, rank):
    """Both processes save and load one state; when the main one cannot begin, both hear of it."""
    saved = {"w": torch.arange(4.0), "step": 3}
    path = save_state(folder / "states", 3, saved, {"config_hash": "a"})
    dist.barrier()
    loaded = {"w": torch.zeros(4), "step": 0}
    load_state(path, loaded, config_hash="a")
    assert torch.equal(loaded["w"], saved["w"])
    assert loaded["step"] == 3
    assert latest(folder / "states") == path
    (folder / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="file"):
        save_state(folder / "file", 4, saved, {"config_hash": "a"})


def test_core_dist_two_processes(tmp_path):
    mp.spawn(one_of_two, args=(str(tmp_path),), nprocs=2)


def late(rank, folder):
    """The main process is busy for longer than a collective may take."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    start = torch.distributed.init_process_group
    torch.distributed.init_process_group = lambda backend, **how: start(
        backend, init_method=f"file://{folder}/meet", rank=rank, world_size=2, **how
    )
    dist.init_from_env(CPU, timeout=timedelta(seconds=1))
    if dist.is_main():
        time.sleep(3)
    else:
        with pytest.raises(RuntimeError, match=r"(?i)timed out"):  # shown to fail: as any collective waits
            torch.distributed.barrier()
    dist.barrier()
    dist.close()


def test_core_dist_waits_for_the_main_process_however_long_it_works(tmp_path):
    mp.spawn(late, args=(str(tmp_path),), nprocs=2)


def test_core_dist_one_process_needs_no_group(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert dist.init_from_env(CPU) == CPU
    assert (dist.rank(), dist.world_size(), dist.is_main(), dist.is_active()) == (0, 1, True, False)
    rows = torch.ones(2, 3, requires_grad=True)
    assert dist.gather_rows(rows) is rows
    assert torch.equal(dist.all_reduce_sum(rows), rows)
    assert dist.broadcast_object("x") == "x"
    dist.barrier()
    dist.close()


def test_core_dist_joins_what_torchrun_describes(monkeypatch):
    joined = []
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda backend, **_: joined.append(backend))
    monkeypatch.setattr(torch.distributed, "new_group", lambda backend, **_: joined.append(backend))
    assert dist.init_from_env(CPU) == CPU
    assert joined == ["gloo", "gloo"]
