"""Activities: takes work items from the shared queue, completes and abandons them.

Source: specs/azure-storage.md 8.10.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.aio.supervisor import Supervisor
from durable_ext.aio.wakeups import Wakeup
from durable_ext.backends.azure_storage.backoff import PollingBackoff
from durable_ext.backends.azure_storage.held_message import HeldMessage
from durable_ext.backends.azure_storage.message_codec import Sender
from durable_ext.backends.azure_storage.message_keeper import MessageKeeper
from durable_ext.backends.azure_storage.message_reader import MessageReader
from durable_ext.backends.azure_storage.outbox import Outbox
from durable_ext.backends.azure_storage.transport.errors import StorageNotFoundError, level_of
from durable_ext.backends.azure_storage.transport.queue import QueueMessage, QueueVerbs
from durable_ext.backends.fetching_ahead import QUICK_SECONDS, UNTAKEN_SECONDS
from durable_ext.backends.protocol import ActivityWorkItem
from durable_ext.core.events import HistoryEvent
from durable_ext.core.messages import OrchestrationInstance, TaskMessage
from durable_ext.errors import BackendError, LeaseLostError

_log = logging.getLogger("durable_ext.backends.azure_storage")
_FIRST_GET: Final = 8
_MAX_GET: Final = 32
_OUTAGE_WAIT_SECONDS: Final = 5.0
_LAST_GET_SECONDS: Final = 5.0
_NO_EPISODE: Final = -1
_SUSPECT_DEATHS: Final = 2
_SUSPECT_WAIT_SECONDS: Final = 5


class WorkItemQueue:
    """`ActivityStore` on the work-item queue. Used from one event loop only.

    Fetches ahead, up to 32 items a get, as long as they are taken within half a second; what lies for two seconds is given
    back, so that a worker with slow activities does not starve the others.

    Of items that several workers have died with in a run, one at a time is kept: if it kills this worker too, only its own
    deaths grow, not those of activities that ran beside it by chance.
    """

    def __init__(
        self,
        *,
        queue: str,
        queues: QueueVerbs,
        reader: MessageReader,
        keeper: MessageKeeper,
        outbox: Outbox,
        clock: Clock,
        backoff: PollingBackoff,
        hand_over: Callable[[Sequence[HeldMessage]], None],
        errands: Supervisor,
        is_deleted: Callable[[], bool],
    ) -> None:
        """`is_deleted` = whether this process itself has deleted the hub."""
        self._queue, self._queues, self._reader = queue, queues, reader
        self._keeper, self._outbox, self._clock = keeper, outbox, clock
        self._hand_over, self._errands = hand_over, errands
        self._backoff, self._is_deleted = backoff, is_deleted
        self._wakeup = Wakeup()
        self._fetch_ended = Wakeup()
        self._fetched: deque[HeldMessage] = deque()
        self._fetched_at = 0.0
        self._count = _FIRST_GET
        self._suspect: HeldMessage | None = None
        self._fetch_task: asyncio.Task[bool] | None = None
        self._watch_task: asyncio.Task[None] | None = None
        self._emptied = False
        self._draining = self._paused = False

    def wake(self) -> None:
        """A visible work item was put by this process."""
        self._wakeup.set()

    async def pause(self) -> None:
        """Hand out nothing until `resume()`, and give back what was fetched: another application works on the hub."""
        self._paused = True
        await self._give_back_fetched()

    def resume(self) -> None:
        """Go on after `pause()`."""
        self._paused = False
        self._wakeup.set()

    async def drain(self) -> None:
        """Hand out nothing new, and give back what was fetched and not handed out."""
        self._draining = True
        self._wakeup.set()
        await self._give_back_fetched()

    async def lock_next_activity(self, wait: timedelta) -> ActivityWorkItem | None:
        deadline = self._clock.monotonic() + wait.total_seconds()
        while not self._draining:
            if self._paused:
                if not await self._wakeup.wait(max(deadline - self._clock.monotonic(), 0.0)):
                    return None
                continue
            item = self._next_fetched()
            if item is not None:
                return item
            if self._fetched:
                await self._give_back_untaken()
            left = deadline - self._clock.monotonic()
            if left < 0:
                return None
            if self._fetch_task is not None and not self._fetch_task.done():  # another caller is at it
                await self._fetch_ended.wait(left)
                continue
            # A get that returned less than it asked for has emptied the queue: an empty one right after it says nothing.
            if not self._emptied:
                # A caller that is cancelled leaves the get to itself: what that brings must be held by somebody.
                self._fetch_task = self._errands.start("fetch-work-items", self._fetch())
                if await asyncio.shield(self._fetch_task):
                    continue
            self._emptied = False
            pause = self._backoff.after_empty(random.random())
            if await self._wakeup.wait(min(pause, max(left, 0.0))):
                self._backoff.reset()
            elif pause > left:
                return None
        return None

    def _next_fetched(self) -> ActivityWorkItem | None:
        if not self._fetched or self._clock.monotonic() - self._fetched_at >= UNTAKEN_SECONDS:
            return None
        held = self._fetched.popleft()
        return ActivityWorkItem(
            item_id=held.message_id, message=held.message, dequeue_count=held.dequeue_count, deaths=held.deaths
        )

    async def _watch_fetched(self) -> None:
        """Give back what is not taken, also while nobody asks because all slots are busy."""
        while self._fetched:
            left = self._fetched_at + UNTAKEN_SECONDS - self._clock.monotonic()
            if left > 0:
                await self._clock.sleep(left)
            else:
                await self._give_back_untaken()

    async def _give_back_untaken(self) -> None:
        self._count = 1
        await self._give_back_fetched()
        self._look_again()

    def _look_again(self) -> None:
        """Items were given back, which need not wait for the next poll of this worker."""
        self._emptied = False
        self._wakeup.set()

    async def _give_back_fetched(self) -> None:
        fetched = list(self._fetched)
        self._fetched.clear()
        await self._keeper.release_all(fetched)

    async def _fetch(self) -> bool:
        try:
            now = self._clock.monotonic()
            if now - self._fetched_at < QUICK_SECONDS:
                self._count = min(self._count * 2, _MAX_GET)
            visibility = self._keeper.visibility
            asked = self._clock.monotonic()
            messages = await self._get_or_create(visibility)
            if not messages:
                return False
            self._emptied = len(messages) < self._count
            held, _ = await self._reader.read_all(self._queue, messages, visibility, asked)
            held = await self._with_one_suspect([one for one in held if not self._keeper.recognizes(one)])
        except BackendError as exc:
            _log.log(
                level_of(exc),
                "work-item queue '%s' could not be read: %s",
                self._queue,
                exc,
                extra={"event": "work_item_queue_unavailable", "queue": self._queue, "error": str(exc)},
            )
            await self._wakeup.wait(_OUTAGE_WAIT_SECONDS)
            return False
        finally:
            self._fetch_ended.set()
        self._backoff.reset()
        self._fetched_at = self._clock.monotonic()
        for one in held:
            self._keeper.hold(one)
            self._fetched.append(one)
        if self._watch_task is None or self._watch_task.done():
            self._watch_task = self._errands.start("watch-fetched-work-items", self._watch_fetched())
        if self._draining or self._paused:
            await self._give_back_fetched()
        return bool(held)

    async def _get_or_create(self, visibility: int) -> Sequence[QueueMessage]:
        try:
            return await self._queues.get(self._queue, count=self._count, visibility=visibility)
        except StorageNotFoundError:
            if not self._is_deleted():
                await self._queues.create(self._queue)  # somebody else has deleted it
            return ()

    async def _with_one_suspect(self, fetched: list[HeldMessage]) -> list[HeldMessage]:
        """Give back all suspects but one, before anything of what was fetched may begin."""
        kept, others = [], []
        for held in fetched:
            if held.deaths < _SUSPECT_DEATHS:
                kept.append(held)
            elif self._suspect is None or self._keeper.find(self._suspect.message_id) is not self._suspect:
                self._suspect = held
                self._keeper.hold(held)
                kept.append(held)
            else:
                others.append(held)
        await self._keeper.release_all(others, _SUSPECT_WAIT_SECONDS)
        return kept

    async def begin(self, item: ActivityWorkItem) -> bool:
        held = self._keeper.find(item.item_id)
        return held is not None and await self._keeper.begin(held)

    async def complete(self, item: ActivityWorkItem, result: HistoryEvent) -> None:
        """Send the result, then delete the item. After a crash between the two the activity runs again (8.10).

        An item that could not be deleted, or not in time, comes back; if it comes to this worker it is deleted then.
        """
        held = self._keeper.find(item.item_id)
        scheduled = item.message.target
        episode = held.envelope.episode if held is not None else None
        message = TaskMessage(
            event=result,
            target=OrchestrationInstance(instance_id=scheduled.instance_id, execution_id=scheduled.execution_id),
        )
        sender = Sender(instance_id=scheduled.instance_id, execution_id=scheduled.execution_id)
        try:
            sent = await self._outbox.send_to_instance(
                message, sender=sender, episode=_NO_EPISODE if episode is None else episode
            )
        except StorageNotFoundError as exc:
            if self._is_deleted():  # nobody will ever make its queue again
                raise LeaseLostError(f"The work item of instance '{scheduled.instance_id}'") from exc
            raise
        deleted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if sent.claimed:
            if held is not None and held.dequeue_count == 1 and not held.is_old:
                sent.work_item_deleted = deleted  # the session that uses the result waits for it (`rival_results.py`)
            self._hand_over([sent])
        self._keeper.finished.add(item.item_id)
        is_gone = False
        try:
            is_gone = held is not None and await self._keeper.delete(held)
        finally:
            deleted.set_result(is_gone)

    async def abandon(self, item: ActivityWorkItem) -> None:
        held = self._keeper.find(item.item_id)
        if held is not None:
            await self._keeper.abandon(held)

    async def release(self, item: ActivityWorkItem) -> None:
        held = self._keeper.find(item.item_id)
        if held is not None:
            await self._keeper.release(held)
            self._look_again()

    async def stop(self) -> None:
        """End the get that is under way and give back what it brings; after `drain`."""
        if self._fetch_task is not None and not self._fetch_task.done():
            await asyncio.wait([self._fetch_task], timeout=_LAST_GET_SECONDS)
