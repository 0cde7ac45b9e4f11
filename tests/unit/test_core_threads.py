"""Work in a thread that ends with it."""

import threading

import pytest

from illume.core.threads import in_passing


def test_work_is_done_in_a_thread_that_has_ended() -> None:
    thread = in_passing(threading.current_thread)
    assert thread is not threading.current_thread()
    assert not thread.is_alive()


def test_arguments_and_errors_come_through() -> None:
    assert in_passing(int, "12", base=3) == 5
    with pytest.raises(ValueError, match="invalid literal"):
        in_passing(int, "x")
