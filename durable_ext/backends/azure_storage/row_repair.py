"""The row of an instance whose worker died between history and row: what the next checkpoint writes of it.

Source: specs/azure-storage.md 6.3, 8.6, 8.10; S14a of interop/local-activities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from durable_ext.backends.azure_storage.early_messages import is_row_of_former_run
from durable_ext.backends.protocol import Checkpoint
from durable_ext.core.events import ExecutionResumed, ExecutionSuspended, HistoryEvent, OrchestrationStatus
from durable_ext.core.ids import is_same_execution
from durable_ext.core.instances import InstanceRow, InstanceUpdate
from durable_ext.core.messages import InstanceId
from durable_ext.core.runtime_state import started_in, status_of
from durable_ext.core.timestamps import MIN_TICKS

_SUSPENSION: Final = (ExecutionSuspended, ExecutionResumed)


class RowRepair:
    """Knows the row and the history that a session began with. That of an entity is written whole by each of its runs.

    Attributes:
        custom_status: What the row says for the instance's present run.
    """

    __slots__ = ("_history", "_is_done", "_is_entity", "_is_former", "_is_whole", "_row", "custom_status")

    def __init__(self, instance_id: InstanceId, row: InstanceRow | None, history: Sequence[HistoryEvent]) -> None:
        self._row, self._history = row, history
        self._is_entity = instance_id.startswith("@")
        self._is_former = row is not None and not self._is_entity and is_row_of_former_run(row, history)
        self._is_whole = row is not None and row.created_at != MIN_TICKS and not self._is_former
        self._is_done = not history or (self._is_whole and (self._is_entity or not self._is_behind()))
        self.custom_status = row.custom_status if row is not None and not self._is_former else None

    def applied_to(self, checkpoint: Checkpoint, *, is_first: bool) -> Checkpoint:
        """Return a checkpoint of the session with what the row needs; `is_first` = the session has written no events."""
        return self._without_needless(self._with_missing(checkpoint), is_first=is_first)

    def _is_behind(self) -> bool:
        """Whether a row of this run shows a status that it has left: clients go by that, and refuse what it forbids."""
        row = self._row
        if row is None or row.status.is_terminal:
            return False
        started = started_in(self._history)
        if started is None or not is_same_execution(row.execution_id, started.instance.execution_id, if_unknown=False):
            return False
        status = status_of(self._history)
        if status.is_terminal:
            return False
        if row.status is OrchestrationStatus.PENDING and not row.was_rewound:  # a rewound one stays so to its end
            return True
        return (row.status is OrchestrationStatus.SUSPENDED) is not (status is OrchestrationStatus.SUSPENDED)

    def _with_missing(self, checkpoint: Checkpoint) -> Checkpoint:
        """Add the status that is behind, or everything: there is no row, or that of a former run under the same id."""
        update = checkpoint.instance
        if self._is_done:
            return checkpoint
        self._is_done = True
        started = started_in(self._history)
        if started is None or checkpoint.starts_generation or (update is not None and update.name is not None):
            return checkpoint
        status = status_of(self._history)
        if update is None:
            if status.is_terminal or self._is_entity:
                return checkpoint
            last = (*self._history, *checkpoint.new_events)[-1]
            update = InstanceUpdate(
                execution_id=checkpoint.execution_id, last_updated_at=last.timestamp, custom_status=self.custom_status
            )
        if update.status is None:
            reason = next((event.reason for event in reversed(self._history) if isinstance(event, _SUSPENSION)), None)
            update = replace(update, status=status, output=update.output or reason)
        if not self._is_whole:
            update = replace(
                update,
                name=started.name,
                version=started.version,
                input=started.input,
                created_at=started.timestamp,
                scheduled_start_at=started.scheduled_start_time,
                tags=started.tags,
            )
        return replace(checkpoint, instance=update)

    def _without_needless(self, checkpoint: Checkpoint, *, is_first: bool) -> Checkpoint:
        """Leave out the repair of a row that needs none, or that stands for a generation which has not begun (8.6).

        That of an entity is not left out: its status never changes, and its state, which clients read there, does.
        """
        update, row = checkpoint.instance, self._row
        if self._is_entity or checkpoint.new_events or not is_first:
            return checkpoint
        if update is None or row is None or not update.execution_id:
            return checkpoint
        is_behind = row.status is not update.status or row.created_at == MIN_TICKS
        is_same = is_same_execution(row.execution_id, update.execution_id, if_unknown=False)
        if self._is_former or (is_same and is_behind):
            return checkpoint
        return replace(checkpoint, instance=None)
