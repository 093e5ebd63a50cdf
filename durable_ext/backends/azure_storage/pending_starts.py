"""Which start messages that wait for an instance must not be played (pure).

Source: specs/azure-storage.md 8.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from durable_ext.backends.azure_storage.early_messages import (
    StartVerdict,
    judge_start,
    repeats_child_start,
    seconds_before_start,
)
from durable_ext.backends.azure_storage.held_message import HeldMessage
from durable_ext.backends.azure_storage.history_table import LoadedHistory
from durable_ext.core.events import ExecutionStarted
from durable_ext.core.ids import continues
from durable_ext.core.instances import InstanceRow


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedStart:
    """A start message that is not the one the row stands for, that a parent sent twice, or whose time has not come.

    Attributes:
        held: The message.
        verdict: DELETE or DEFER.
        seconds: For how long to hide one that is deferred; `None` = with the delay of a message that comes too early.
    """

    held: HeldMessage
    verdict: StartVerdict
    seconds: int | None = None


def rejected_starts(
    pending: Iterable[HeldMessage], loaded: LoadedHistory, row: InstanceRow | None, *, now: datetime, visibility: timedelta
) -> list[RejectedStart]:
    """Return the start messages that must go; the start of a generation that has continued as new is made a mere wake-up."""
    rejected: list[RejectedStart] = []
    for held in pending:
        event = held.message.event
        if not isinstance(event, ExecutionStarted):
            continue
        if held.message.target.execution_id == loaded.execution_id and loaded.events:
            continue
        if (early := seconds_before_start(event, now)) > 0:
            rejected.append(RejectedStart(held=held, verdict=StartVerdict.DEFER, seconds=early))
        elif continues(loaded.execution_id, held.message.target.execution_id):
            held.only_wakes()  # its generation has continued as new at once, and a worker died after that
        elif event.parent is not None:
            if repeats_child_start(held.message, loaded.events):
                rejected.append(RejectedStart(held=held, verdict=StartVerdict.DELETE))
        else:
            verdict = judge_start(
                event, row, dequeue_count=held.dequeue_count, next_visible=held.next_visible, visibility=visibility
            )
            if verdict is not StartVerdict.PROCESS:
                rejected.append(RejectedStart(held=held, verdict=verdict))
    return rejected
