"""Ctrl-C as a request that waits for the end of a step, so that no step is ever half taken.

It does not know what is done about it.
"""

import os
import signal
import threading
from types import FrameType, TracebackType

NOTICE = b"\nfinishing this step, then saving; Ctrl-C again stops at once\n"


class Interrupt:
    """Inside the context the first Ctrl-C sets `requested`; the second one raises KeyboardInterrupt as ever.

    Signals reach the main thread only: in another one this does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._in_main_thread = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> "Interrupt":
        if self._in_main_thread:
            self._previous = signal.signal(signal.SIGINT, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._in_main_thread:
            signal.signal(signal.SIGINT, self._previous)
        if self.requested and error is None:
            raise KeyboardInterrupt  # it came too late for anyone in the context to see

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        os.write(2, NOTICE)  # print() is not safe in a signal handler
