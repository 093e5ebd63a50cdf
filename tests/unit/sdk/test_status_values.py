"""DurableOrchestrationStatus and its siblings (specs/sdk.md 2.14 - 2.16)."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from durable_ext.sdk.status_values import DurableOrchestrationStatus, OrchestrationRuntimeStatus, PurgeHistoryResult

BODY = {
    "name": "Hello",
    "instanceId": "i1",
    "createdTime": "2024-05-06T07:08:09.1234567Z",
    "lastUpdatedTime": "2024-05-06T07:08:10Z",
    "input": "x",
    "output": ["a"],
    "runtimeStatus": "Completed",
    "customStatus": None,
}


def test_a_status_is_read_from_a_response_body() -> None:
    status = DurableOrchestrationStatus.from_json(BODY)

    assert (status.name, status.instance_id, status.input_, status.output) == ("Hello", "i1", "x", ["a"])
    assert status.created_time == datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=timezone.utc)
    assert status.runtime_status is OrchestrationRuntimeStatus.Completed


def test_a_status_is_written_with_its_keys_in_order() -> None:
    written = DurableOrchestrationStatus.from_json(BODY).to_json()

    assert list(written) == [
        "name",
        "instanceId",
        "createdTime",
        "lastUpdatedTime",
        "output",
        "input",
        "runtimeStatus",
        "customStatus",
        "history",
    ]
    assert written["createdTime"] == "2024-05-06T07:08:09.123456Z"
    assert written["runtimeStatus"] == "Completed"


def test_an_instance_that_does_not_exist_is_false() -> None:
    status = DurableOrchestrationStatus.from_json("")

    assert not status
    assert status.message == ""  # type: ignore[attr-defined]


def test_a_time_without_instance_cannot_be_written() -> None:
    with pytest.raises(AttributeError):
        DurableOrchestrationStatus().to_json()


def test_the_history_of_a_host_is_the_history() -> None:
    status = DurableOrchestrationStatus(**BODY, historyEvents=[{"EventType": "ExecutionStarted"}])  # type: ignore[arg-type]

    assert status.history == [{"EventType": "ExecutionStarted"}]


def test_an_unknown_runtime_status_is_refused() -> None:
    with pytest.raises(ValueError, match="Gone"):
        DurableOrchestrationStatus(runtimeStatus="Gone")


def test_further_members_become_attributes() -> None:
    result = PurgeHistoryResult.from_json({"instancesDeleted": 2, "more": 1})

    assert (result.instances_deleted, result.more) == (2, 1)  # type: ignore[attr-defined]
