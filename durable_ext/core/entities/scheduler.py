"""EntityScheduler: which requests an entity works on next; runs no user code and builds no events.

Rules: specs/azure-storage.md 10.6, specs/execution-semantics.md 12.2 and 12.8.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import takewhile
from typing import Final

from durable_ext.core.entities.codec_port import EntityCodec
from durable_ext.core.entities.definitions import EntityOptions
from durable_ext.core.entities.messages import (
    OPERATION_EVENT,
    ORPHANED_LOCK_RELEASE_ID,
    RELEASE_EVENT,
    EntityRelease,
    EntityRequest,
    EntityStatus,
    SchedulerState,
)
from durable_ext.core.entities.recent import RecentRequests
from durable_ext.core.entities.sorter import MessageSorter
from durable_ext.core.events import EventRaised
from durable_ext.core.timestamps import Ticks, ticks_add, ticks_between

_EARLY: Final = timedelta(milliseconds=100)
_SUSPENSION_LIMIT: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """What came with a batch of messages besides requests for the queue.

    `early` are delayed requests that must wait on, `unreadable` payloads that are no entity messages.
    """

    early: tuple[EntityRequest, ...] = ()
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What the entity does now: operations in order, then perhaps a lock request to answer.

    `is_cut` = more are waiting. `grants_next` = the lock is to be stored first; the turn after that answers who asked.
    """

    operations: tuple[EntityRequest, ...] = ()
    lock: EntityRequest | None = None
    is_cut: bool = False
    grants_next: bool = False


