"""Kernels compiled for ever new shapes do not fill a server's memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from illume.models.quantized import PackedLinear
from illume.serve import kernels

MOST_MB = 40.0
GROWS = """
import os
import random
from pathlib import Path
import torch
from illume.models.quantized import PackedLinear
from illume.serve import kernels

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

{bound}
random.seed(0)
linear = PackedLinear(torch.ones(192, 64))
with torch.inference_mode():
    for count in range(900):
        if count == 450:
            before = resident_mb()
        linear(torch.ones(random.randint(1, 1000), 64))
print(resident_mb() - before)
"""
pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read as Linux tells it"),
    pytest.mark.skipif(not PackedLinear.serves(torch.ones(1)), reason="this torch has no packed products"),
]


def check_flat(bound: str) -> None:
    """After the first 450 products, 450 others, of as many rows as it happens, take no more memory."""
    environment = {name: value for name, value in os.environ.items() if name not in kernels.CAPACITIES}
    environment["OMP_NUM_THREADS"] = "1"
    command = [sys.executable, "-c", GROWS.format(bound=bound)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    assert float(said.stdout) < MOST_MB


def test_new_shapes_take_no_more_memory() -> None:
    check_flat("kernels.bound(os.environ)")


def test_the_check_catches_kernels_that_are_all_kept() -> None:
    with pytest.raises(AssertionError):
        check_flat("")


def test_what_the_environment_says_is_kept() -> None:
    environment = {kernels.CAPACITIES[0]: "7"}
    kernels.bound(environment)
    assert environment == {kernels.CAPACITIES[0]: "7", kernels.CAPACITIES[1]: str(kernels.KEPT)}
