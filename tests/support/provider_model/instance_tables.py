"""History and Instances rows: load a generation, write a checkpoint (specs/azure-storage.md 5, 6)."""

from __future__ import annotations

import gzip
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote

from support.provider_model.dotnet import UnreadableError, escaped_key, ticks, time_text, utf16_units
from support.provider_model.event_schema import STATUSES, Event, compact, event_row, read_row
from support.provider_model.storage import Row, Storage, Write

LARGE: Final = ("Name", "Input", "Result", "Output", "Reason", "Details", "Correlation", "FailureDetails", "Tags")
LARGEST_TEXT: Final = 30_720
ROWS_PER_BATCH: Final = 99
BATCH_BYTES: Final = 3 * 1024 * 1024
_ROW_TYPES: Final = {
    "ExecutionId": str,
    "Name": str,
    "Version": str,
    "Input": str,
    "InputBlobName": str,
    "Output": str,
    "CustomStatus": str,
    "RuntimeStatus": str,
    "Generation": int,
    "Tags": str,
    "TaskHubName": str,
}
_ROW_DATES: Final = ("CreatedTime", "LastUpdatedTime", "CompletedTime", "ScheduledStartTime")


@dataclass(frozen=True, slots=True)
class History:
    """A loaded generation; `etag` is the token of the instance, whichever generation was asked for."""

    events: tuple[Event, ...] = ()
    execution_id: str | None = None
    etag: str | None = None
    blobs: tuple[str, ...] = ()


