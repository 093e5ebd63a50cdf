"""What this worker does with the partitions it owns: listen, drain, let go. Knows no lease.

Source: specs/azure-storage.md 7.1 (hand-over, shutdown).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.aio.supervisor import FailureReport, end_tasks, failure_of
from durable_ext.backends.azure_storage.control_queue import ControlQueueListener
from durable_ext.backends.azure_storage.leases import DrainState
from durable_ext.backends.azure_storage.sessions import SessionDirectory

_log = logging.getLogger("durable_ext.backends.azure_storage")
DRAIN_LIMIT: Final = timedelta(seconds=60)
_DRAIN_POLL_SECONDS: Final = 0.1
_LAST_GET_SECONDS: Final = 3.0  # less than a worker that stops has for all it gives back


class ListeningPartitions:
    """Owns one listener task per partition in use. Used from the event loop only."""

    def __init__(
        self,
        *,
        directory: SessionDirectory,
        make_listener: Callable[[int], ControlQueueListener],
        clock: Clock,
        task_hub: str,
        failed: FailureReport,
        drained: Callable[[], None],
    ) -> None:
        self._directory, self._make_listener, self._clock = directory, make_listener, clock
        self._task_hub, self._failed, self._drained = task_hub, failed, drained
        self._listeners: dict[int, tuple[ControlQueueListener, asyncio.Task[None]]] = {}
        self._drains: dict[int, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._states: dict[int, DrainState] = {}

    @property
    def states(self) -> dict[int, DrainState]:
        """Partitions that are listened to or drained."""
        return dict(self._states)

    def listens(self, partition: int) -> bool:
        """Whether new messages of a partition are taken."""
        return self._states.get(partition) is DrainState.LISTENING

    def listen(self, partition: int) -> None:
        """Begin to take messages; does nothing if it listens already."""
        if self._states.get(partition) is DrainState.LISTENING:
            return
        drain = self._drains.pop(partition, None)
        if drain is not None:
            drain.cancel()
        self._directory.enter(partition)
        listener = self._make_listener(partition)
        task = asyncio.get_running_loop().create_task(listener.run(), name=f"{self._task_hub}-control-{partition:02d}")
        task.add_done_callback(self._ended)
        self._listeners[partition] = (listener, task)
        self._states[partition] = DrainState.LISTENING
        self._say("partition taken", "partition_taken", partition)

    def drain(self, partition: int) -> None:
        """Stop taking messages, let sessions end, give the rest back; the state becomes DRAINED."""
        if self._states.get(partition) is not DrainState.LISTENING:
            return
        listener = self._stop_listener(partition)
        self._states[partition] = DrainState.DRAINING
        self._directory.leave(partition)
        task = asyncio.get_running_loop().create_task(
            self._finish(partition, listener), name=f"{self._task_hub}-drain-{partition:02d}"
        )
        task.add_done_callback(self._ended)
        self._drains[partition] = task

    def forget(self, partition: int) -> None:
        """The partition was released after draining."""
        self._states.pop(partition, None)
        self._drains.pop(partition, None)

    def lose(self, partition: int) -> None:
        """The partition belongs to somebody else: drop everything at once."""
        if partition not in self._states:
            return
        self._stop_listener(partition)
        drain = self._drains.pop(partition, None)
        if drain is not None:
            drain.cancel()
        self._states.pop(partition, None)
        self._directory.leave(partition)
        self._directory.lose(partition)
        self._say("partition lost", "partition_lost", partition)

    def wake(self, partition: int) -> None:
        """This process has put a message into the partition's queue."""
        found = self._listeners.get(partition)
        if found is not None:
            found[0].wake()

    async def quiet(self) -> None:
        """Take no more messages: wait for the gets that are under way, and give back what they bring."""
        for partition in list(self._listeners):
            self._stop_listener(partition)
        if self._ending:
            await asyncio.wait(list(self._ending), timeout=_LAST_GET_SECONDS)

    async def stop(self) -> None:
        """Stop all listeners and drains at once."""
        tasks = {task for _, task in self._listeners.values()} | set(self._drains.values()) | self._ending
        self._listeners.clear()
        self._drains.clear()
        await end_tasks(tasks)

    def _stop_listener(self, partition: int) -> asyncio.Task[None] | None:
        """Let a listener end: a get that is cancelled would leave its messages invisible, with nobody holding them."""
        found = self._listeners.pop(partition, None)
        if found is None:
            return None
        listener, task = found
        listener.stop()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def _finish(self, partition: int, listener: asyncio.Task[None] | None) -> None:
        deadline = self._clock.monotonic() + DRAIN_LIMIT.total_seconds()
        if listener is not None:
            await asyncio.wait([listener], timeout=_LAST_GET_SECONDS)
        while self._directory.active_sessions(partition) and self._clock.monotonic() < deadline:
            await self._clock.sleep(_DRAIN_POLL_SECONDS)
        await self._directory.give_back(partition)
        self._directory.lose(partition)  # what is still busy after a minute has no lease any more
        self._states[partition] = DrainState.DRAINED
        self._say("partition drained", "partition_drained", partition)
        self._drained()

    def _ended(self, task: asyncio.Task[None]) -> None:
        failure = failure_of(task)
        if failure is not None:
            self._failed(failure)

    def _say(self, text: str, event: str, partition: int) -> None:
        _log.info(
            "%s: %02d of task hub '%s'",
            text,
            partition,
            self._task_hub,
            extra={"event": event, "task_hub": self._task_hub, "partition": partition},
        )
