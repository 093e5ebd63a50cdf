"""Events raised from outside, and who waits for them: newest wait first, early events kept (execution-semantics.md 7)."""

from __future__ import annotations

from collections import deque

from durable_ext.core.events import EventRaised
from durable_ext.core.tasks import EventTask


class EventMailbox:
    """Waits and unclaimed events of one generation, by name.

    `as_extension`: early events are kept in order, each serves one wait, and case does not matter. Otherwise as the
    1.x SDK saw it: only the last early event of a name counts, it serves every later wait, and case matters
    (specs/sdk.md 7, rows 1 and 34).
    """

    __slots__ = ("_as_extension", "_early", "_waits")

    def __init__(self, *, as_extension: bool) -> None:
        self._as_extension = as_extension
        self._waits: dict[str, list[EventTask[object]]] = {}
        self._early: dict[str, deque[EventRaised]] = {}

    def _key(self, name: str) -> str:
        return name.casefold() if self._as_extension else name

    def wait(self, task: EventTask[object]) -> EventRaised | None:
        """Return the event that the wait gets at once, or remember the wait."""
        key = self._key(task.name)
        early = self._early.get(key)
        if early is None:
            self._waits.setdefault(key, []).append(task)
            return None
        if not self._as_extension:
            return early[0]
        event = early.popleft()
        if not early:
            del self._early[key]
        return event

    def receive(self, event: EventRaised) -> EventTask[object] | None:
        """Return the wait that gets the event, or keep the event."""
        key = self._key(event.name)
        waits = self._waits.get(key)
        if waits is None:
            if self._as_extension:
                self._early.setdefault(key, deque()).append(event)
            else:
                self._early[key] = deque((event,))
            return None
        task = waits.pop()
        if not waits:
            del self._waits[key]
        return task

    @property
    def waiting(self) -> dict[str, list[EventTask[object]]]:
        """The waits by name, the newest last."""
        return dict(self._waits)

    def unclaimed(self) -> tuple[EventRaised, ...]:
        """Return the events that nobody has waited for, in the order of their names' first arrival."""
        return tuple(event for early in self._early.values() for event in early)
