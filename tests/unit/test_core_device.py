"""Devices and number formats by name, and torch's keyed streams."""

import copy
import platform
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from fixtures.tiny_model_folder import SIZE, tiny_parts
from illume.api import Illume
from illume.core.device import autocast, generator, peak_memory_gb, pick_device, pick_dtype
from illume.core.errors import UsageError

CPU = torch.device("cpu")


def test_core_device_auto_is_one_that_works():
    assert torch.ones(1, device=pick_device("auto")).item() == 1
    assert pick_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu0", ""])
def test_core_device_unknown_names_are_refused(name):
    with pytest.raises(UsageError, match="expected auto"):
        pick_device(name)


def test_core_device_missing_ones_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="none"):
        pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="2 CUDA devices"):
        pick_device("cuda:2")
    assert pick_device("cuda:1") == torch.device("cuda:1")
    assert pick_device("auto") == torch.device("cuda")


@pytest.mark.parametrize("supported", [True, False])
def test_core_device_auto_dtype_follows_the_hardware(monkeypatch, supported):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: supported)
    assert pick_dtype("auto", CPU) == (torch.bfloat16 if supported else torch.float32)
    assert pick_dtype("float16", CPU) == torch.float16
    with pytest.raises(UsageError, match="dtype 'half'"):
        pick_dtype("half", CPU)


def test_core_device_autocast_sets_the_format_of_products_only():
    a = torch.ones(2, 2)
    with autocast(CPU, torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
    with autocast(CPU, torch.float32):
        assert (a @ a).dtype == torch.float32


def test_core_device_generators_are_keyed():
    draw = lambda *keys: torch.rand(8, generator=generator("cpu", *keys))  # noqa: E731
    assert torch.equal(draw("noise", 1), draw("noise", 1))
    assert not torch.equal(draw("noise", 1), draw("noise", 2))


def test_core_device_peak_memory_is_a_plausible_number_and_never_falls():
    before = peak_memory_gb()
    assert 0.01 < before < 1000
    block = torch.ones(25_000_000)
    assert peak_memory_gb() >= before
    del block
    assert peak_memory_gb() >= before


@pytest.mark.parametrize("kind", ["cpu", "cuda", "mps"])
def test_core_device_autocast_knows_every_device(kind):
    """float32 is never cast; what a device's autocast does not know is refused, for torch would only warn."""
    with autocast(torch.device(kind), torch.float32):
        pass
    with pytest.raises(UsageError, match=f"{kind} cannot compute in float64 here"):
        autocast(torch.device(kind), torch.float64)


def test_core_device_meta_has_no_autocast():
    with pytest.raises(UsageError, match="meta cannot compute in bfloat16"):
        autocast(torch.device("meta"), torch.bfloat16)


def test_core_device_bfloat16_is_refused_where_cuda_lacks_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    with pytest.raises(UsageError, match="use float16 or float32"):
        pick_dtype("bfloat16", torch.device("cuda"))
    assert pick_dtype("auto", torch.device("cuda")) == torch.float32
    assert pick_dtype("float16", torch.device("cuda")) == torch.float16


def test_core_device_mps_is_picked_where_it_is_and_cuda_is_not(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("auto") == torch.device("mps")
    assert pick_dtype("auto", torch.device("mps")) == torch.float32


def test_core_device_memory_is_asked_of_no_module_that_windows_lacks(monkeypatch):
    monkeypatch.setattr("illume.core.device.Path.exists", lambda self: False)
    monkeypatch.setattr("illume.core.device.sys.platform", "win32")
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_memory_gb() == 0.0


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_core_device_a_tiny_model_draws_on_cuda(dtype):
    model = load_on("cuda", dtype)
    assert model.draw("a red circle")[0].size == SIZE
    assert isinstance(model.chat("what?", [np.zeros((*SIZE, 3), np.uint8)], max_new_text=3), str)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_core_device_a_tiny_model_draws_in_every_format(dtype):
    model = load_on("cpu", dtype)
    assert model.draw("a red circle")[0].size == SIZE
    assert isinstance(model.chat("what?", [np.zeros((*SIZE, 3), np.uint8)], max_new_text=3), str)


def load_on(device, dtype):
    parts = tiny_parts()
    moved = {name: copy.deepcopy(getattr(parts, name)).to(device) for name in ("model", "tokenizer", "pixel_decoder")}
    return Illume(replace(parts, **moved | {"model": moved["model"].to(dtype)}))


FAULTS_OF_STEPS = """
import resource, sys, torch
from illume.core.device import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def step():
    held = [torch.zeros(4_000_000) for _ in range(8)]  # 16 MB each
step(), step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step(), step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


GLIBC = pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone")


@GLIBC
def test_kept_memory_is_not_faulted_in_again() -> None:
    def faults(how: str) -> int:
        """Of seven runs together: in one of four what lies above what is freed keeps glibc, by chance, from giving it
        back, and in two of five one tensor of sixteen is faulted in although all are kept."""
        command = [sys.executable, "-c", FAULTS_OF_STEPS, how]
        runs = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(7)]
        return sum(int(done.stdout) for done in runs)

    assert faults("keep") < faults("leave") / 4


HELD_AFTER_STEPS = """
import sys, torch
from pathlib import Path
from illume.core.device import give_back_freed_memory, keep_freed_memory
def held():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmRSS"))
assert keep_freed_memory()
before = held()
parts = [torch.zeros(1_000_000) for _ in range(50)]  # 4 MB each
above = torch.zeros(1_000_000)  # what lies below cannot be given back by making the heap shorter
del parts
if sys.argv[1] == "give":
    assert give_back_freed_memory()
print((held() - before) // 1000)
"""


@GLIBC
def test_freed_memory_is_given_back_when_asked() -> None:
    def megabytes(how: str) -> int:
        command = [sys.executable, "-c", HELD_AFTER_STEPS, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert megabytes("keep") > 150
    assert megabytes("give") < 50
