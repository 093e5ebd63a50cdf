"""Threads for user functions that are not `async def`: bounded, lazily started, results handed back in batches.

`loop.run_in_executor` wakes the loop once for each result; here all results that are ready at a wake come back together.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class _Call:
    __slots__ = ("call", "context", "error", "future", "outcome")

    def __init__(self, call: Callable[[], Any], context: contextvars.Context, future: asyncio.Future[Any]) -> None:
        self.call, self.context, self.future = call, context, future
        self.outcome: Any = None
        self.error: BaseException | None = None


class ThreadCrew:
    """Runs blocking calls. Methods are called from the event loop; `_work` is what the threads run.

    A call cannot be stopped: if its future is cancelled or failed by somebody else (a timeout), the thread works on, its
    result is dropped, and a further thread may be started in its place.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._inbox: SimpleQueue[_Call | None] = SimpleQueue()
        self._done: deque[_Call] = deque()
        self._delivery_due = False
        self._threads = 0
        self._unfinished = 0
        self._given_up = 0

    def run(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Run a call on a thread, in a copy of the caller's context; waits in line while all threads are busy."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._unfinished += 1
        self._inbox.put(_Call(call, contextvars.copy_context(), future))
        if self._unfinished > self._threads and self._threads - self._given_up < self._limit:
            self._threads += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True).start()
        return future

    def give_up(self, future: asyncio.Future[Any], error: Exception) -> None:
        """Fail the future of a call that runs too long; its thread no longer counts against the limit."""
        if not future.done():
            future.set_exception(error)
            self._given_up += 1

    def close(self) -> None:
        """Let the threads end after what is in line; blocked ones are daemons and are left behind."""
        for _ in range(self._threads):
            self._inbox.put(None)

    def _work(self) -> None:
        inbox, done = self._inbox, self._done
        while True:
            work = inbox.get()
            if work is None:
                return
            try:
                work.outcome = work.context.run(work.call)
            except BaseException as error:  # user code may raise anything; it belongs to the waiting future
                work.error = error
            done.append(work)
            if not self._delivery_due:
                self._delivery_due = True
                try:
                    self._loop.call_soon_threadsafe(self._deliver)
                except RuntimeError:  # the loop is closed: nobody waits any more
                    return

    def _deliver(self) -> None:
        self._delivery_due = False  # before looking: a result that comes now asks for another delivery
        done = self._done
        while done:
            work = done.popleft()
            self._unfinished -= 1
            future = work.future
            if future.done():
                if not future.cancelled():
                    self._given_up -= 1
            elif work.error is None:
                future.set_result(work.outcome)
            elif isinstance(work.error, Exception) and not isinstance(work.error, StopIteration):
                future.set_exception(work.error)
            else:
                wrapped = RuntimeError(f"The function raised {type(work.error).__name__}.")
                wrapped.__cause__ = work.error
                future.set_exception(wrapped)
