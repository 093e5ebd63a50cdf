"""MessageSorter: puts the requests of each sender in order and drops the ones that came before.

Used by whoever sends requests (to stamp them) and by the entity that receives them. Rules: specs/azure-storage.md 10.6,
specs/execution-semantics.md 12.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from durable_ext.core.entities.messages import (
    EMPTY_SORTER,
    NO_STAMP,
    EntityRequest,
    SenderRecord,
    SorterState,
    Stamp,
)
from durable_ext.core.timestamps import TICKS_PER_SECOND, Ticks

_COLLECTION_INTERVAL: Final = 10 * TICKS_PER_SECOND
# Of a sender's generations before this one. A message of a worker that died comes back after a minute, more than once if
# workers go on dying. The most that one sender may add to the state of an entity is 20,000 characters.
_ALWAYS_REMEMBERED: Final = 8
_REMEMBERED_FOR: Final = 300 * TICKS_PER_SECOND
_MOST_REMEMBERED: Final = 400
_TOLD_APART_BY: Final = 12  # characters of an execution id


class _Sender:
    """What is known of one sender; `SenderRecord` while it may change."""

    __slots__ = ("buffered", "execution_id", "former", "last")

    def __init__(self, record: SenderRecord) -> None:
        self.last, self.execution_id = record.last, record.execution_id
        self.buffered = dict(record.buffered)
        self.former = {name[:_TOLD_APART_BY]: stamp for name, stamp in record.former.items()}

    def record(self) -> SenderRecord:
        return SenderRecord(
            last=self.last, execution_id=self.execution_id, buffered=dict(self.buffered), former=dict(self.former)
        )

    def begin(self, execution_id: str | None, stamp: Stamp) -> None:
        """The sender has a new generation; former ones are remembered, because what they sent may come once more."""
        if self.execution_id is not None and self.last.ticks:
            self.former[self.execution_id[:_TOLD_APART_BY]] = self.last
            surplus = len(self.former) - _ALWAYS_REMEMBERED
            for name in list(self.former)[: max(surplus, 0)]:
                if len(self.former) <= _MOST_REMEMBERED and self.former[name].ticks + _REMEMBERED_FOR >= stamp.ticks:
                    break
                del self.former[name]
        self.last, self.execution_id = NO_STAMP, execution_id
        self.buffered.clear()

    def takes_late(self, request: EntityRequest) -> bool | None:
        """Whether a request of a former generation is new; `None` if it is of no generation that is remembered."""
        name = (request.parent_execution or "")[:_TOLD_APART_BY]
        former = self.former.get(name)
        if former is None:
            return None
        if request.timestamp.ticks <= former.ticks:
            return False
        self.former[name] = request.timestamp
        return True


class MessageSorter:
    """One per orchestration generation (to send) or entity (to send and receive); used from one thread at a time.

    A window of zero turns it off: nothing is stamped, everything is delivered as it comes.
    """

    __slots__ = ("_changed", "_receive_horizon", "_received", "_send_horizon", "_sent", "_state", "_window")

    def __init__(self, window: timedelta, state: SorterState = EMPTY_SORTER) -> None:
        self._window = window // timedelta(microseconds=1) * 10
        self._state = state
        self._changed = False
        self._sent = dict(state.last_sent)
        self._received = {sender: _Sender(record) for sender, record in state.received.items()}
        self._receive_horizon, self._send_horizon = state.receive_horizon, state.send_horizon

    @property
    def state(self) -> SorterState:
        """What has to be remembered; the same object as long as nothing changed."""
        if self._changed:
            self._changed = False
            self._state = SorterState(
                last_sent=dict(self._sent),
                received={sender: entry.record() for sender, entry in self._received.items()},
                receive_horizon=self._receive_horizon,
                send_horizon=self._send_horizon,
            )
        return self._state

    def stamp(self, destination: str, now: Ticks) -> tuple[Stamp, Stamp]:
        """Return timestamp and predecessor for the next request to `destination`; no stamps if the window is zero.

        `now` is the orchestration's time, or an entity's clock.
        """
        if not self._window:
            return NO_STAMP, NO_STAMP
        self._changed = True
        if self._send_horizon.ticks + self._window + _COLLECTION_INTERVAL < now:
            self._send_horizon = Stamp(now - self._window)
            horizon = self._send_horizon.ticks
            self._sent = {to: stamp for to, stamp in self._sent.items() if stamp.ticks >= horizon}
        predecessor = self._sent.get(destination, NO_STAMP)
        timestamp = Stamp(now) if now > predecessor.ticks else Stamp(predecessor.ticks + 1, False)
        self._sent[destination] = timestamp
        return timestamp, predecessor

    def receive(self, request: EntityRequest) -> Iterator[EntityRequest]:
        """Yield the requests that can be delivered now that `request` has come: none, it, or others with it.

        Clients and forwarded lock requests take no part; nor does what a sender with a window of zero sent.
        """
        if not self._window or request.parent is None or request.position > 0 or not request.timestamp.ticks:
            yield request
            return
        if self._receive_horizon.ticks + self._window + _COLLECTION_INTERVAL < request.timestamp.ticks:
            yield from self._advance(Stamp(request.timestamp.ticks - self._window, request.timestamp.utc))
        horizon = self._receive_horizon.ticks
        if request.timestamp.ticks < horizon:
            yield request
            return
        self._changed = True
        sender = self._received.get(request.parent)
        if sender is None:
            sender = self._received[request.parent] = _Sender(SenderRecord(execution_id=request.parent_execution))
        elif sender.execution_id != request.parent_execution:
            is_new = sender.takes_late(request)
            if is_new is not None:  # it comes late, or once more because its sender had to play its end again
                if is_new:
                    yield request
                return
            waiting = _in_order(sender)
            sender.begin(request.parent_execution, request.timestamp)
            yield from waiting
        if request.timestamp.ticks <= sender.last.ticks:
            return  # delivered before: a duplicate
        if request.predecessor.ticks > sender.last.ticks and request.predecessor.ticks >= horizon:
            sender.buffered[request.timestamp] = request
            return
        yield request
        sender.last = request.timestamp
        yield from self._deliver_buffered(sender)

    def participates(self, request: EntityRequest) -> bool:
        """Whether `receive` recognises a second delivery of this request."""
        return (
            bool(self._window)
            and request.parent is not None
            and request.parent_execution is not None
            and not request.position
            and request.due is None
            and bool(request.timestamp.ticks)
        )

    def _advance(self, horizon: Stamp) -> Iterator[EntityRequest]:
        self._changed = True
        self._receive_horizon = horizon
        for name, sender in list(self._received.items()):
            if sender.last.ticks < horizon.ticks:
                sender.last = NO_STAMP
            yield from self._deliver_buffered(sender)
            if not sender.last.ticks and not sender.buffered:
                del self._received[name]

    def _deliver_buffered(self, sender: _Sender) -> Iterator[EntityRequest]:
        horizon = self._receive_horizon.ticks
        for request in _in_order(sender):
            if request.predecessor.ticks > sender.last.ticks and request.predecessor.ticks >= horizon:
                return
            del sender.buffered[request.timestamp]
            sender.last = request.timestamp if request.timestamp.ticks >= horizon else NO_STAMP
            yield request


def _in_order(sender: _Sender) -> list[EntityRequest]:
    if not sender.buffered:
        return []
    return [request for _, request in sorted(sender.buffered.items(), key=lambda item: item[0].ticks)]
