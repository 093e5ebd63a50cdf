"""What a client does to stored instances: rewind and purge (specs/azure-storage.md 9.5, 9.6)."""

from __future__ import annotations

from typing import Final

from support.provider_model.dotnet import escaped_key, time_text
from support.provider_model.instance_tables import ROWS_PER_BATCH
from support.provider_model.storage import Row, Storage, Write

_CAUSES: Final = {
    "TaskFailed": "TaskScheduled",
    "SubOrchestrationInstanceFailed": "SubOrchestrationInstanceCreated",
}


def rewind(storage: Storage, instance_id: str) -> list[str]:
    """Clear the failures of an instance and of its failed children, row by row; return the leaves, to be woken."""
    key = escaped_key(instance_id)
    rows = storage.rows("History", key)
    execution_id = max((row for row, _ in rows if row.get("EventType") == "OrchestratorStarted"), key=_row_key)[
        "ExecutionId"
    ]
    mine = [one for one in rows if one[0].get("ExecutionId") == execution_id]
    leaves: list[str] = []
    for row, etag in mine:
        kind = row.get("EventType")
        if row.get("OrchestrationStatus") != "Failed" and kind not in _CAUSES:
            continue
        cause = _CAUSES.get(str(kind))
        if cause is not None:
            child = _clear_cause(storage, mine, cause, row["TaskScheduledId"])
            leaves += rewind(storage, child) if child is not None else []
        _replace(storage, row, etag, {"Reason": f"Rewound: {kind}", "EventType": "GenericEvent"})
    pending: Row = {"PartitionKey": key, "RowKey": "", "RuntimeStatus": "Pending"}
    pending |= {"LastUpdatedTime": time_text(storage.now()), "LastUpdatedTime@odata.type": "Edm.DateTime"}
    storage.write("Instances", [Write("merge", pending)])
    return leaves or [instance_id]


def _row_key(row: Row) -> str:
    return str(row["RowKey"])


def _clear_cause(storage: Storage, rows: list[tuple[Row, str]], cause: str, task_id: int) -> str | None:
    """Rewrite the first row that scheduled a task; return the child if it is one."""
    for row, etag in rows:
        if row.get("EventType") == cause and row.get("EventId") == task_id:
            is_task = cause == "TaskScheduled"
            _replace(
                storage, row, etag, {"Reason": f"Rewound: {cause}"} | ({"EventType": "GenericEvent"} if is_task else {})
            )
            return None if is_task else str(row["InstanceId"])
    return None


def _replace(storage: Storage, row: Row, etag: str, changed: Row) -> None:
    storage.write("History", [Write("put", {**row, **changed}, etag)])


def purge(storage: Storage, container: str, instance_id: str) -> bool:
    """Delete an instance: its blobs (of every id that begins like it), its history, its row."""
    key = escaped_key(instance_id)
    if not storage.rows("Instances", key):
        return False
    storage.delete_blobs(container, instance_id)
    gone = [Write("delete", row, etag) for row, etag in storage.rows("History", key)]
    for start in range(0, len(gone), ROWS_PER_BATCH):
        storage.write("History", gone[start : start + ROWS_PER_BATCH])
    storage.write("Instances", [Write("delete", {"PartitionKey": key, "RowKey": ""})])
    return True