class InstanceTables:
    """The two tables of a hub."""

    def __init__(self, storage: Storage, hub: str) -> None:
        self._storage, self._hub = storage, hub
        self.container = f"{hub.lower()}-largemessages"

    def load(self, instance_id: str, execution_id: str | None = None) -> History:
        """Read a generation; another one than the stored reads as empty, with the ETag (5.7).

        Raises:
            UnreadableError: The reader of .NET throws at a row.
        """
        rows = self._storage.rows("History", escaped_key(instance_id))
        wanted = [
            one for one in rows if not execution_id or execution_id == one[0].get("ExecutionId") or _is_sentinel(one[0])
        ]
        sentinel = next((one for one in reversed(wanted) if _is_sentinel(one[0])), None)
        etag = None
        if sentinel is not None:
            etag = sentinel[1]
            _check_sentinel(sentinel[0])
        generation = sentinel[0]["ExecutionId"] if sentinel is not None else None
        if not wanted or (execution_id and generation != execution_id):
            return History(etag=etag)  # also without any sentinel (seen in s12c)
        generation = generation or wanted[0][0]["ExecutionId"]
        events, blobs = [], []
        for row, _ in wanted:
            if _is_sentinel(row) or row.get("ExecutionId") != generation:
                break
            if len(row["RowKey"]) != 16 or row["RowKey"] != row["RowKey"].upper():
                raise UnreadableError(f"row key {row['RowKey']}")
            blobs += [row[f"{name}BlobName"] for name in LARGE if f"{name}BlobName" in row]
            events.append(read_row(self._with_texts(row)))
        return History(tuple(events), generation, etag, tuple(blobs))

    def _with_texts(self, row: Row) -> Row:
        texts = {}
        for name in LARGE:
            if blob := row.get(f"{name}BlobName"):
                content = self._storage.download(self.container, blob)
                if content is None:
                    raise UnreadableError(f"blob {blob} is missing")
                texts[name] = gzip.decompress(content).decode()
        return {**row, **texts}

    def write_history(
        self, instance_id: str, execution_id: str, events: Sequence[Event], first_new: int, etag: str | None
    ) -> None:
        """Write the new events batch by batch, the sentinel in each (5.6).

        Raises:
            ConflictError: Somebody else has gone on with this instance.
        """
        key = escaped_key(instance_id)
        pending: list[Write] = []
        size = 0
        for index in range(first_new, len(events)):
            row = event_row(events[index]) | {"PartitionKey": key, "RowKey": f"{index:016X}", "ExecutionId": execution_id}
            size += 1024 + sum(2 * utf16_units(row.get(name) or "") for name in LARGE)
            pending.append(Write("put", self._offloaded(row)))
            is_last = index == len(events) - 1
            if is_last or len(pending) == ROWS_PER_BATCH or size > BATCH_BYTES:
                sentinel: Row = {"PartitionKey": key, "RowKey": "sentinel", "ExecutionId": execution_id}
                sentinel["IsCheckpointComplete"] = is_last
                if is_last:
                    sentinel |= _date("CheckpointCompletedTimestamp", self._storage.now())
                merge = Write("merge", sentinel, etag) if etag else Write("insert", sentinel)
                etag = self._storage.write("History", [*pending, merge])[-1]
                pending, size = [], 0

    def _offloaded(self, row: Row) -> Row:
        for name in LARGE:
            text = row.get(name)
            if isinstance(text, str) and utf16_units(text) > LARGEST_TEXT:
                row |= {name: "", f"{name}BlobName": self._upload(row, row.get("EventType", name), name, text)}
        return row

    def _upload(self, row: Row, kind: str, column: str, text: str) -> str:
        blob = f"{row['PartitionKey']}/history-{row['RowKey']}-{kind}-{secrets.token_hex(4).upper()}-{column}.json.gz"
        self._storage.upload(self.container, blob, gzip.compress(text.encode()))
        return blob

    def instance_row(self, instance_id: str) -> Row | None:
        """Return the row of an instance.

        Raises:
            UnreadableError: A column has another type than the model of .NET.
        """
        found = self._storage.rows("Instances", escaped_key(instance_id))
        if not found:
            return None
        row = found[0][0]
        for name, wanted in _ROW_TYPES.items():
            value = row.get(name)
            if value is not None and (type(value) is not wanted or f"{name}@odata.type" in row):
                raise UnreadableError(f"Instances column {name} is {value!r}")
        for name in _ROW_DATES:
            if row.get(name) is not None:
                if row.get(f"{name}@odata.type") != "Edm.DateTime":
                    raise UnreadableError(f"Instances column {name} is no DateTime")
                ticks(row[name])
        if row.get("RuntimeStatus") is not None and row["RuntimeStatus"] not in STATUSES:
            raise UnreadableError(f"RuntimeStatus {row['RuntimeStatus']!r}")
        json.loads(row.get("Tags") or "null")
        return row

    def payload_of(self, row: Row, name: str) -> str | None:
        """Return a payload of an Instances row, wherever it is (6.5)."""
        text = row.get(name)
        if row.get(f"{name}BlobName") and not text:
            content = self._storage.download(self.container, row[f"{name}BlobName"])
        elif text is not None and text.startswith("http") and f"/{self.container}/" in text:
            content = self._storage.download(self.container, _blob_name(text, self.container))
        else:
            return None if text is None else str(text)
        if content is None:
            raise UnreadableError(f"the blob of {name} is missing: {text}")
        written = gzip.decompress(content).decode()
        if (text or row[f"{name}BlobName"]).endswith("ExecutionStarted.json.gz"):
            return str(json.loads(written)["TaskMessage"]["Event"]["Input"])
        return written

    def merge_instance(self, instance_id: str, columns: Row) -> None:
        """Insert or merge columns; null ones change nothing."""
        row: Row = {"PartitionKey": escaped_key(instance_id), "RowKey": "", "TaskHubName": self._hub}
        row |= {name: value for name, value in columns.items() if value is not None}
        for name in ("Input", "Output"):
            if utf16_units(row.get(name) or "") > LARGEST_TEXT:
                blob = self._upload(row, name, name, row[name])
                row[name] = f"{self._storage.blob_root}{self.container}/{_quoted(blob)}"
        self._storage.write("Instances", [Write("merge", row)])

    def checkpoint_columns(self, events: Sequence[Event], new: Sequence[Event], status: Any, execution_id: str) -> Row:
        """Return what a checkpoint writes into the row (6.3)."""
        row: Row = {"CustomStatus": compact(status), "ExecutionId": execution_id, **_date("LastUpdatedTime", new[-1].at)}
        for event in new:
            if event.kind == "ExecutionStarted":
                row |= {name: event[name] for name in ("Name", "Version", "Input", "Generation")}
                row |= {"RuntimeStatus": "Running", "Tags": compact(event["Tags"]), **_date("CreatedTime", event.at)}
                if event["ScheduledStartTime"]:
                    row |= _date("ScheduledStartTime", event["ScheduledStartTime"])
            elif event.kind == "ExecutionCompleted":
                row |= {"RuntimeStatus": event["OrchestrationStatus"], "Output": event["Result"]}
                row |= _date("CompletedTime", self._storage.now())
            elif event.kind == "ExecutionTerminated":
                row |= {
                    "RuntimeStatus": "Terminated",
                    "Output": event["Input"],
                    **_date("CompletedTime", self._storage.now()),
                }
            elif event.kind in ("ExecutionSuspended", "ExecutionResumed"):
                suspended = event.kind == "ExecutionSuspended"
                row |= {"RuntimeStatus": "Suspended" if suspended else "Running", "Output": event["Reason"]}
        return row

    def terminate_columns(self, event: Event) -> Row:
        """Return what a terminate message leaves of an instance without history."""
        ended = {"RuntimeStatus": "Terminated", "Output": event["Input"], **_date("LastUpdatedTime", event.at)}
        return ended | _date("CompletedTime", self._storage.now())

    def repair_columns(self, events: Sequence[Event], execution_id: str, status: Any, *, is_missing: bool) -> Row:
        """Return the row of a finished instance as history tells it (8.6)."""
        started = next(one for one in events if one.kind == "ExecutionStarted")
        ended = next(one for one in events if one.kind == "ExecutionCompleted")
        row = {"Name": started["Name"], "Version": started["Version"], "ExecutionId": execution_id}
        row |= {"CustomStatus": compact(status), "Tags": compact(started["Tags"]), "Output": ended["Result"]}
        row |= {"RuntimeStatus": ended["OrchestrationStatus"], **_date("CreatedTime", started.at)}
        row |= {**_date("CompletedTime", ended.at), **_date("LastUpdatedTime", ended.at)}
        return row | ({"Input": started["Input"]} if is_missing else {})


def _is_sentinel(row: Row) -> bool:
    return bool(row["RowKey"] == "sentinel")


def _check_sentinel(row: Row) -> None:
    stamp = "CheckpointCompletedTimestamp"
    if type(row.get("ExecutionId")) is not str:
        raise UnreadableError(f"the sentinel's ExecutionId is {row.get('ExecutionId')!r}")
    if row.get(stamp) is not None and row.get(f"{stamp}@odata.type") != "Edm.DateTime":
        raise UnreadableError(f"{stamp} is no DateTime")
    if type(row.get("IsCheckpointComplete", False)) is not bool:
        raise UnreadableError("IsCheckpointComplete is no Boolean")


def _date(name: str, moment: int) -> Row:
    return {name: time_text(moment), f"{name}@odata.type": "Edm.DateTime"}


def _quoted(blob: str) -> str:
    return "/".join(quote(part, safe="") for part in blob.split("/"))


def _blob_name(url: str, container: str) -> str:
    return unquote(url.partition(f"/{container}/")[2])
