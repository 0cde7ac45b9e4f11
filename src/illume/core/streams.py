"""Random streams named by keys instead of by order of use; it knows nothing of torch, numpy or what is drawn.

A draw keyed by (purpose, seed, epoch, sample) is the same at any world size, after any resume and on any machine.
"""

import hashlib
import random

Key = str | int | float


def seed_of(*keys: Key) -> int:
    """A 64-bit seed: blake2b of the keys, each with its type and length, so that no two key lists run together.

    Integers of other libraries count as integers; 1, 1.0 and "1" are three different keys. For numpy:
    `np.random.default_rng(seed_of(...))`. Raises TypeError for anything else (a bool is most likely a mistake).
    """
    digest = hashlib.blake2b(digest_size=8)
    for key in keys:
        text = _canonical(key).encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(text) + text)
    return int.from_bytes(digest.digest(), "little")


def stream(*keys: Key) -> random.Random:
    """A generator of its own for these keys."""
    return random.Random(seed_of(*keys))


def _canonical(key: object) -> str:
    if isinstance(key, str):
        return "s" + key
    if isinstance(key, float):
        return "f" + float(key).hex()
    if hasattr(key, "__index__") and not isinstance(key, bool):
        return f"i{key.__index__()}"
    raise TypeError(f"a stream key is a str, an int or a float, not {key!r} ({type(key).__name__})")
