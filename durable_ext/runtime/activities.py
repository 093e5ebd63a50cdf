"""Activities: one call from message to result event, and the dispatcher that takes them from the hub."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any, Final

from durable_ext.aio.slots import Slots
from durable_ext.aio.supervisor import Supervisor
from durable_ext.backends.protocol import ActivityStore, ActivityWorkItem
from durable_ext.core.events import TaskCompleted, TaskFailed, TaskScheduled
from durable_ext.core.messages import TaskMessage
from durable_ext.core.payloads import PayloadConverter
from durable_ext.core.timestamps import Ticks
from durable_ext.errors import (
    BackendError,
    BackendUnavailableError,
    DeadlyActivityError,
    LeaseLostError,
    PayloadTooLargeError,
)
from durable_ext.runtime.activity_failures import activity_failed, activity_missing
from durable_ext.runtime.activity_results import result_text
from durable_ext.runtime.backoff import Backoff
from durable_ext.runtime.call_queue import CallQueue
from durable_ext.runtime.executors import USER_ERRORS, Executors
from durable_ext.runtime.lifecycle_log import LeftToOthers
from durable_ext.runtime.registry import ActivityDefinition, FunctionRegistry

log = logging.getLogger("durable_ext.runtime.activities")

_LOCK_WAIT: Final = timedelta(seconds=30)
_WAITING_SECONDS: Final = 2.0
_MAX_DEATHS: Final = 10


class ActivityRunner:
    """Turns an activity message into its result event. Used from the event loop only.

    Attributes:
        stopping: Once true, a cancelled activity is the worker's doing and no failure of the activity.
    """

    def __init__(
        self,
        registry: FunctionRegistry,
        http: ActivityDefinition,
        converter: PayloadConverter,
        executors: Executors,
        now: Callable[[], Ticks],
    ) -> None:
        self._registry = registry
        self._http = http
        self._converter = converter
        self._executors = executors
        self._now = now
        self._revoked: set[asyncio.Task[Any]] = set()
        self.stopping = False

    def knows(self, name: str) -> bool:
        """Whether this worker has the activity."""
        return name == self._http.name or self._registry.activity(name) is not None

    def is_left(self, name: str) -> bool:
        """Whether the activity is left to another worker."""
        return self._registry.is_left("activity", name)

    def revoke(self, task: asyncio.Task[Any]) -> None:
        """Cancel a task that runs activities whose results nobody wants any more."""
        self._revoked.add(task)
        task.add_done_callback(self._revoked.discard)
        task.cancel()

    async def run(self, message: TaskMessage) -> TaskCompleted | TaskFailed:
        """Run the activity of a TaskScheduled message; raises nothing but cancellation by the worker."""
        event = message.event
        assert isinstance(event, TaskScheduled)
        definition = self._registry.activity(event.name)
        if definition is None and event.name == self._http.name:
            definition = self._http
        if definition is None:
            return activity_missing(event.name, event.event_id, self._now())
        try:
            value = await self._executors.call(definition, self._argument(definition, event.input))
            result = result_text(definition, value, self._converter)
        except asyncio.CancelledError as error:
            if self.stopping or asyncio.current_task() in self._revoked:
                raise
            return activity_failed(event.name, event.event_id, error, self._now())
        except USER_ERRORS as error:
            log.info(
                "activity failed",
                extra={
                    "event": "activity_failed",
                    "activity": event.name,
                    "instance_id": message.target.instance_id,
                    "task_id": event.event_id,
                    "error_type": type(error).__name__,
                },
            )
            return activity_failed(event.name, event.event_id, error, self._now())
        return TaskCompleted(timestamp=self._now(), task_scheduled_id=event.event_id, result=result)

    def too_large(self, event: TaskScheduled, error: PayloadTooLargeError) -> TaskFailed:
        """Return the result of an activity whose own result cannot be stored."""
        return activity_failed(event.name, event.event_id, error, self._now())

    def deadly(self, event: TaskScheduled, item: ActivityWorkItem) -> TaskFailed:
        """Return the result of an activity that is not run again, because no worker has survived it."""
        error = DeadlyActivityError(event.name, item.deaths)
        log.error(
            "%s: %s",
            item.message.target.instance_id,
            error,
            extra={"event": "activity_deadly", "instance_id": item.message.target.instance_id, "activity": event.name},
        )
        return activity_failed(event.name, event.event_id, error, self._now())

    def _argument(self, definition: ActivityDefinition, payload: str | None) -> Any:
        converter = definition.converter or self._converter
        text = converter.unwrap_argument(payload)
        if text is None:
            return None
        if definition.input_type is not None:
            return converter.from_text(text, definition.input_type)
        try:
            return converter.from_text(text)
        except json.JSONDecodeError:
            return text  # compat: the Functions worker hands over what is not JSON as it is (3.1)
        except Exception as error:  # also what the app's `from_json` raises
            if not definition.keeps_1x:
                raise
            raise ValueError(  # compat: specs/sdk.md 6.4
                f"activity trigger input must be a string or a valid json serializable ({text})"
            ) from error


class ActivityDispatcher:
    """Takes activities from the hub, runs them in free slots and completes them.

    Order per item: lock, run, complete. A crash before `complete` makes the item visible again: the activity runs twice.
    No more items are fetched than there are free slots; beside items that checkpoints gave back locked, one that waits in
    line like these. What does not begin for two to four seconds is released, so that another worker may run it.
    """

    def __init__(
        self, store: ActivityStore, runner: ActivityRunner, slots: Slots, supervisor: Supervisor, left: LeftToOthers
    ) -> None:
        self._store = store
        self._runner = runner
        self._slots = slots
        self._supervisor = supervisor
        self._left = left
        self._queue: CallQueue[ActivityWorkItem] = CallQueue("activity", slots, supervisor, self._process)
        self._fetched: set[str] = set()  # ids of items that were not claimed by a checkpoint, until they begin
        self._late: set[str] = set()
        self._patience: asyncio.TimerHandle | None = None
        self.draining = False

    @property
    def waiting(self) -> int:
        """How many items are locked here and wait for a slot."""
        return len(self._queue.waiting)

    async def run(self) -> None:
        """Take work until the worker drains."""
        backoff = Backoff()
        while not self.draining:
            # A slot must be free, but is not held while waiting: local activities may use it meanwhile.
            while self._slots.free <= self.waiting:
                if not await self._slots.take():
                    return
                self._slots.give_back()
                if not self._fetched:
                    break
                await asyncio.sleep(0)  # until what came before has its slot
            try:
                item = await self._store.lock_next_activity(_LOCK_WAIT)
            except BackendUnavailableError as error:
                await backoff.pause(log, "activities cannot be fetched", error)
                continue
            backoff.reset()
            if item is not None:
                self._fetched.add(item.item_id)
                self._queue.add((item,))
                self._watch_waiting()

    def run_claimed(self, items: Iterable[ActivityWorkItem]) -> None:
        """Run work items that a checkpoint gave back locked; a worker that drains gives them to others."""
        if not self._slots.closed:
            self._queue.add(items)
            self._watch_waiting()
            return
        for item in items:
            self._supervisor.start("activity-release", self._give_up(self._store.release, item))

    def _watch_waiting(self) -> None:
        if self._patience is None and self._queue.waiting:
            self._late = {item.item_id for item in self._queue.waiting}
            self._patience = asyncio.get_running_loop().call_later(_WAITING_SECONDS, self._release_late)

    def _release_late(self) -> None:
        self._patience = None
        if self._slots.closed:
            return
        waiting = list(self._queue.waiting)
        self._queue.waiting.clear()
        for item in waiting:
            if item.item_id in self._late:
                self._fetched.discard(item.item_id)
                self._supervisor.start("activity-release", self._give_up(self._store.release, item))
            else:
                self._queue.waiting.append(item)
        self._watch_waiting()

    async def finish(self, item: ActivityWorkItem, result: TaskCompleted | TaskFailed) -> None:
        """Complete an item, trying again while the store cannot be reached.

        An item that is lost by then (another worker has it) is left to its new owner; one whose result the store refuses is
        abandoned.
        """
        backoff = Backoff()
        while True:
            try:
                await self._store.complete(item, result)
                return
            except BackendUnavailableError as error:
                await backoff.pause(log, "an activity result cannot be stored", error)
            except LeaseLostError:
                log.warning(
                    "an activity was taken over by another worker; its result is dropped",
                    extra={"event": "activity_lost", "instance_id": item.message.target.instance_id},
                )
                return
            except PayloadTooLargeError as error:
                event = item.message.event
                assert isinstance(event, TaskScheduled)
                result = self._runner.too_large(event, error)
            except BackendError as error:
                log.error(
                    "an activity result was refused, so the activity runs again later: %s",
                    error,
                    extra={"event": "activity_result_refused", "instance_id": item.message.target.instance_id},
                )
                await self._give_up(self._store.abandon, item)
                return

    async def give_back(self) -> None:
        """Release what never started."""
        if self._patience is not None:
            self._patience.cancel()
        waiting = list(self._queue.waiting)
        self._queue.waiting.clear()
        self._fetched.clear()
        await asyncio.gather(*(self._give_up(self._store.release, item) for item in waiting))

    async def _process(self, item: ActivityWorkItem) -> None:
        event = item.message.event
        assert isinstance(event, TaskScheduled)
        self._fetched.discard(item.item_id)
        if self._runner.is_left(event.name):
            self._left.tell_not_served(item.message.target.instance_id, "activity", event.name)
            await self._give_up(self._store.abandon, item)
            return
        is_sent = False
        try:
            if item.deaths >= _MAX_DEATHS:
                result: TaskCompleted | TaskFailed = self._runner.deadly(event, item)
            elif await self._store.begin(item):
                result = await self._runner.run(item.message)
            else:
                log.warning(
                    "an activity is not begun: its lock ran out while this process stood still",
                    extra={"event": "activity_lost", "instance_id": item.message.target.instance_id, "activity": event.name},
                )
                return
            is_sent = True  # perhaps, from now on
            await self.finish(item, result)
        except asyncio.CancelledError:
            await self._give_up(self._store.abandon if is_sent else self._store.release, item)
            raise

    async def _give_up(self, way: Callable[[ActivityWorkItem], Awaitable[None]], item: ActivityWorkItem) -> None:
        try:
            await way(item)
        except BackendUnavailableError:
            log.warning(
                "an activity could not be given back; it reappears when its lock expires",
                extra={"event": "activity_abandon_failed", "instance_id": item.message.target.instance_id},
            )
