"""Where and in which number format to compute, and torch's random streams; it does not know what is computed."""

import ctypes
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

import torch

from illume.core.errors import UsageError
from illume.core.streams import Key, seed_of

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
DtypeName = Literal["auto", "float32", "bfloat16", "float16"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# What torch's autocast knows on each device. float16 needs its gradients scaled to train: it is for using models.
AUTOCAST = {
    "cpu": (torch.bfloat16, torch.float16),
    "cuda": (torch.bfloat16, torch.float16),
    "mps": (torch.bfloat16, torch.float16),
}


def pick_device(name: str = "auto") -> torch.device:
    """The device of this name ("cuda:1" too), or the best there is. UsageError where it is not there."""
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if _present(kind)))
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdecimal()):
        raise UsageError(f"device {name!r}: expected auto, cpu, cuda, cuda:N or mps")
    if not _present(kind):
        raise UsageError(f"device {name!r}: this machine, or this build of torch, has none; use auto or cpu")
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise UsageError(f"device {name!r}: there are {torch.cuda.device_count()} CUDA devices, counted from 0")
    return torch.device(name)


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format of this name; "auto" is bfloat16 where the hardware multiplies it, else float32."""
    if name == "auto":
        return torch.bfloat16 if _multiplies_bfloat16(device) else torch.float32
    if name not in _DTYPES:
        raise UsageError(f"dtype {name!r}: expected auto, {', '.join(_DTYPES)}")
    dtype = _DTYPES[name]
    if dtype == torch.bfloat16 and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise UsageError("dtype 'bfloat16': this CUDA device cannot compute in it; use float16 or float32")
    return dtype


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Inside it matrix products run in `dtype`; nothing changes for float32.

    UsageError for a device that has no such autocast: torch would only warn, and compute in float32.
    """
    if dtype == torch.float32:
        return nullcontext()
    if dtype not in AUTOCAST.get(device.type, ()):
        raise UsageError(f"{device.type} cannot compute in {str(dtype).removeprefix('torch.')} here; use float32")
    return torch.autocast(device.type, dtype)


def generator(device: torch.device | str, *keys: Key) -> torch.Generator:
    """A torch generator of its own for these keys, as `core.streams.stream` is for plain Python.

    Devices draw different numbers from equal seeds: what must agree across devices is drawn on the CPU.
    """
    return torch.Generator(device).manual_seed(seed_of(*keys))


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, for the next step; false where the C library is not glibc.

    Otherwise a training step on a CPU gives its activations back to the system and faults every page in again: a step
    of `pico` was 7 to 14% slower.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return False
    trim_threshold, mmap_threshold = -1, -3  # glibc's names for them in malloc.h
    return bool(mallopt(trim_threshold, 2**31 - 1) and mallopt(mmap_threshold, 2**25))  # the largest it takes


def give_back_freed_memory() -> bool:
    """Give the system what this process has freed and kept; false where the C library is not glibc.

    Kept memory falls to pieces that no later step fits into: `pico` grew to 4.1 GB in 600 steps of 2.5.
    """
    malloc_trim = _of_glibc("malloc_trim")
    return malloc_trim is not None and bool(malloc_trim(0))


def peak_memory_gb() -> float:
    """The most memory this process has held so far in GB (1e9 bytes): on the CUDA device if one is used, else RAM.

    0 on Windows, where Python cannot tell.
    """
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_reserved() / 1e9
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would start from the peak of the process that launched this one
        kilobytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(kilobytes) * 1024 / 1e9
    if sys.platform == "win32":
        return 0.0
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9  # bytes on macOS, where /proc is missing


def _of_glibc(function: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), function, None) if sys.platform == "linux" else None


def _present(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_available()
    return kind == "cpu" or torch.backends.mps.is_available()


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    # torch has no public question for it; where the private one is gone, float32 is always right.
    asks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(ask is not None and ask() for ask in asks)
