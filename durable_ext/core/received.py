"""What an instance has been told: a message that a dead worker could not delete comes again and must not count again.

Within a generation its history tells (specs/azure-storage.md 8.6). A generation that continues as new leaves a note to the
next one: a `GenericEvent`, which every worker plays as nothing, with the times of the messages that may still be there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final
from zlib import crc32

from durable_ext.core.entities.messages import sent_to_entity
from durable_ext.core.events import (
    EventRaised,
    EventSent,
    ExecutionResumed,
    ExecutionSuspended,
    GenericEvent,
    HistoryEvent,
)
from durable_ext.core.messages import MAY_COME_AGAIN
from durable_ext.core.timestamps import Ticks, ticks_between

_KINDS: Final[dict[type[HistoryEvent], tuple[str, tuple[str, ...]]]] = {
    EventRaised: ("E", ("name", "input")),
    ExecutionSuspended: ("S", ("reason",)),
    ExecutionResumed: ("R", ("reason",)),
}
_NOTE: Final = "Received by former generations: "
_MOST: Final = 1000
_KEPT_OF_SESSION: Final = 200


def was_received(events: Sequence[HistoryEvent], event: HistoryEvent) -> bool:
    """Whether history or a note in it has this event: a worker died that had stored it and not yet deleted its message.

    For other events replay knows a copy by the id of what it answers.
    """
    if event.__class__ not in _KINDS:
        return False
    return any(_is_copy(known, event) for known in reversed(events)) or _short(event) in _noted(events)


class ReceivedBefore:
    """Writes the notes of one instance in one session; used from one thread at a time.

    What the first generation of this session left may be a dead worker's: it is kept for `MAY_COME_AGAIN`. Messages of this
    session are deleted before its next checkpoint, unless the queue cannot be reached then: of those the newest are kept.
    """

    __slots__ = ("_inherited", "_own")

    def __init__(self) -> None:
        self._inherited: list[str] | None = None
        self._own: list[str] = []

    def note(self, events: Sequence[HistoryEvent], now: Ticks) -> str | None:
        """Return the note of an episode that leaves generations, `None` if there is nothing to tell.

        `events` are those of the first one that it leaves: whatever came to the episode is there.
        """
        told = _told(events)
        if self._inherited is None:
            self._inherited, told = [*_noted(events), *told], []
        self._inherited, self._own = _recent(self._inherited, now), _recent(self._own, now)
        own = dict.fromkeys((*self._own, *told))
        self._own = list(own)[-_KEPT_OF_SESSION:]
        found = list(dict.fromkeys((*self._inherited, *own)))
        return _NOTE + " ".join(found[-_MOST:]) if found else None


def _is_copy(known: HistoryEvent, event: HistoryEvent) -> bool:
    if known.timestamp != event.timestamp or known.__class__ is not event.__class__:
        return False
    return all(getattr(known, name) == getattr(event, name) for name in _KINDS[event.__class__][1])


def _short(event: HistoryEvent) -> str:
    """Return kind, time, and enough of the content to tell two senders apart whose clocks show the same."""
    letter, members = _KINDS[event.__class__]
    content = repr([getattr(event, name) for name in members]).encode("utf-8", "backslashreplace")
    return f"{letter}{event.timestamp:x}.{crc32(content):08x}"


def _recent(shorts: Iterable[str], now: Ticks) -> list[str]:
    return [short for short in shorts if ticks_between(Ticks(int(short[1:].partition(".")[0], 16)), now) < MAY_COME_AGAIN]


def _told(events: Iterable[HistoryEvent]) -> list[str]:
    """Return what messages told that name no generation: answers of entities do."""
    asked: set[str] = set()
    told: list[str] = []
    for event in events:
        if isinstance(event, EventSent):
            sent = sent_to_entity(event.name, event.input)
            if sent is not None:
                asked.add(sent.request_id)
        elif event.__class__ in _KINDS and not (isinstance(event, EventRaised) and event.name.lower() in asked):
            told.append(_short(event))
    return told


def _noted(events: Iterable[HistoryEvent]) -> list[str]:
    notes = (event.data for event in events if isinstance(event, GenericEvent) and event.data is not None)
    return [short for data in notes if data.startswith(_NOTE) for short in data[len(_NOTE) :].split()]
