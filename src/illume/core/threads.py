"""Keeps tensor work out of threads that live on; it does not know what is computed.

On a CPU torch gives every thread that multiplies threads of its own, and keeps them while that thread lives. Where all
of them together are more than the cores, OpenMP lets them sleep between products instead of waiting awake: a small
model's steps then take half as long again. A server therefore computes in one thread.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def in_passing(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """What a call returns, made in a thread that ends with it, and torch's threads for it too."""
    with ThreadPoolExecutor(1) as passing:
        return passing.submit(work, *arguments, **named).result()