class EntityScheduler:
    """Queue, lock and sorter of one entity in one session; used from one thread at a time.

    A store that sends before it commits could grant a lock and forget it with its worker. There a lock takes two turns:
    after the first the entity is locked and the request still first in the queue, after the second it is answered. Whoever
    loads what lies between, another provider too, grants the lock (again).
    """

    __slots__ = (
        "_codec",
        "_first",
        "_foreign",
        "_in_queue",
        "_loaded",
        "_lock_request",
        "_locked_by",
        "_options",
        "_queue",
        "_recent",
        "_sorter",
        "_suspended",
    )

    def __init__(self, state: SchedulerState, codec: EntityCodec, options: EntityOptions) -> None:
        self._codec, self._options = codec, options
        self._queue = deque(state.queue)
        self._in_queue = {request.request_id for request in state.queue}
        self._locked_by, self._lock_request, self._suspended = state.locked_by, state.lock_request, state.suspended
        self._sorter = MessageSorter(options.sorting_window, state.sorter)
        self._loaded = frozenset({state.lock_request, *self._in_queue})  # requests that another session has taken in
        self._recent = RecentRequests(state.recent)
        self._foreign = state.foreign
        self._first: str | None = None  # in the queue before the messages of this work item

    @property
    def sorter(self) -> MessageSorter:
        """The sorter, which also stamps what the entity sends."""
        return self._sorter

    def take_in(self, events: Iterable[EventRaised], *, now: Ticks, generation_began: Ticks | None) -> Arrivals:
        """Sort the events of a work item into the queue; `generation_began` is when the last batch was committed."""
        early: list[EntityRequest] = []
        unreadable: list[str] = []
        from_holder: list[EntityRequest] = []
        self._first = self._queue[0].request_id if self._queue else None
        for event in events:
            try:
                if event.name.startswith(OPERATION_EVENT):
                    self._take_request(event, now, early, from_holder)
                elif event.name == RELEASE_EVENT:
                    self._release(self._codec.read_release(event.input or ""))
                else:  # a continue message of its own; other workers treat any other name alike
                    self._suspended = False
            except ValueError as error:
                unreadable.append(str(error))
        self._put_first(from_holder)
        if self._suspended and generation_began is not None and ticks_between(generation_began, now) > _SUSPENSION_LIMIT:
            self._suspended = False  # its continue message was lost
        return Arrivals(early=tuple(early), unreadable=tuple(unreadable))

    def next_turn(self, *, at_most: int | None = None) -> Turn:
        """Take from the queue what may run now, at most so many operations; the rest is for the turn that follows.

        At most one: and one that came with others only when all of them are stored. What is begun next is then the same
        until it has ended, however often the messages come again and in which order.
        """
        operations: list[EntityRequest] = []
        queue, limit = self._queue, self._options.max_batch
        if at_most is not None:
            limit = at_most if limit is None else min(limit, at_most)
        if at_most == 1 and queue:
            limit = 1 if len(queue) == 1 or queue[0].request_id == self._first else 0
        if self._suspended:
            return Turn()
        while queue and (self._locked_by is None or queue[0].parent == self._locked_by):
            if limit is not None and len(operations) >= limit:
                self._suspended = True
                return Turn(operations=tuple(operations), is_cut=True)
            request = queue[0]
            if request.is_lock and self._locked_by is None:
                self._lock(request)
                if not self._options.deliver_in_order:
                    return Turn(operations=tuple(operations), grants_next=True)
            queue.popleft()
            self._in_queue.discard(request.request_id)
            if request.is_lock:
                self._lock_request = request.request_id  # its holder asked twice if it is another one
                # More of its holder wait, because a worker died that had sent them: nothing else would wake it.
                self._suspended = bool(queue) and queue[0].parent == request.parent
                return Turn(operations=tuple(operations), lock=request, is_cut=self._suspended)
            operations.append(request)
        return Turn(operations=tuple(operations))

    def capped_due(self, due: Ticks, now: Ticks) -> Ticks:
        """Return when a delayed message shall be delivered: at its time, or after one hop if that is too far away."""
        longest = self._options.max_delay
        if longest is None or ticks_between(now, due) <= longest:
            return due
        return ticks_add(now, self._options.delay_step or longest)

    def commit(self, *, exists: bool, state: str | None, now: Ticks, goes_on: bool = False) -> SchedulerState:
        """Return what has to be stored after the turn; `goes_on` with another one before messages are deleted."""
        return SchedulerState(
            exists=exists,
            state=state,
            queue=tuple(self._queue),
            locked_by=self._locked_by,
            suspended=self._suspended,
            sorter=self._sorter.state,
            lock_request=self._lock_request if self._locked_by and not self._options.deliver_in_order else None,
            recent=self._recent.commit(now, goes_on=goes_on),
            foreign=self._foreign,
        )

    def status(self, *, exists: bool) -> EntityStatus:
        """Return what the entity's row shows."""
        return EntityStatus(exists=exists, queue_size=len(self._queue), locked_by=self._locked_by)

    def _lock(self, request: EntityRequest) -> None:
        """The lock is its sender's, and what waits of its sender comes first from now on."""
        self._locked_by, self._lock_request = request.parent, request.request_id
        in_order = sorted(self._queue, key=lambda each: each.parent != request.parent)
        self._queue.clear()
        self._queue.extend(in_order)

    def _release(self, release: EntityRelease) -> None:
        """Give up a lock, if it is the one that is held; its request is done with, granted or not.

        That request may still come, or come again: nobody would give back what it locks.
        """
        request_id = release.lock_request_id
        is_orphaned = request_id == ORPHANED_LOCK_RELEASE_ID
        is_held = release.parent == self._locked_by and (is_orphaned or self._lock_request in (None, request_id))
        has_come = request_id in self._in_queue or (is_held and self._lock_request == request_id)
        if is_held:
            self._locked_by = self._lock_request = None
        if not is_orphaned and not (is_held and self._options.deliver_in_order):
            self._forget(request_id, to_this_session=has_come and request_id not in self._loaded)

    def _forget(self, request_id: str, *, to_this_session: bool) -> None:
        """Know a lock request that comes after its release.

        If it has come `to_this_session`, its message is deleted, or came with this work item and is remembered. What may
        come is a copy of a sender that sends again: one request more among the last ones.
        """
        if to_this_session:
            self._recent.is_new(request_id)
        else:
            self._recent.keep(request_id)
        if request_id in self._in_queue:
            self._in_queue.discard(request_id)
            others = [each for each in self._queue if each.request_id != request_id]
            self._queue.clear()
            self._queue.extend(others)

    def _put_first(self, requests: Sequence[EntityRequest]) -> None:
        """Requests of the holder go before all others, but behind its operations that wait: they may be answered already."""
        if not requests:
            return
        holder = requests[0].parent
        ahead = sum(1 for _ in takewhile(lambda each: each.parent == holder and not each.is_lock, self._queue))
        self._queue.rotate(-ahead)
        self._queue.extendleft(reversed(requests))
        self._queue.rotate(ahead)

    def _take_request(
        self, event: EventRaised, now: Ticks, early: list[EntityRequest], from_holder: list[EntityRequest]
    ) -> None:
        request = self._codec.read_request(event.input or "")
        if event.name == OPERATION_EVENT:
            deliverable: Sequence[EntityRequest] = list(self._sorter.receive(request))
        elif request.due is not None and ticks_between(now, request.due) > _EARLY:
            early.append(request)
            return
        else:
            deliverable = (request,)
        for each in deliverable:
            if self._is_duplicate(each):
                continue
            self._in_queue.add(each.request_id)
            if self._locked_by is not None and each.parent == self._locked_by:
                from_holder.append(each)
            else:
                self._queue.append(each)

    def _is_duplicate(self, request: EntityRequest) -> bool:
        if request.is_lock and self._recent.knows(request.request_id):
            return True
        if self._options.deliver_in_order:
            return False
        if request.request_id in self._in_queue:
            return True
        if self._sorter.participates(request) and not request.is_lock:  # of one that has come, a release leaves nothing
            return False
        return not self._recent.is_new(request.request_id)


def forwarded(request: EntityRequest) -> EntityRequest | None:
    """Return the lock request for the next entity of its set, `None` if this was the last."""
    position = request.position + 1
    if request.lock_set is None or position >= len(request.lock_set):
        return None
    return replace(request, position=position)
