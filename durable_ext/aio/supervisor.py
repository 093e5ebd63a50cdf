"""Named tasks with an owner, who is told of each that dies and stops them all (style.md 2.11)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Final

log = logging.getLogger("durable_ext.aio.supervisor")

_CANCEL_AGAIN: Final = timedelta(seconds=5)


class LoopFailedError(RuntimeError):
    """A supervised loop died; `__cause__` says of what."""

    def __init__(self, loop_name: str) -> None:
        self.loop_name = loop_name
        super().__init__(f"The loop '{loop_name}' stopped unexpectedly.")


def failure_of(task: asyncio.Task[Any]) -> LoopFailedError | None:
    """Return what an ended task died of, `None` if it came to its end or was cancelled."""
    error = None if task.cancelled() else task.exception()
    if error is None:
        return None
    failure = LoopFailedError(task.get_name())
    failure.__cause__ = error
    return failure


async def end_tasks(tasks: set[asyncio.Task[Any]], cancel_again: timedelta = _CANCEL_AGAIN) -> None:
    """Cancel tasks and wait until all have ended.

    A task can lose a cancellation: before Python 3.12 `asyncio.wait_for` drops one that comes at the moment its inner
    call ends. What still runs after `cancel_again` is cancelled again.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=cancel_again.total_seconds())


FailureReport = Callable[[LoopFailedError], None]


def log_failure(failure: LoopFailedError) -> None:
    """Say that a task died, with its traceback; what is done for failures that nobody else answers to."""
    log.error("%s", failure, exc_info=failure, extra={"event": "loop_failed"})


class Supervisor:
    """Owns background tasks of one component. Used from one event loop only.

    `on_failure` is called with a `LoopFailedError` for each task that ends with an exception other than cancellation.

    Attributes:
        failure: The first of these.
    """

    def __init__(
        self,
        name: str,
        on_failure: FailureReport = log_failure,
        *,
        cancel_again: timedelta = _CANCEL_AGAIN,
    ) -> None:
        self.name = name
        self._cancel_again = cancel_again
        self.failure: LoopFailedError | None = None
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, loop_name: str, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine as a named task that `stop()` cancels and whose failure is reported."""
        task = asyncio.get_running_loop().create_task(coroutine, name=f"{self.name}.{loop_name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    @property
    def running(self) -> int:
        """How many of its tasks have not ended."""
        return len(self._tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        failure = failure_of(task)
        if failure is not None:
            self.failure = self.failure or failure
            self._on_failure(failure)

    async def stop(self) -> None:
        """Cancel every task and wait until all have ended, as `end_tasks`."""
        await end_tasks({task for task in self._tasks if task is not asyncio.current_task()}, self._cancel_again)

    async def wait(self, seconds: float) -> bool:
        """Wait until all tasks have ended by themselves, at most so long; return whether they have."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self._tasks:
            left = deadline - loop.time()
            if left <= 0:
                return False
            await asyncio.wait(list(self._tasks), timeout=left)
        return True

    async def join(self) -> None:
        """Wait until all tasks have ended by themselves."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))
