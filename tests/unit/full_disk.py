"""Two ways of running out of disk, for the tests of what writes files."""

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn
from unittest import mock

from illume.core import files


@contextmanager
def file_size_limit(num_bytes: int) -> Iterator[None]:
    """No file can grow beyond this: the write that would fails in its middle, for whichever library does it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def no_space_in(function: str) -> Iterator[None]:
    """This function of `core.files` finds the disk full."""

    def full(*args: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    with mock.patch.object(files, function, full):
        yield
