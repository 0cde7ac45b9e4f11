"""Bounds the kernels that torch compiles on a CPU and keeps: a server sees more shapes than any other program.

oneDNN compiles a product anew for each number of rows and keeps the last 1024, some 0.6 MB each; torch's layer above it
keeps as many again for each thread. It knows no model, nor what is multiplied.
"""

from collections.abc import MutableMapping

KEPT = 128  # all that a busy server multiplies at a time; about 100 MB
CAPACITIES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")


def bound(environment: MutableMapping[str, str]) -> None:
    """Let at most `KEPT` be kept, where the environment says nothing else; before anything is multiplied."""
    for name in CAPACITIES:
        environment.setdefault(name, str(KEPT))
