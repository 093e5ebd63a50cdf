"""An event loop for threads that have none: agents run on one, orchestrators do not."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


def ensure_event_loop() -> None:
    """Set an event loop for this thread unless it has one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            asyncio.get_event_loop()
    except RuntimeError:
        asyncio.set_event_loop(asyncio.new_event_loop())


@contextmanager
def own_event_loop() -> Iterator[None]:
    """Give this thread a new event loop and close it at the end, with the tasks that an agent which waits has left."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()


__all__ = ["ensure_event_loop", "own_event_loop"]
