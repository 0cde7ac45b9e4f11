"""Devices and number formats by name, and torch's keyed streams."""

import pytest
import torch

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
