"""EntityScheduler: which requests an entity works on next; runs no user code and builds no events.

Rules: specs/azure-storage.md 10.6, specs/execution-semantics.md 12.2 and 12.8.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from durable_ext.core.entities.codec_port import EntityCodec
from durable_ext.core.entities.definitions import EntityOptions
from durable_ext.core.entities.messages import (
    OPERATION_EVENT,
    RELEASE_EVENT,
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
    """What the entity does now: operations in order, then perhaps a lock request; `is_cut` = more are waiting."""

    operations: tuple[EntityRequest, ...] = ()
    lock: EntityRequest | None = None
    is_cut: bool = False


class EntityScheduler:
    """Queue, lock and sorter of one entity in one session; used from one thread at a time."""

    __slots__ = (
        "_codec",
        "_first",
        "_foreign",
        "_in_queue",
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
        self._locked_by, self._suspended = state.locked_by, state.suspended
        self._sorter = MessageSorter(options.sorting_window, state.sorter)
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
                    if self._codec.read_release(event.input or "").parent == self._locked_by:
                        self._locked_by = None
                else:  # a continue message of its own; other workers treat any other name alike
                    self._suspended = False
            except ValueError as error:
                unreadable.append(str(error))
        self._queue.extendleft(reversed(from_holder))
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
            request = queue.popleft()
            self._in_queue.discard(request.request_id)
            if request.is_lock:
                self._locked_by = request.parent
                # Its holder asked twice, because a worker died that had sent the first request: nothing else would wake it.
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

    def commit(self, *, exists: bool, state: str | None, now: Ticks) -> SchedulerState:
        """Return what has to be stored after the turn."""
        return SchedulerState(
            exists=exists,
            state=state,
            queue=tuple(self._queue),
            locked_by=self._locked_by,
            suspended=self._suspended,
            sorter=self._sorter.state,
            recent=self._recent.commit(now) if not self._options.deliver_in_order else (),
            foreign=self._foreign,
        )

    def status(self, *, exists: bool) -> EntityStatus:
        """Return what the entity's row shows."""
        return EntityStatus(exists=exists, queue_size=len(self._queue), locked_by=self._locked_by)

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
        if self._options.deliver_in_order:
            return False
        if request.request_id in self._in_queue:
            return True
        return not self._sorter.participates(request) and not self._recent.is_new(request.request_id)


def forwarded(request: EntityRequest) -> EntityRequest | None:
    """Return the lock request for the next entity of its set, `None` if this was the last."""
    position = request.position + 1
    if request.lock_set is None or position >= len(request.lock_set):
        return None
    return replace(request, position=position)
