"""History rows that the real provider wrote become events and back without a difference."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from frozen_hub import INTEROP
from hypothesis import given
from hypothesis import strategies as st

from durable_ext.backends.azure_storage.event_columns import event_from_columns, event_to_columns
from durable_ext.backends.azure_storage.history_table import (
    HistoryCursor,
    HistoryTable,
    current_generation,
    occupied_keys,
)
from durable_ext.backends.azure_storage.transport.edm import (
    EdmDateTime,
    EdmValue,
    Row,
    entity_to_json,
    load_json,
    row_from_json,
)
from durable_ext.codec.event_members import EVENT_CLASS_BY_NAME, EVENT_MEMBERS, Kind
from durable_ext.core.events import EventRaised, TaskCompleted, TaskScheduled, TimerCreated, UnknownEvent
from durable_ext.core.messages import InstanceId
from durable_ext.core.timestamps import MIN_TICKS, ticks_from_iso

if TYPE_CHECKING:
    from durable_ext.backends.azure_storage.large_payloads import LargePayloads
    from durable_ext.backends.azure_storage.transport.table import TableVerbs

# A large column is stored elsewhere, a rewound row keeps the columns of what it was.
_NOT_OURS = ("BlobName",)


def recorded_rows() -> list[Any]:
    found = []
    for path in sorted(INTEROP.glob("*.json")):
        for table, rows in json.loads(path.read_text())["tables"].items():
            if not table.endswith("History"):
                continue
            for row in rows:
                if row["RowKey"] == "sentinel" or any(name.endswith(_NOT_OURS) for name in row):
                    continue
                if str(row.get("Reason", "")).startswith("Rewound: "):
                    continue
                found.append(pytest.param(row, id=f"{path.stem}-{row['PartitionKey']}-{row['RowKey'][-3:]}"))
    return found


@pytest.mark.parametrize("recorded", recorded_rows())
def test_a_recorded_row_is_written_back_column_by_column(recorded: dict[str, Any]) -> None:
    columns = row_from_json(recorded).entity
    del columns["PartitionKey"], columns["RowKey"]

    written = event_to_columns(event_from_columns(columns), str(columns["ExecutionId"]))

    assert written == columns


def test_a_date_keeps_its_seventh_digit_and_is_marked_as_one() -> None:
    event = EventRaised(timestamp=ticks_from_iso("2024-05-06T07:08:09.1234567Z"), name="x")

    columns = event_to_columns(event, "e")

    assert columns["_Timestamp"] == EdmDateTime("2024-05-06T07:08:09.1234567Z")
    assert b'"_Timestamp@odata.type":"Edm.DateTime"' in entity_to_json(columns)


def test_a_date_that_the_table_service_does_not_take_is_its_first_one() -> None:
    event = TimerCreated(timestamp=MIN_TICKS, event_id=0, fire_at=ticks_from_iso("1600-12-31T23:59:59.9999999Z"))

    columns = event_to_columns(event, "e")

    assert columns["_Timestamp"] == columns["FireAt"] == EdmDateTime("1601-01-01T00:00:00.0000000Z")


@pytest.mark.parametrize("foreign", ["note-of-the-tool", "000000000000000g", "000000000000000a", "0" * 15, "", "zz"])
def test_rows_of_a_tool_are_no_events(foreign: str) -> None:
    keys = sorted(["0000000000000000", "0000000000000001", foreign, "sentinel"])
    rows = [Row({"PartitionKey": "p", "RowKey": key, "ExecutionId": "e"}, f"etag {key}") for key in keys]

    sentinel, events = current_generation(rows)

    assert sentinel is not None
    assert sentinel.etag == "etag sentinel"
    assert [row.entity["RowKey"] for row in events] == ["0000000000000000", "0000000000000001"]
    assert occupied_keys(rows) == 2


def test_what_comes_through_a_queue_is_stored_with_the_event_id_of_such_events() -> None:
    """A .NET worker takes a second result with an id of 0 or more for a copy of the first (13, 9a)."""
    unnumbered = TaskCompleted(timestamp=ticks_from_iso("2024-05-06T07:08:09Z"), event_id=0, task_scheduled_id=1)
    decided = TimerCreated(timestamp=unnumbered.timestamp, event_id=2, fire_at=unnumbered.timestamp)
    history = HistoryTable(cast("TableVerbs", None), "History", cast("LargePayloads", None))

    prepared = history.prepare(InstanceId("a"), HistoryCursor(), [unnumbered, decided])

    assert [row["EventId"] for row in prepared.rows] == [-1, 2]


def test_null_members_have_no_column_and_null_objects_are_the_text_null() -> None:
    columns = event_to_columns(TaskScheduled(timestamp=ticks_from_iso("2024-05-06T07:08:09Z"), name="A", event_id=2), "e")

    assert "Input" not in columns
    assert (columns["Tags"], columns["ParentTraceContext"]) == ("null", "null")
    assert (columns["EventId"], columns["EventType"]) == (2, "TaskScheduled")


def test_an_event_of_a_newer_type_is_kept() -> None:
    columns: dict[str, EdmValue] = {
        "EventType": "SomethingNew",
        "_Timestamp": EdmDateTime("2024-05-06T07:08:09Z"),
        "EventId": 3,
        "Novelty": "x",
    }

    event = event_from_columns(columns)

    assert isinstance(event, UnknownEvent)
    assert (event.kind, json.loads(event.raw)["Novelty"]) == ("SomethingNew", "x")


@pytest.mark.parametrize("name", sorted(EVENT_CLASS_BY_NAME))
def test_a_row_of_an_older_writer_with_hardly_a_column_is_read(name: str) -> None:
    event = event_from_columns({"EventType": name, "ExecutionId": "e"})

    assert type(event) is EVENT_CLASS_BY_NAME[name]
    assert (event.timestamp, event.event_id, event.is_played) == (0, 0, False)


@given(st.sampled_from(sorted(EVENT_CLASS_BY_NAME)), st.text(alphabet=st.characters(), max_size=20))
def test_any_text_comes_back_from_the_json_of_a_row(name: str, text: str) -> None:
    dates: dict[str, EdmValue] = {name: EdmDateTime("2024-05-06T07:08:09Z") for name in ("_Timestamp", "FireAt")}
    event = event_from_columns({"EventType": name, "ExecutionId": "e", **dates})
    texts: dict[str, Any] = {member.attribute: text for member in EVENT_MEMBERS[type(event)] if member.kind is Kind.TEXT}
    written = event_to_columns(replace(event, **texts), "e")

    for ascii_only in (True, False):
        read = row_from_json(load_json(entity_to_json(written, ascii_only=ascii_only))).entity
        assert event_from_columns(read) == replace(event, **texts)
