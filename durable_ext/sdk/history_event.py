"""HistoryEvent: one event of the host's request, with the attributes that 1.x gives it (specs/sdk.md 2.17, 5.2)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from durable_ext.core.timestamps import ticks_from_iso, ticks_to_datetime


class HistoryEvent:
    """An event as user code sees it in `context.histories`.

    The common fields have properties; every other member of the JSON is an attribute of its own name (`Name`, `Result`, …).
    """

    def __init__(self, EventType: int, EventId: int, IsPlayed: bool, Timestamp: str, **members: Any) -> None:
        self._event_type, self._event_id, self._is_played = EventType, EventId, IsPlayed
        self._timestamp = Timestamp
        self._is_processed = False
        self.Name = self.InstanceId = self.TaskScheduledId = self.Reason = self.Details = self.Input = None
        self.__dict__.update(members)

    def members(self) -> dict[str, Any]:
        """Return the JSON members again, with what was set since."""
        others = {name: value for name, value in self.__dict__.items() if not name.startswith("_")}
        common = {"EventId": self._event_id, "IsPlayed": self._is_played, "Timestamp": self._timestamp}
        return {"EventType": self._event_type, **common, **others}

    @property
    def event_type(self) -> int:
        """Number of the event type."""
        return self._event_type

    @property
    def event_id(self) -> int:
        """Sequence number of a decision, -1 otherwise."""
        return self._event_id

    @property
    def is_played(self) -> bool:
        """Whether an earlier episode has played it."""
        return self._is_played

    @property
    def is_processed(self) -> bool:
        """Whether it was marked as processed."""
        return self._is_processed

    @is_processed.setter
    def is_processed(self, value: bool) -> None:
        self._is_processed = value

    @property
    def timestamp(self) -> datetime:
        """When it was made: aware, UTC, to the microsecond."""
        return ticks_to_datetime(ticks_from_iso(self._timestamp))
