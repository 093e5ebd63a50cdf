"""What an instance has been told: a message that a dead worker could not delete comes again and must not count again.

Within a generation its history tells (specs/azure-storage.md 8.6). A generation that continues as new leaves a note to the
next one: a `GenericEvent`, which every worker plays as nothing, with the times of the messages that may still be there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from durable_ext.core.entities.recent import KEEP
from durable_ext.core.events import (
    EventRaised,
    EventSent,
    ExecutionResumed,
    ExecutionSuspended,
    GenericEvent,
    HistoryEvent,
)
from durable_ext.core.timestamps import Ticks, ticks_between

_KINDS: Final[dict[type[HistoryEvent], tuple[str, tuple[str, ...]]]] = {
    EventRaised: ("E", ("name", "input")),
    ExecutionSuspended: ("S", ("reason",)),
    ExecutionResumed: ("R", ("reason",)),
}
_NOTE: Final = "Received by former generations: "
_MOST: Final = 1000
_REQUEST_ID: Final = re.compile(r'"id"\s*:\s*"([0-9A-Fa-f-]{32,36})"')


def sent_request_id(event: EventSent) -> str | None:
    """Return the id of the entity request that an event sent, in lower case; `None` if it is none."""
    found = _REQUEST_ID.search(event.input) if event.input else None
    return found[1].lower() if found is not None else None


def was_received(events: Sequence[HistoryEvent], event: HistoryEvent) -> bool:
    """Whether history or a note in it has this event: a worker died that had stored it and not yet deleted its message.

    For other events replay knows a copy by the id of what it answers. The sender's clock has 100 ns and gives no time twice.
    """
    if event.__class__ not in _KINDS:
        return False
    return any(_is_copy(known, event) for known in reversed(events)) or _short(event) in _noted(events)


class ReceivedBefore:
    """Writes the notes of one instance in one session; used from one thread at a time.

    Messages are deleted before the next checkpoint of the same session. So a note has what the generations were told that
    end with one checkpoint, and what the first one of this session left: that may be a dead worker's.
    """

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: list[str] | None = None

    def note(self, events: Sequence[HistoryEvent], now: Ticks) -> tuple[GenericEvent, ...]:
        """Return what the generations of these events leave to the next one: a note, or nothing."""
        own = _told(events)
        if self._found is None:
            self._found = own = [*_noted(events), *own]
        self._found = _recent(self._found, now)
        kept = list(dict.fromkeys((*self._found, *_recent(own, now))))
        return (GenericEvent(timestamp=now, data=_NOTE + " ".join(kept[-_MOST:])),) if kept else ()


def _is_copy(known: HistoryEvent, event: HistoryEvent) -> bool:
    if known.timestamp != event.timestamp or known.__class__ is not event.__class__:
        return False
    return all(getattr(known, name) == getattr(event, name) for name in _KINDS[event.__class__][1])


def _short(event: HistoryEvent) -> str:
    return f"{_KINDS[event.__class__][0]}{event.timestamp:x}"


def _recent(shorts: Iterable[str], now: Ticks) -> list[str]:
    return [short for short in shorts if ticks_between(Ticks(int(short[1:], 16)), now) < KEEP]


def _told(events: Iterable[HistoryEvent]) -> list[str]:
    """Return what messages told that name no generation: answers of entities do."""
    asked: set[str | None] = set()
    told: list[str] = []
    for event in events:
        if isinstance(event, EventSent):
            asked.add(sent_request_id(event))
        elif event.__class__ in _KINDS and not (isinstance(event, EventRaised) and event.name.lower() in asked):
            told.append(_short(event))
    return told


def _noted(events: Iterable[HistoryEvent]) -> list[str]:
    notes = (event.data for event in events if isinstance(event, GenericEvent) and event.data is not None)
    return [short for data in notes if data.startswith(_NOTE) for short in data[len(_NOTE) :].split()]
