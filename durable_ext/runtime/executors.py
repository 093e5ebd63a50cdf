"""Where user functions run: `async def` on the loop, others on threads or processes, all within the time limit."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Callable
from typing import Any, Final, TypeVar, Union

from durable_ext.core.timestamps import timespan_to_text
from durable_ext.errors import ActivityProcessDiedError, FunctionTimeoutError
from durable_ext.runtime.process_crew import ProcessCall, ProcessCrew, ProcessDiedError
from durable_ext.runtime.registry import ActivityDefinition
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.runtime.sweeper import Sweeper
from durable_ext.runtime.thread_crew import ThreadCrew

log = logging.getLogger("durable_ext.runtime.executors")

T = TypeVar("T")


USER_ERRORS: Final = (Exception, SystemExit, KeyboardInterrupt, GeneratorExit)
"""What user code may raise: each fails the call it came from. Out of a task, the last three would end the loop or worker."""


_Outcome = tuple[Any, Union[BaseException, None]]
_CANCEL_SECONDS: Final = 5.0  # for the `finally` of an activity whose result nobody wants


class _Call:
    """One function call under the time limit; `stop` makes its waiter see the error."""

    __slots__ = ("name", "stop", "timed_out")

    def __init__(self, name: str, stop: Callable[[], object]) -> None:
        self.name, self.stop = name, stop
        self.timed_out = False


class Executors:
    """Runs activities and entity code of one worker. Used from the event loop only."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._limit = settings.function_timeout
        threads = settings.max_sync_threads
        self._activity_threads = ThreadCrew("durable-activities", threads or settings.max_concurrent_activities)
        self._entity_threads = ThreadCrew("durable-entities", threads or settings.max_concurrent_entities)
        self._processes = ProcessCrew(settings.max_processes or os.cpu_count() or 1)
        self._sweeper: Sweeper[_Call] | None = None
        if self._limit is not None:
            self._sweeper = Sweeper(self._limit.total_seconds(), self._expired)

    async def call(self, definition: ActivityDefinition, value: Any) -> Any:
        """Return what the activity returns.

        An async activity runs inside the calling task. Cancelling the caller cancels an async activity and ends the
        process of one; a thread works on and its result is dropped. Waiting for a process is not part of its time.

        Raises:
            FunctionTimeoutError: It ran longer than the limit.
            ActivityProcessDiedError: Its process ended.
            Exception: Whatever the activity raised.
        """
        if definition.is_async:
            if self._sweeper is None:
                return await definition.call(value)
            return await self._await_within_limit(definition.name, definition.call(value))
        if definition.executor == "process":
            return await self._run_in_process(definition, value)
        return await self._run_on_thread(self._activity_threads, definition.name, functools.partial(definition.call, value))

    async def run_entity(self, name: str, call: Callable[[], T]) -> T:
        """Run the operations of an entity batch on an entity thread; errors as `call`."""
        return await self._run_on_thread(self._entity_threads, name, call)

    async def await_entity(self, name: str, awaitable: Any) -> Any:
        """Await an async entity operation within the limit; errors as `call`."""
        if self._sweeper is None:
            return await awaitable
        return await self._await_within_limit(name, awaitable)

    def close(self) -> None:
        """End idle threads and all processes."""
        self._activity_threads.close()
        self._entity_threads.close()
        if self._sweeper is not None:
            self._sweeper.close()
        self._processes.close()

    async def _await_within_limit(self, name: str, awaitable: Any) -> Any:
        """Await it in a task of its own, so that one that ignores its cancellation can be left behind."""
        limit = self._limit
        assert limit is not None
        waiter: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(_outcome_of(awaitable))
        task.add_done_callback(functools.partial(_hand_over, waiter))

        def stop() -> None:
            task.cancel()
            _hand_over(waiter, FunctionTimeoutError(name, timespan_to_text(limit)))

        try:
            value, error = await self._wait(name, waiter, stop)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait((task,), timeout=_CANCEL_SECONDS)
            raise
        if error is not None:
            raise error
        return value

    async def _run_on_thread(self, crew: ThreadCrew, name: str, call: Callable[[], T]) -> T:
        future = crew.run(call)
        if self._limit is None:
            return await future
        error = FunctionTimeoutError(name, timespan_to_text(self._limit))
        return await self._wait(name, future, lambda: crew.give_up(future, error))

    async def _run_in_process(self, definition: ActivityDefinition, value: Any) -> Any:
        limit, handle = self._limit, ProcessCall()
        watched = _Call(definition.name, handle.kill)

        def started() -> None:
            if self._sweeper is not None:
                self._sweeper.watch(watched)

        try:
            return await self._processes.run(definition.call, value, handle, started)
        except ProcessDiedError as error:
            if watched.timed_out and limit is not None:
                raise FunctionTimeoutError(definition.name, timespan_to_text(limit)) from None
            raise ActivityProcessDiedError(definition.name) from error
        finally:
            if self._sweeper is not None:
                self._sweeper.forget(watched)

    async def _wait(self, name: str, future: asyncio.Future[T], stop: Callable[[], object]) -> T:
        assert self._sweeper is not None
        call = _Call(name, stop)
        self._sweeper.watch(call)
        try:
            return await future
        finally:
            self._sweeper.forget(call)

    @staticmethod
    def _expired(call: _Call) -> None:
        call.timed_out = True
        log.warning("a function exceeded functionTimeout", extra={"event": "function_timeout", "function": call.name})
        call.stop()


async def _outcome_of(awaitable: Any) -> _Outcome:
    try:
        return await awaitable, None
    except USER_ERRORS as error:  # as a value: a task that raises SystemExit ends the loop
        return None, error


def _hand_over(waiter: asyncio.Future[_Outcome], source: asyncio.Future[_Outcome] | FunctionTimeoutError) -> None:
    if waiter.done():
        return
    if isinstance(source, FunctionTimeoutError):
        waiter.set_result((None, source))
    elif source.cancelled():
        waiter.set_result((None, asyncio.CancelledError()))
    else:
        waiter.set_result(source.result())
