"""DurableClient on a real store: what it records, what it refuses, what it returns."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pytest
from support.client_hub import Hub

from durable_ext.client import InstanceQuery
from durable_ext.client.known_functions import KnownFunctions
from durable_ext.core.events import (
    EventRaised,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    OrchestrationStatus,
)
from durable_ext.errors import (
    ContinuationTokenError,
    FunctionNotFoundError,
    InstanceAlreadyExistsError,
    InstanceNotFoundError,
    InstanceWaitTimeoutError,
    InvalidArgumentError,
    InvalidInstanceStateError,
)

RUNNING, COMPLETED, FAILED = OrchestrationStatus.RUNNING, OrchestrationStatus.COMPLETED, OrchestrationStatus.FAILED
SUSPENDED = OrchestrationStatus.SUSPENDED


async def test_a_start_records_the_input_as_the_1x_client_does(hub: Hub) -> None:
    instance_id = await hub.client.start("Hello", {"a": 1})

    (started,) = await hub.received()
    assert isinstance(started, ExecutionStarted)
    assert (started.name, started.version, started.input) == ("Hello", "", '"{\\"a\\": 1}"')
    assert started.instance.instance_id == instance_id
    assert len(str(started.instance.execution_id)) == len(instance_id) == 32


async def test_a_start_without_input_records_none(hub: Hub) -> None:
    await hub.client.start("Hello")

    (started,) = await hub.received()
    assert isinstance(started, ExecutionStarted)
    assert started.input is None


@pytest.mark.parametrize(("named", "recorded"), [(None, "7"), ("2", "2"), ("", "")])
async def test_a_start_that_names_no_version_has_the_default_one(hub: Hub, named: str | None, recorded: str) -> None:
    await hub.new_client(default_version="7").start("Hello", version=named)

    (started,) = await hub.received()
    assert isinstance(started, ExecutionStarted)
    assert started.version == recorded


async def test_a_recorded_input_is_stored_as_it_is(hub: Hub) -> None:
    await hub.client.start_recorded("Hello", '{"a":  1}', "i1")

    status = await hub.client.get_status("i1")
    assert status is not None
    assert status.row.input == '{"a":  1}'


async def test_a_started_instance_is_pending(hub: Hub) -> None:
    await hub.client.start("Hello", {"a": 1}, "i1")

    status = await hub.client.get_status("i1")

    assert status is not None
    assert (status.instance_id, status.name, status.runtime_status) == ("i1", "Hello", OrchestrationStatus.PENDING)
    assert status.input == '{"a": 1}'
    assert status.input_as() == {"a": 1}
    assert status.created_at.tzinfo is timezone.utc


async def test_a_start_for_later_is_not_delivered_before(hub: Hub) -> None:
    due = datetime.now(timezone.utc) + timedelta(days=1)

    await hub.client.start("Hello", instance_id="i1", start_at=due)

    assert await hub.backend.orchestrations.lock_next_orchestration(timedelta(0)) is None
    status = await hub.client.get_status("i1")
    assert status is not None
    assert status.scheduled_start_at == due


async def test_a_start_time_in_the_past_does_not_count(hub: Hub) -> None:
    await hub.client.start("Hello", instance_id="i1", start_at=datetime(2020, 1, 1))

    (started,) = await hub.received()
    assert isinstance(started, ExecutionStarted)
    assert started.scheduled_start_time is None


@pytest.mark.parametrize("instance_id", ["", " ", "@counter@a", "a/b", "a\\b", "a#b", "a?b", "a\nb", "a\x80b", "x" * 257])
async def test_an_unusable_instance_id_is_refused(hub: Hub, instance_id: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        await hub.client.start("Hello", instance_id=instance_id)

    assert refused.value.argument == "instance_id"


async def test_an_instance_id_may_have_256_characters_of_any_script(hub: Hub) -> None:
    instance_id = "日本 'x' %25" + "x" * 245

    assert await hub.client.start("Hello", instance_id=instance_id) == instance_id
    assert await hub.client.get_status(instance_id) is not None


async def test_a_second_start_of_a_running_instance_is_refused(hub: Hub) -> None:
    await hub.client.start("Hello", instance_id="i1")

    with pytest.raises(InstanceAlreadyExistsError) as refused:
        await hub.client.start("Hello", instance_id="i1")

    assert (refused.value.instance_id, refused.value.status) == ("i1", "Pending")


async def test_an_ended_instance_can_be_started_again(hub: Hub) -> None:
    await hub.client.start("Hello", instance_id="i1")
    await hub.put("i1", COMPLETED, '"a"')

    await hub.client.start("Hello", instance_id="i1")

    status = await hub.client.get_status("i1")
    assert status is not None
    assert (status.runtime_status, status.output) == (OrchestrationStatus.PENDING, None)


async def test_with_every_status_replaceable_a_running_instance_is_terminated_first(hub: Hub) -> None:
    client = hub.new_client(reject=frozenset())
    await client.start("Hello", instance_id="i1")
    await hub.put("i1", RUNNING)

    start = asyncio.create_task(client.start("Hello", instance_id="i1"))
    await hub.put("i1", OrchestrationStatus.TERMINATED)

    assert await start == "i1"
    status = await client.get_status("i1")
    assert status is not None
    assert status.runtime_status is OrchestrationStatus.PENDING


async def test_an_unknown_function_is_refused_with_the_names_there_are(hub: Hub) -> None:
    client = hub.new_client(known=KnownFunctions({"orchestrator": ["Hello"]}))

    with pytest.raises(FunctionNotFoundError) as refused:
        await client.start("Nope")

    assert str(refused.value) == (
        "The function 'Nope' doesn't exist, is disabled, or is not an orchestrator function. Additional info: The following "
        "are the known orchestrator functions: 'Hello'."
    )


async def test_no_status_of_a_missing_instance(hub: Hub) -> None:
    assert await hub.client.get_status("nope") is None


async def test_the_output_is_decoded(hub: Hub) -> None:
    @dataclass
    class Sum:
        total: int

    await hub.client.start("Hello", instance_id="i1")
    await hub.put("i1", COMPLETED, '{"total":3}')

    status = await hub.client.wait_for_completion("i1")

    assert status.output == {"total": 3}
    assert status.output_as(Sum) == Sum(3)


async def test_the_output_of_a_failure_is_its_text(hub: Hub) -> None:
    await hub.client.start("Hello", instance_id="i1")
    await hub.put("i1", FAILED, "Orchestrator function 'Hello' failed: x")

    status = await hub.client.wait_for_completion("i1")

    assert status.output == "Orchestrator function 'Hello' failed: x"
    with pytest.raises(ValueError, match="Failed"):
        status.output_as(dict)


async def test_waiting_ends_when_the_instance_ends(hub: Hub) -> None:
    await hub.client.start("Hello", instance_id="i1")

    waiting = asyncio.create_task(hub.client.wait_for_completion("i1"))
    await hub.put("i1", RUNNING, custom_status='"half"')
    await hub.client.raise_event("i1", "Go")
    await hub.put("i1", COMPLETED, '"done"')

    assert (await waiting).output == "done"


async def test_waiting_for_too_long_is_an_error_with_the_last_status(hub: Hub) -> None:
    await hub.client.start("Hello", instance_id="i1")

    with pytest.raises(InstanceWaitTimeoutError) as late:
        await hub.client.wait_for_completion("i1", timeout=timedelta(milliseconds=20))

    assert late.value.last_status == "Pending"


async def test_waiting_for_a_missing_instance_is_an_error(hub: Hub) -> None:
    with pytest.raises(InstanceNotFoundError):
        await hub.client.wait_for_completion("nope")


async def test_an_event_is_recorded_as_the_value_that_it_is(hub: Hub) -> None:
    await hub.client.start("Hello", instance_id="i1")
    await hub.put("i1", RUNNING)

    await hub.client.raise_event("i1", "Approval", {"ok": True})

    (event,) = await hub.received()
    assert isinstance(event, EventRaised)
    assert (event.name, event.input) == ("Approval", '{"ok": true}')


async def test_an_event_of_the_http_api_is_stored_as_it_is(hub: Hub) -> None:
    await hub.client.start("Hello", instance_id="i1")
    await hub.put("i1", RUNNING)

    await hub.client.raise_recorded_event("i1", "Approval", "true")

    (event,) = await hub.received()
    assert isinstance(event, EventRaised)
    assert event.input == "true"


async def test_an_event_for_a_missing_instance_is_refused(hub: Hub) -> None:
    with pytest.raises(InstanceNotFoundError):
        await hub.client.raise_event("nope", "Go")


async def test_an_event_for_an_ended_instance_is_refused(hub: Hub) -> None:
    await hub.client.start("Hello", instance_id="i1")
    await hub.put("i1", COMPLETED)

    with pytest.raises(InvalidInstanceStateError) as refused:
        await hub.client.raise_event("i1", "Go")

    assert refused.value.status == "Completed"


async def test_an_event_without_name_is_refused(hub: Hub) -> None:
    with pytest.raises(InvalidArgumentError):
        await hub.client.raise_event("i1", "")


async def test_steering_sends_its_message_with_the_reason(hub: Hub) -> None:
    await hub.client.start("Hello", instance_id="i1")
    await hub.put("i1", RUNNING)

    await hub.client.suspend("i1", "wait")
    (suspended,) = await hub.received()
    await hub.put("i1", SUSPENDED)
    await hub.client.resume("i1", "go")
    (resumed,) = await hub.received()
    await hub.put("i1", RUNNING)
    await hub.client.terminate("i1", "enough")
    (terminated,) = await hub.received()

    assert isinstance(suspended, ExecutionSuspended)
    assert isinstance(resumed, ExecutionResumed)
    assert isinstance(terminated, ExecutionTerminated)
    assert (suspended.reason, resumed.reason, terminated.input) == ("wait", "go", "enough")


@pytest.mark.parametrize(
    ("status", "operation"),
    [
        (SUSPENDED, "suspend"),
        (COMPLETED, "suspend"),
        (RUNNING, "resume"),
        (COMPLETED, "resume"),
        (COMPLETED, "terminate"),
        (RUNNING, "rewind"),
        (COMPLETED, "rewind"),
        (RUNNING, "purge"),
    ],
)
async def test_what_a_status_does_not_allow_is_refused(hub: Hub, status: OrchestrationStatus, operation: str) -> None:
    await hub.client.start("Hello", instance_id="i1")
    await hub.put("i1", status)

    with pytest.raises(InvalidInstanceStateError) as refused:
        await getattr(hub.client, operation)("i1")

    assert refused.value.status == status.value
    assert operation in str(refused.value)


@pytest.mark.parametrize("operation", ["suspend", "resume", "terminate", "rewind", "restart", "get_history"])
async def test_nothing_can_be_done_to_a_missing_instance(hub: Hub, operation: str) -> None:
    with pytest.raises(InstanceNotFoundError):
        await getattr(hub.client, operation)("nope")


async def test_a_restart_starts_the_same_function_with_the_same_input(hub: Hub) -> None:
    await hub.client.start("Hello", {"a": 1}, "i1")
    await hub.put("i1", COMPLETED)

    new_id = await hub.client.restart("i1")

    status = await hub.client.get_status(new_id)
    assert status is not None
    assert new_id != "i1"
    assert (status.name, status.row.input) == ("Hello", '"{\\"a\\": 1}"')


async def test_a_restart_under_the_same_id_keeps_it(hub: Hub) -> None:
    await hub.client.start("Hello", instance_id="i1")
    await hub.put("i1", COMPLETED)

    assert await hub.client.restart("i1", restart_with_new_instance_id=False) == "i1"

    status = await hub.client.get_status("i1")
    assert status is not None
    assert (status.runtime_status, status.row.input) == (OrchestrationStatus.PENDING, "null")


async def test_a_restart_under_the_same_id_needs_an_ended_instance(hub: Hub) -> None:
    await hub.client.start("Hello", instance_id="i1")

    with pytest.raises(InstanceAlreadyExistsError):
        await hub.client.restart("i1", restart_with_new_instance_id=False)


async def test_a_purge_deletes_an_ended_instance(hub: Hub) -> None:
    await hub.client.start("Hello", instance_id="i1")
    await hub.put("i1", COMPLETED)

    assert (await hub.client.purge("i1")).deleted == 1
    assert await hub.client.get_status("i1") is None


async def test_a_purge_of_nothing_deletes_nothing(hub: Hub) -> None:
    assert (await hub.client.purge("nope")).deleted == 0


async def test_a_purge_by_filter_leaves_running_instances(hub: Hub) -> None:
    for instance_id, status in (("a", COMPLETED), ("b", FAILED), ("c", RUNNING)):
        await hub.client.start("Hello", instance_id=instance_id)
        await hub.put(instance_id, status)

    assert (await hub.client.purge_by(runtime_status=frozenset({RUNNING}))).deleted == 0
    assert (await hub.client.purge_by(runtime_status=frozenset({FAILED}))).deleted == 1
    assert (await hub.client.purge_by(created_from=datetime(2020, 1, 1))).deleted == 1
    assert [status.instance_id async for status in hub.client.query_all()] == ["c"]


async def test_a_query_returns_pages_in_order(hub: Hub) -> None:
    for number in range(5):
        await hub.client.start("Hello", instance_id=f"i{number}")

    first = await hub.client.query(InstanceQuery(page_size=2))
    second = await hub.client.query(InstanceQuery(page_size=2), first.continuation)

    assert [status.instance_id for status in (*first.statuses, *second.statuses)] == ["i0", "i1", "i2", "i3"]
    assert second.continuation is not None


async def test_a_query_restricts_by_everything_it_names(hub: Hub) -> None:
    await hub.client.start("Hello", instance_id="a1")
    await hub.put("a1", COMPLETED)
    await hub.client.start("Hello", instance_id="a2")
    await hub.client.start("Hello", instance_id="b1")

    async def ids(query: InstanceQuery) -> list[str]:
        return [status.instance_id async for status in hub.client.query_all(query)]

    future = datetime.now(timezone.utc) + timedelta(hours=1)
    assert await ids(InstanceQuery(instance_id_prefix="a")) == ["a1", "a2"]
    assert await ids(InstanceQuery(runtime_status=[COMPLETED])) == ["a1"]
    assert await ids(InstanceQuery(created_from=future)) == []
    assert await ids(InstanceQuery(created_to=future, instance_id_prefix="b")) == ["b1"]


async def test_a_continuation_that_is_none_is_refused(hub: Hub) -> None:
    with pytest.raises(ContinuationTokenError, match="nonsense") as refused:
        await hub.client.query(InstanceQuery(), "nonsense")

    assert refused.value.token == "nonsense"


async def test_the_history_of_an_instance_that_never_ran_is_empty(hub: Hub) -> None:
    await hub.client.start("Hello", instance_id="i1")

    assert list(await hub.client.get_history("i1")) == []


async def test_the_history_has_the_events_of_the_current_generation(hub: Hub) -> None:
    await hub.client.start("Hello", instance_id="i1")
    await hub.put("i1", RUNNING)

    history = await hub.client.get_history("i1")

    assert [type(event).__name__ for event in history] == ["OrchestratorStarted", "ExecutionStarted"]
