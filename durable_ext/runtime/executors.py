"""Where user functions run: `async def` on the loop, others on threads or processes, all within the time limit."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

from durable_ext.errors import ActivityProcessDiedError
from durable_ext.runtime.process_crew import ProcessCall, ProcessCrew, ProcessDiedError
from durable_ext.runtime.registry import ActivityDefinition
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.runtime.thread_crew import ThreadCrew
from durable_ext.runtime.time_limit import USER_ERRORS, TimedCall, TimeLimit

__all__ = ["USER_ERRORS", "Executors"]

T = TypeVar("T")


class Executors:
    """Runs activities and entity code of one worker. Used from the event loop only."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._limit = TimeLimit(settings.function_timeout)
        self._unlimited = settings.function_timeout is None
        threads = settings.max_sync_threads
        self._activity_threads = ThreadCrew("durable-activities", threads or settings.max_concurrent_activities)
        self._entity_threads = ThreadCrew("durable-entities", threads or settings.max_concurrent_entities)
        self._processes = ProcessCrew(settings.max_processes or os.cpu_count() or 1)

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
            if self._unlimited:
                return await definition.call(value)
            return await self._limit.wait_for(definition.name, definition.call(value))
        if definition.executor == "process":
            return await self._run_in_process(definition, value)
        call = functools.partial(definition.call, value)
        return await self._limit.on_thread(self._activity_threads, definition.name, call)

    async def run_entity(self, name: str, call: Callable[[], T]) -> T:
        """Run the operations of an entity batch on an entity thread; errors as `call`."""
        return await self._limit.on_thread(self._entity_threads, name, call)

    async def await_entity(self, name: str, awaitable: Any) -> Any:
        """Await an async entity operation within the limit; errors as `call`."""
        if self._unlimited:
            return await awaitable
        return await self._limit.wait_for(name, awaitable)

    def close(self) -> None:
        """End idle threads and all processes."""
        self._activity_threads.close()
        self._entity_threads.close()
        self._limit.close()
        self._processes.close()

    async def _run_in_process(self, definition: ActivityDefinition, value: Any) -> Any:
        handle = ProcessCall()
        watched = TimedCall(definition.name, handle.kill)
        try:
            return await self._processes.run(definition.call, value, handle, lambda: self._limit.watch(watched))
        except ProcessDiedError as error:
            if watched.timed_out:
                raise self._limit.error(definition.name) from None
            raise ActivityProcessDiedError(definition.name) from error
        finally:
            self._limit.forget(watched)
