"""Waves: the activities of one episode, run beside the session that decided them (design.md 5).

A wave knows what has ended, what runs and what waits for a slot; the session decides what is written when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Union

from durable_ext.backends.protocol import ActivityWorkItem, BackendTraits, OrchestrationSession
from durable_ext.core.events import TASK_RESULTS, ExecutionStarted, TaskCompleted, TaskFailed, TimerFired
from durable_ext.core.messages import ReceivedMessage, TaskMessage
from durable_ext.errors import BackendUnavailableError, CheckpointConflictError
from durable_ext.runtime.call_queue import CallQueue
from durable_ext.runtime.services import OrchestrationServices

ActivityResult = Union[TaskCompleted, TaskFailed]

_PATIENCE: Final = 4  # times the spill time: as long as a work item waits here, before others get it
_PAUSE_SECONDS: Final = 0.01
_GATHER_SECONDS: Final = 0.03
_CLOCK_SECONDS: Final = 0.001  # a loop may call a little early

# Rule R6: what may stay queued over several writes, because a reader drops the copy
_CARRIED_TYPES: Final = (ExecutionStarted, TimerFired, *TASK_RESULTS)


def may_begin_locally(messages: Sequence[ReceivedMessage], traits: BackendTraits) -> bool:
    """Whether a session woken by these messages may run activities itself: rule R6."""
    if not traits.keeps_trigger:
        return True
    return all(isinstance(received.message.event, _CARRIED_TYPES) for received in messages)


def results_per_write(traits: BackendTraits, opening: int) -> int | None:
    """How many activities fit into one write with `opening` events before them (rule R3), `None` = any number.

    Each takes a TaskScheduled and its result, and the write an OrchestratorCompleted and an OrchestratorStarted.
    """
    if traits.max_events_per_write is None:
        return None
    return max(1, (traits.max_events_per_write - opening - 2) // 2)


class LocalWave:
    """Activities that run here. Used from the event loop only; ends when nothing is unfinished, or by one of
    `hand_over()`, `discard()` and `cancel()`."""

    def __init__(
        self, messages: Sequence[TaskMessage], services: OrchestrationServices, session: OrchestrationSession
    ) -> None:
        self._services = services
        self._session = session
        self._lost = self._adopted = False
        self._loop = asyncio.get_running_loop()
        self._spill_seconds = services.settings.local_activity_spill.total_seconds()
        self._queue: CallQueue[TaskMessage] = CallQueue(
            "local-activity", services.activity_slots, services.supervisor, self._run, self._awaken
        )
        self._results: list[ActivityResult] = []
        self._messages = {message.event.event_id: message for message in messages}
        self._running: dict[int, float] = {}
        self._spilled: dict[int, asyncio.Future[ActivityWorkItem | None]] = {}
        self._passed_on, self._standing_since = services.activity_slots.passed_on, self._loop.time()
        self._unfinished = len(messages)
        self._wanted = self._unfinished
        self._any_wakes = False
        self._wake: asyncio.Future[None] | None = None
        self._gathering: asyncio.TimerHandle | None = None
        self._last = 0.0
        self._queue.add(messages)

    @property
    def unfinished(self) -> int:
        """Activities whose results were not taken and that are not the hub's."""
        return self._unfinished

    def add(self, messages: Sequence[TaskMessage]) -> None:
        """Run these too."""
        self._unfinished += len(messages)
        self._messages.update({message.event.event_id: message for message in messages})
        self._queue.add(messages)

    async def wait(self, at_most: int | None, together: int) -> None:
        """Return when everything has ended, when `at_most` results are there, or after the spill time.

        Also when the worker begins to drain, and soon after a result that may wake the code: it does not wait for all
        (`together` results wake it), or the result is a failure. Those that come within 10 ms of each other travel
        together, for 30 ms.
        """
        if self._lost:
            raise CheckpointConflictError(self._session.instance.instance_id, "its lock was lost")
        self._wanted = self._unfinished if at_most is None else min(at_most, self._unfinished)
        self._any_wakes = together < self._unfinished
        if len(self._results) >= self._wanted:
            return
        self._wake = self._loop.create_future()
        timer = self._loop.call_later(self._spill_seconds, self._awaken)
        if any(self._may_wake(result) for result in self._results):
            self._gather()
        try:
            await self._wake
        finally:
            timer.cancel()
            if self._gathering is not None:
                self._gathering.cancel()
                self._gathering = None
            self._wake = None
        if self._lost:
            raise CheckpointConflictError(self._session.instance.instance_id, "its lock was lost")

    def take(self, at_most: int | None) -> list[ActivityResult]:
        """Return results in the order in which the activities ended, and forget them."""
        if at_most is None or len(self._results) <= at_most:
            results, self._results = self._results, []
        else:
            results, self._results = self._results[:at_most], self._results[at_most:]
        self._unfinished -= len(results)
        return results

    def overdue(self) -> list[TaskMessage]:
        """Return what has been running for the spill time."""
        limit = self._loop.time() - self._spill_seconds
        return [self._messages[task_id] for task_id, since in self._running.items() if since <= limit]

    def is_starving(self) -> bool:
        """Whether nothing of it runs, and nobody has got a slot for a while, because activities of others take long.

        Its own width is no reason (rule R5), nor is a line that moves: whoever leaves it for the hub's queue is overtaken by
        those that come later.
        """
        passed_on, now = self._services.activity_slots.passed_on, self._loop.time()
        if passed_on != self._passed_on:
            self._passed_on, self._standing_since = passed_on, now
        if self._running or self._results or not self._queue.waiting:
            return False
        return now - self._standing_since >= _PATIENCE * self._spill_seconds

    def take_surplus(self) -> list[TaskMessage]:
        """Take out what waits and would not begin now: with activities that take long, it is for whoever has slots."""
        waiting = self._queue.waiting
        surplus = [waiting.pop() for _ in range(len(waiting) - self._services.activity_slots.free)]
        surplus.reverse()
        self._unfinished -= len(surplus)
        return surplus

    def spill(self, messages: Sequence[TaskMessage]) -> None:
        """These become work items: their results wait for `adopt()`."""
        for message in messages:
            task_id = message.event.event_id
            del self._running[task_id]
            self._spilled[task_id] = self._loop.create_future()
            self._unfinished -= 1

    def adopt(self, items: Sequence[ActivityWorkItem]) -> list[ActivityWorkItem]:
        """Spilled activities are stored as these work items; return the items of others."""
        others = []
        for item in items:
            adopted = self._spilled.get(item.message.event.event_id)
            if adopted is None or adopted.done():
                others.append(item)
            else:
                adopted.set_result(item)
                self._adopted = True
        return others

    def hand_over(self) -> tuple[list[TaskMessage], list[TaskMessage]]:
        """End the wave: return what waits, and what has started and is spilled now."""
        waiting = list(self._queue.waiting)
        self._queue.waiting.clear()
        self._unfinished -= len(waiting)
        started = [self._messages[task_id] for task_id in self._running]
        self.spill(started)
        for result in self.take(None):  # ended, but too late to be written as part of the wave
            self._spilled[result.task_scheduled_id] = self._loop.create_future()
            started.append(self._messages[result.task_scheduled_id])
            self._services.supervisor.start("local-activity-result", self._finish(result))
        return waiting, started

    def discard(self) -> None:
        """End the wave: nobody wants the results; what runs may end."""
        self._queue.waiting.clear()
        for item in self._spilled.values():
            if not item.done():
                item.set_result(None)
        for task_id in self._running:
            self._spilled[task_id] = self._loop.create_future()
            self._spilled[task_id].set_result(None)
        self._running.clear()

    def cancel(self) -> None:
        """End the wave because the session is lost: discard, and stop what runs unless a work item is among it."""
        self.discard()
        if not self._adopted:
            for task in list(self._queue.runners):
                self._services.runner.revoke(task)

    async def _run(self, message: TaskMessage) -> None:
        task_id = message.event.event_id
        self._running[task_id] = self._loop.time()  # from now on: it is no longer among those that wait
        try:
            is_ours = await self._session.confirm()
        except BackendUnavailableError:  # nobody can say, so nothing begins
            is_ours = False
        if task_id not in self._running:  # that took long, and it was spilled meanwhile
            await self._run_as_work_item(task_id)
            return
        if not is_ours:  # this process stood still, and another worker has the instance
            self._lost = True
            self._awaken()
            return
        self._running[task_id] = self._loop.time()
        result = await self._services.runner.run(message)
        if self._running.pop(task_id, None) is None:
            await self._finish(result)
            return
        self._results.append(result)
        if len(self._results) >= self._wanted:
            self._awaken()
        elif self._gathering is not None:
            self._last = self._loop.time()
        elif self._wake is not None and self._may_wake(result):
            self._gather()

    def _may_wake(self, result: ActivityResult) -> bool:
        return self._any_wakes or result.__class__ is TaskFailed

    def _gather(self) -> None:
        self._last = now = self._loop.time()
        self._gathering = self._loop.call_at(now + _PAUSE_SECONDS, self._gathered, now + _GATHER_SECONDS)

    def _gathered(self, latest: float) -> None:
        end = min(self._last + _PAUSE_SECONDS, latest)
        if self._loop.time() >= end - _CLOCK_SECONDS:
            self._awaken()
        else:
            self._gathering = self._loop.call_at(end, self._gathered, latest)

    async def _finish(self, result: ActivityResult) -> None:
        item = await self._spilled[result.task_scheduled_id]
        del self._spilled[result.task_scheduled_id]
        if item is not None:
            await self._services.activities.finish(item, result)

    async def _run_as_work_item(self, task_id: int) -> None:
        item = await self._spilled[task_id]
        del self._spilled[task_id]
        if item is not None:
            self._services.activities.run_claimed((item,))

    def _awaken(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
