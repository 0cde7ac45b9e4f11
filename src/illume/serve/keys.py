"""Who may use a server: keys from a flag, a file or the environment, compared in constant time.

It does not know HTTP beyond the header that carries a key.
"""

import hmac
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from illume.core.errors import UsageError

VARIABLE = "ILLUME_API_KEYS"


class Keys:
    """The keys that are let in; none at all lets in everyone. Only their digests are kept."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._digests = [_digest(key) for key in dict.fromkeys(keys)]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def number_of(self, authorization: str | None) -> int | None:
        """Which key, counted from 1, a header "Bearer KEY" carries; 0 where none is needed, None for no known key.

        Digests of one length are compared, every one of them, so that the time tells nothing about a key.
        """
        if not self._digests:
            return 0
        scheme, _, key = (authorization or "").partition(" ")
        given, found = _digest(key.strip()), 0
        for number, digest in enumerate(self._digests, 1):
            found += number * hmac.compare_digest(given, digest)
        return found if found and scheme.lower() == "bearer" else None


def gather(flags: Iterable[str], file: Path | None, environment: Mapping[str, str]) -> tuple[str, ...]:
    """All keys: from flags, from the lines of a file (# begins a comment), from a variable, separated by commas.

    UsageError for a file that cannot be read, or a source that is named but holds no key.
    """
    keys = [_checked(key.strip(), "--api-key") for key in flags]
    if file is not None:
        keys += _of_file(file)
    if VARIABLE in environment:
        keys += [_checked(key.strip(), VARIABLE) for key in environment[VARIABLE].split(",")]
    return tuple(dict.fromkeys(keys))


def _of_file(file: Path) -> list[str]:
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: the keys cannot be read: {error}") from error
    keys = [_checked(line, str(file)) for line in lines if line and not line.startswith("#")]
    if not keys:
        raise UsageError(f"{file}: holds no key; write one a line")
    return keys


def _checked(key: str, where: str) -> str:
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(f"{where}: a key is one word of printable ASCII characters")  # and is not shown
    return key


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogatepass")).digest()
