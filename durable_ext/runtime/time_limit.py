"""TimeLimit: function calls that may take only so long, on the loop or on threads; knows no durable word."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final, TypeVar, Union

from durable_ext.core.timestamps import timespan_to_text
from durable_ext.errors import FunctionTimeoutError
from durable_ext.runtime.sweeper import Sweeper
from durable_ext.runtime.thread_crew import ThreadCrew

log = logging.getLogger("durable_ext.runtime.executors")

T = TypeVar("T")

USER_ERRORS: Final = (Exception, SystemExit, KeyboardInterrupt, GeneratorExit)
"""What user code may raise: each fails the call it came from. Out of a task, the last three would end the loop or worker."""

Outcome = tuple[Any, Union[BaseException, None]]
_CANCEL_SECONDS: Final = 5.0  # for the `finally` of a call whose result nobody wants


class TimedCall:
    """One function call under the time limit; `stop` makes its waiter see the error."""

    __slots__ = ("name", "stop", "timed_out")

    def __init__(self, name: str, stop: Callable[[], object]) -> None:
        self.name, self.stop = name, stop
        self.timed_out = False


class TimeLimit:
    """Lets calls of functions take at most `limit` (`None` = any time). Used from one event loop only."""

    def __init__(self, limit: timedelta | None) -> None:
        self.limit = limit
        self._sweeper: Sweeper[TimedCall] | None = None
        if limit is not None:
            self._sweeper = Sweeper(limit.total_seconds(), self._expired)

    async def wait_for(self, name: str, awaitable: Awaitable[Any]) -> Any:
        """Return what it returns; errors and cancellation as `outcome`, raised.

        Raises:
            FunctionTimeoutError: It ran longer than the limit.
            BaseException: Whatever it raised.
        """
        value, error = await self.outcome(name, awaitable)
        if error is not None:
            raise error
        return value

    async def outcome(self, name: str, awaitable: Awaitable[Any]) -> Outcome:
        """Return what it returned or raised: a `CancelledError` of its own is told from one of the caller.

        It is awaited in a task of its own, so that one that ignores its cancellation can be left behind. Cancelling the
        caller cancels it.
        """
        waiter: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(_outcome_of(awaitable))
        task.add_done_callback(functools.partial(_hand_over, waiter))

        def stop() -> None:
            task.cancel()
            _hand_over(waiter, self.error(name))

        try:
            return await self._wait(name, waiter, stop)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait((task,), timeout=_CANCEL_SECONDS)
            raise

    async def on_thread(self, crew: ThreadCrew, name: str, call: Callable[[], T]) -> T:
        """Return what the call returns; one that ran too long is left behind with its thread. Errors as `wait_for`."""
        future = crew.run(call)
        if self._sweeper is None:
            return await future
        return await self._wait(name, future, lambda: crew.give_up(future, self.error(name)))

    def error(self, name: str) -> FunctionTimeoutError:
        """Return the error of a call that took too long."""
        assert self.limit is not None
        return FunctionTimeoutError(name, timespan_to_text(self.limit))

    def watch(self, call: TimedCall) -> None:
        """Begin to count the time of a call."""
        if self._sweeper is not None:
            self._sweeper.watch(call)

    def forget(self, call: TimedCall) -> None:
        """Stop counting; does nothing for a call that is not watched."""
        if self._sweeper is not None:
            self._sweeper.forget(call)

    def close(self) -> None:
        """Watch nothing any more."""
        if self._sweeper is not None:
            self._sweeper.close()

    async def _wait(self, name: str, future: asyncio.Future[T], stop: Callable[[], object]) -> T:
        call = TimedCall(name, stop)
        self.watch(call)
        try:
            return await future
        finally:
            self.forget(call)

    @staticmethod
    def _expired(call: TimedCall) -> None:
        call.timed_out = True
        extra = {"event": "function_timeout", "function": call.name}
        log.warning("Function '%s' exceeded functionTimeout.", call.name, extra=extra)
        call.stop()


async def _outcome_of(awaitable: Awaitable[Any]) -> Outcome:
    try:
        return await awaitable, None
    except (*USER_ERRORS, asyncio.CancelledError) as error:  # as a value: a task that raises SystemExit ends the loop
        return None, error


def _hand_over(waiter: asyncio.Future[Outcome], source: asyncio.Future[Outcome] | FunctionTimeoutError) -> None:
    if waiter.done():
        return
    if isinstance(source, FunctionTimeoutError):
        waiter.set_result((None, source))
    elif source.cancelled():  # before its first step
        waiter.set_result((None, asyncio.CancelledError()))
    else:
        waiter.set_result(source.result())
