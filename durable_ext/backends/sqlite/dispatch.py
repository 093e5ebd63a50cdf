"""Sessions and activities of this process: who gets which work; lives on the event loop and never waits for SQLite."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from durable_ext.aio.clock import Clock
from durable_ext.aio.supervisor import Supervisor
from durable_ext.backends.fetching_ahead import QUICK_SECONDS, UNTAKEN_SECONDS
from durable_ext.backends.protocol import ActivityWorkItem
from durable_ext.backends.sqlite.alarm import Alarm
from durable_ext.backends.sqlite.checkpoint_writes import CheckpointWrite, CheckpointWriter, Written
from durable_ext.backends.sqlite.effects import Delivery, Effects, LockedInstance
from durable_ext.backends.sqlite.lanes import Lane, back_off
from durable_ext.backends.sqlite.row_watch import RowWatch
from durable_ext.backends.sqlite.session import SqliteSession
from durable_ext.core.timestamps import ticks_add, ticks_from_datetime
from durable_ext.errors import BackendError

if TYPE_CHECKING:
    from durable_ext.backends.sqlite.connection import WriterThread
    from durable_ext.backends.sqlite.group_thread import Waiter
    from durable_ext.backends.sqlite.reads import Reads
    from durable_ext.backends.sqlite.writer_state import ActivityAnswer, ReadyAnswer, WriterState

log = logging.getLogger("durable_ext.sqlite")

_MOST_READY: Final = 256
"""So many instances may be locked here and wait to be fetched; more are left for other processes, or for later."""
_MOST_READY_ALONE: Final = 2048
"""... while no other worker is on the file."""
_LOCK_AT_ONCE: Final = 32
_MOST_READY_ACTIVITIES: Final = 32
_MOST_READY_ACTIVITIES_ALONE: Final = 2048
_RETRY_SECONDS: Final = 1.0


class Dispatch:
    """Turns effects of transactions into work for those who wait for it."""

    def __init__(
        self,
        *,
        writer: WriterThread,
        state: WriterState,
        checkpoints: CheckpointWriter,
        reads: Reads,
        rows: RowWatch,
        clock: Clock,
        supervisor: Supervisor,
    ) -> None:
        self._writer, self._state, self._checkpoints = writer, state, checkpoints
        self._reads, self._rows, self._clock, self._supervisor = reads, rows, clock, supervisor
        self._sessions: dict[int, SqliteSession] = {}
        self._counted: set[int] = set()
        self._alarm = Alarm(clock, self._look_everywhere)
        self._watching: asyncio.Task[None] | None = None
        self._ahead = _MOST_READY_ACTIVITIES // 2
        self._looked_at = 0.0
        self.orchestrations: Lane[SqliteSession] = Lane(lambda: self._look_for_instances(False))
        self.entities: Lane[SqliteSession] = Lane(lambda: self._look_for_instances(True))
        self.activities: Lane[ActivityWorkItem] = Lane(self._look_for_activities)
        self.working = False
        self.draining = False

    # ---- life ----

    async def start(self, loops: Supervisor) -> None:
        await self._writer.submit(self._state.register, None)
        self.working, self.draining = True, False
        loops.start("alarm", self._alarm.run())
        self._look_everywhere()

    async def drain(self) -> None:
        """Give back what nobody has fetched; sessions that run are asked to yield."""
        self.draining = True
        self._set_room()
        unfetched = self.orchestrations.clear() + self.entities.clear()
        items = self.activities.clear()
        for session in self._sessions.values():
            session.wake()
        for session in unfetched:
            await session.release()
        for item in items:
            await self.release_activity(item)

    async def stop(self) -> None:
        """Give up every lock."""
        self.draining = True
        self.working = False
        self._set_room()
        unread = tuple([message_id for session in self._sessions.values() for message_id in session.unread])
        for session in list(self._sessions.values()):
            session.lose()
        self._sessions.clear()
        if unread:
            await self._writer.submit(self._state.forget_deliveries, unread)
        for activity_id in list(self._counted):
            await self._uncount(activity_id)
        await self._writer.submit(self._state.unregister, None)

    def abort(self) -> None:
        """Forget everything without a word to the store."""
        self.working = False
        for session in self._sessions.values():
            session.lose()
        self._sessions.clear()

    # ---- what transactions did ----

    def apply(self, effects: Effects) -> None:
        """Called on the event loop for each durable transaction, before its callers hear of it."""
        if effects.is_empty:
            return
        for n in effects.lost:
            self._lose(n)
        for locked in effects.locked:
            self._admit(locked)
        for delivery in effects.deliveries:
            self._route(delivery)
        if effects.activities:
            self._offer(effects.activities)
        for instance_id, update in effects.updates:
            self._rows.updated(instance_id, update)
        if effects.replaced:
            self._rows.changed(effects.replaced)
        if effects.foreign:
            self._rows.changed_elsewhere()
        if effects.wakes and self.working:
            self._wake_at(min(effects.wakes))
        self._set_room()

    def _wake_at(self, due: int) -> None:
        if due <= ticks_from_datetime(self._clock.now()):
            self._look_everywhere()
        else:
            self._alarm.look_at(due)

    def _route(self, delivery: Delivery) -> None:
        session = self._sessions.get(delivery.n)
        if session is None:
            return  # it was released meanwhile: the message waits in the file
        if delivery.due:
            self._alarm.keep(session, delivery)
        else:
            session.deliver(delivery.message)

    def _admit(self, locked: LockedInstance) -> None:
        """Make a session of a locked instance; one with a history becomes ready when that is read."""
        session = SqliteSession(locked, self)
        self._sessions[locked.n] = session
        if locked.row is not None:
            self._rows.created(locked.row)
        for delivery in locked.deliveries:
            self._route(delivery)
        if not session.needs_history:
            self._ready(session)
            return
        reading = self._reads.histories(locked.n)
        reading.add_done_callback(lambda done: self._history_read(session, done))

    def _history_read(self, session: SqliteSession, reading: asyncio.Future[Any]) -> None:
        if session.is_over or reading.cancelled():
            return
        error = reading.exception()
        if error is None:
            session.history = reading.result()
            self._ready(session)
            return
        log.error(
            "the history of instance %s cannot be read: %s",
            session.instance.instance_id,
            error,
            extra={"event": "history_unreadable", "instance_id": session.instance.instance_id},
        )
        self._supervisor.start("abandon", session.abandon())

    def _ready(self, session: SqliteSession) -> None:
        if self.draining:
            self._supervisor.start("release", session.release())
        else:
            (self.entities if session.is_entity else self.orchestrations).put(session)

    def _lose(self, n: int) -> None:
        session = self._sessions.pop(n, None)
        if session is not None:
            self.entities.discard(session)
            self.orchestrations.discard(session)
            session.lose()

    def _set_room(self) -> None:
        open_here = self.working and not self.draining
        ready = len(self.orchestrations) + len(self.entities)
        most = _MOST_READY_ALONE if self._state.alone else _MOST_READY
        self._state.room = max(0, most - ready) if open_here else 0
        most = _MOST_READY_ACTIVITIES_ALONE if self._state.alone else _MOST_READY_ACTIVITIES
        wanted = self.activities.waiting + most - len(self.activities)
        self._state.activity_room = max(0, wanted) if open_here and self.activities.waiting else 0

    # ---- looking for work ----

    def _look_everywhere(self) -> None:
        if self.working and not self.draining:
            for lane in (self.orchestrations, self.entities, self.activities):
                lane.hint()

    def _look_for_instances(self, is_entity: bool) -> None:
        lane = self.entities if is_entity else self.orchestrations
        if not self.working or self.draining:
            lane.may_have_more = False
            lane.look_ended()
            return
        lane.may_have_more = False
        looking = self._writer.submit(self._state.lock_ready, (is_entity, _LOCK_AT_ONCE))
        looking.add_done_callback(lambda done: self._instances_found(lane, done))

    def _instances_found(self, lane: Lane[SqliteSession], looking: asyncio.Future[ReadyAnswer]) -> None:
        if not looking.cancelled() and looking.exception() is None:
            next_wake = looking.result()
            if next_wake is not None:
                self._wake_lane_at(lane, next_wake)
        elif self.working:
            self._alarm.look_at(self._in(timedelta(seconds=_RETRY_SECONDS)))
        lane.look_ended()
        self._set_room()

    def _look_for_activities(self) -> None:
        lane = self.activities
        lane.may_have_more = False
        if not self.working or self.draining:
            lane.look_ended()
            return
        now = self._clock.monotonic()
        if self._state.alone:
            self._ahead = _MOST_READY_ACTIVITIES_ALONE // 2
        elif now - self._looked_at < QUICK_SECONDS:
            self._ahead = min(2 * self._ahead + 1, _MOST_READY_ACTIVITIES // 2)
        self._looked_at = now
        looking = self._writer.submit(self._state.lock_activities, lane.waiting + self._ahead)
        looking.add_done_callback(self._activities_found)

    def _activities_found(self, looking: asyncio.Future[ActivityAnswer]) -> None:
        if not looking.cancelled() and looking.exception() is None:
            items, next_visible = looking.result()
            self._offer(items)
            if next_visible is not None:
                self._wake_lane_at(self.activities, next_visible)
        elif self.working:
            self._alarm.look_at(self._in(timedelta(seconds=_RETRY_SECONDS)))
        self.activities.look_ended()
        self._set_room()

    def _offer(self, items: Sequence[ActivityWorkItem]) -> None:
        for item in items:
            self.activities.put(item)
        if self._watching is None or self._watching.done():
            self._watching = self._supervisor.start("untaken-activities", self._give_back_untaken())

    async def _give_back_untaken(self) -> None:
        """Leave to other processes what nobody has taken here for two to four seconds: all slots are busy."""
        while len(self.activities):
            ready = self.activities.ready()
            await self._clock.sleep(UNTAKEN_SECONDS)
            if self._state.alone:
                continue
            untaken = [item for item in ready if self.activities.discard(item)]
            self._ahead = 0 if untaken else self._ahead
            await asyncio.gather(*(self._give_back(item) for item in untaken))

    async def _give_back(self, item: ActivityWorkItem) -> None:
        try:
            await self.release_activity(item)
        except BackendError:
            self.activities.put(item)  # the lock is still held

    def _wake_lane_at(self, lane: Lane[Any], due: int) -> None:
        if due <= ticks_from_datetime(self._clock.now()):
            lane.may_have_more = True
        else:
            self._alarm.look_at(due)

    # ---- for sessions ----

    def write_checkpoint(self, write: CheckpointWrite) -> Awaitable[Written]:
        return self._writer.submit(self._checkpoints.write, write)

    def put_checkpoint(self, write: CheckpointWrite, waiter: Waiter) -> None:
        """The same for the next flush of the writer; from any thread."""
        self._writer.put_aside(self._checkpoints.write, write, waiter)

    def forget(self, session: SqliteSession) -> None:
        """The session has ended by itself."""
        if self._sessions.get(session.n) is session:
            del self._sessions[session.n]

    async def give_up(self, session: SqliteSession, delay: timedelta | None) -> None:
        """Unlock the instance; a store that fails is asked again in the background until it succeeds."""
        self.forget(session)
        wake_at = None if delay is None else self._in(delay)
        try:
            payload = (session.n, session.token, wake_at, session.waiting, session.unread)
            await self._writer.submit(self._state.release, payload)
        except BackendError:
            self._supervisor.start("give_up", self._give_up_until_done(session))

    def give_up_in_background(self, session: SqliteSession) -> None:
        self.forget(session)
        if self.working:
            self._supervisor.start("give_up", self._give_up_until_done(session))

    async def _give_up_until_done(self, session: SqliteSession) -> None:
        while self.working:
            try:
                payload = (session.n, session.token, self._in(back_off(1)), (), ())
                await self._writer.submit(self._state.release, payload)
                return
            except BackendError as error:
                log.warning(
                    "cannot unlock instance %s yet: %s",
                    session.instance.instance_id,
                    error,
                    extra={"event": "unlock_failed", "instance_id": session.instance.instance_id},
                )
                await self._clock.sleep(_RETRY_SECONDS)

    def is_worker(self, lock: int) -> bool:
        """Whether this process still has that worker id: it gets a new one when others have declared it dead."""
        return lock == (self._state.owner or 0)

    async def catch_up(self) -> None:
        """After this process stood still for longer than its locks last: learn which of them others have taken over."""
        if self._state.may_have_expired:
            await self._writer.submit(self._state.look_around, None)

    # ---- for activities ----

    async def begin_activity(self, item: ActivityWorkItem) -> bool:
        if not await self._is_ours(item):
            return False
        if item.dequeue_count > 1:
            activity_id = int(item.item_id)
            self._counted.add(activity_id)
            try:
                locked: bool = await self._writer.submit(self._state.count_runs, (activity_id, 1))
                return locked
            except BackendError:
                self._counted.discard(activity_id)  # then this run is not counted
        return True

    def settled_activity(self, item: ActivityWorkItem) -> None:
        """It was completed, or is another worker's."""
        self._counted.discard(int(item.item_id))

    async def _uncount(self, activity_id: int) -> None:
        """The run that began ends while its worker lives."""
        if activity_id in self._counted:
            self._counted.discard(activity_id)
            await self._writer.submit(self._state.count_runs, (activity_id, -1))

    async def _is_ours(self, item: ActivityWorkItem) -> bool:
        if not self._state.may_have_expired:
            return self.is_worker(item.lock)
        try:
            locked: bool = await self._writer.submit(self._state.locked_activities, int(item.item_id))
        except BackendError:
            return False
        return locked

    async def abandon_activity(self, item: ActivityWorkItem) -> None:
        await self._uncount(int(item.item_id))
        await self._free_activity(item, back_off(item.dequeue_count), forget=0)

    async def release_activity(self, item: ActivityWorkItem) -> None:
        """Make an activity visible at once, as if it had not been delivered."""
        await self._uncount(int(item.item_id))
        await self._free_activity(item, timedelta(0), forget=1)

    async def _free_activity(self, item: ActivityWorkItem, delay: timedelta, forget: int) -> None:
        await self._writer.submit(self._state.free_activities, (int(item.item_id), self._in(delay), forget))

    def _in(self, delay: timedelta) -> int:
        return ticks_add(ticks_from_datetime(self._clock.now()), delay)
