"""Which start messages are duplicates (specs/azure-storage.md 8.3)."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from support.provider_model.dotnet import SECOND, ticks
from support.provider_model.event_schema import Event
from support.provider_model.storage import QueueMessage, Row

_DELIVERIES: Final = 10


class Verdict(Enum):
    """What becomes of a start message."""

    PROCESS = auto()
    DUPLICATE = auto()
    TOO_EARLY = auto()


def judge_start(event: Event, execution_id: str | None, row: Row | None, message: QueueMessage, visibility: int) -> Verdict:
    """Compare a start message without parent with the row of its instance."""
    if row is not None and (not row.get("ExecutionId") or row["ExecutionId"].lower() == (execution_id or "").lower()):
        return Verdict.PROCESS
    if row is not None and event["Generation"] == row.get("Generation", 0) and _is_later(event, row, message, visibility):
        return Verdict.DUPLICATE
    return Verdict.DUPLICATE if message.dequeued >= _DELIVERIES else Verdict.TOO_EARLY


def _is_later(event: Event, row: Row, message: QueueMessage, visibility: int) -> bool:
    created = ticks(row["CreatedTime"]) if row.get("CreatedTime") else 0
    if created < event.at and row.get("RuntimeStatus") == "Pending":
        return True
    return message.dequeued > 1 and message.visible - visibility * SECOND > created
