"""An asynchronous producer as a plain iterator: it runs in a thread of its own, so a notebook's own loop is no matter.

Closing the iterator asks the producer to stop, and after a while cancels it. It does not know what is produced.
"""

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class _Ended:
    error: BaseException | None


def iterate(
    produce: Callable[[Callable[[T], None]], Awaitable[None]], stop: Callable[[], None], patience: float
) -> Generator[T, None, None]:
    """What `produce(put)` puts, as it comes; what it raises is raised here, after all that it had put.

    Closed before its end, `stop` is called within the producer's loop, which then has `patience` seconds to end.
    """
    results: queue.SimpleQueue[T | _Ended] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(_awaited(produce, results.put))
    thread = threading.Thread(target=_run, args=(loop, task, results.put), name="judge", daemon=True)
    thread.start()
    try:
        while not isinstance(found := results.get(), _Ended):
            yield found
        if found.error is not None:
            raise found.error
    finally:
        for last_word in (stop, task.cancel):
            if thread.is_alive():
                loop.call_soon_threadsafe(last_word)
                thread.join(patience if last_word is stop else None)
        thread.join()
        loop.close()


async def _awaited(produce: Callable[[Callable[[T], None]], Awaitable[None]], put: Callable[[T], None]) -> None:
    await produce(put)


def _run(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[None]", put: Callable[[_Ended], None]) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(task)
    except BaseException as error:  # whatever it is, the one who iterates is to hear of it
        put(_Ended(error))
    else:
        put(_Ended(None))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
