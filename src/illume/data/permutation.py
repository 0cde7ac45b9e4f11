"""A keyed permutation of range(size), one index at a time in constant memory; it knows nothing of what it shuffles."""

from functools import lru_cache

from illume.core.streams import seed_of

ROUNDS = 4
_MASK = (1 << 64) - 1


def permuted(index: int, size: int, *keys: str | int) -> int:
    """Where `index` goes in the permutation of range(size) that `keys` name.

    A Feistel network over the next even power of two, walked until it lands below `size` (Black and Rogaway, "Ciphers
    with arbitrary finite domains", 2002): no table, so a set of any size is shuffled alike everywhere.
    """
    if not 0 <= index < size:
        raise ValueError(f"index {index} is outside range({size})")
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    rounds = _round_keys(keys)
    index = _feistel(index, half, rounds)
    while index >= size:
        index = _feistel(index, half, rounds)
    return index


def _feistel(value: int, half: int, rounds: tuple[int, ...]) -> int:
    mask = (1 << half) - 1
    left, right = value >> half, value & mask
    for key in rounds:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << half) | right


def _mix(value: int) -> int:
    """The finaliser of SplitMix64: every bit of the result depends on every bit of the value."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


@lru_cache(maxsize=256)
def _round_keys(keys: tuple[str | int, ...]) -> tuple[int, ...]:
    return tuple(seed_of("permutation", *keys, number) for number in range(ROUNDS))
