"""Entities through DurableClient: what a signal records, what reads, lists and cleaning return."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from support.client_hub import Hub

from durable_ext.backends.protocol import Checkpoint, MessageBatch
from durable_ext.client import EntityQuery
from durable_ext.client.known_functions import KnownFunctions
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.messages import EntityStatus, SchedulerState
from durable_ext.core.events import EventRaised, ExecutionStarted, OrchestrationStatus, OrchestratorStarted
from durable_ext.core.instances import InstanceUpdate
from durable_ext.core.messages import ExecutionId, OrchestrationInstance
from durable_ext.core.timestamps import ticks_from_datetime
from durable_ext.errors import FunctionNotFoundError, InvalidArgumentError

CODEC = JsonEntityCodec()
COUNTER = EntityId("Counter", "Eu")


async def _commit(hub: Hub, entity: EntityId, state: SchedulerState, status: EntityStatus, *, at: datetime) -> None:
    """Do an entity worker's part: consume the messages and write what became of the entity."""
    await hub.client.signal_entity(entity, "touch")
    session = await hub.backend.orchestrations.lock_next_entity(timedelta(seconds=5))
    assert session is not None
    batch = await session.next_messages(timedelta(0))
    assert isinstance(batch, MessageBatch)
    now, execution_id = ticks_from_datetime(at), ExecutionId("e" * 32)
    instance = OrchestrationInstance(instance_id=entity.instance_id, execution_id=execution_id)
    started = ExecutionStarted(
        timestamp=now, instance=instance, name=entity.instance_id, version="", input=CODEC.state_text(state)
    )
    update = InstanceUpdate(
        execution_id=execution_id,
        last_updated_at=now,
        created_at=now,
        custom_status=CODEC.status_text(status),
        status=OrchestrationStatus.RUNNING,
        name=entity.instance_id,
        input=CODEC.state_text(state),
    )
    await session.checkpoint(
        Checkpoint(
            execution_id=execution_id,
            new_events=(OrchestratorStarted(timestamp=now), started),
            starts_generation=True,
            consumed=tuple(received.message_id for received in batch.messages),
            instance=update,
        )
    )
    await session.release()


NOW = datetime.now(timezone.utc)
OLD = NOW - timedelta(hours=1)


async def _counter(hub: Hub, entity: EntityId = COUNTER, *, at: datetime = NOW) -> None:
    await _commit(hub, entity, SchedulerState(exists=True, state='{"n": 5}'), EntityStatus(exists=True), at=at)


async def test_a_signal_is_a_request_without_sender(hub: Hub) -> None:
    await hub.client.signal_entity(COUNTER, "add", {"n": 1})

    (event,) = await hub.received(entity=True)
    assert isinstance(event, EventRaised)
    request = CODEC.read_request(str(event.input))
    assert (event.name, request.operation, request.is_signal, request.parent) == ("op", "add", True, None)
    assert request.input == '"{\\"n\\": 1}"'


@pytest.mark.parametrize("value", [0, "", False, [], {}])
async def test_a_false_input_is_sent(hub: Hub, value: object) -> None:
    await hub.client.signal_entity(COUNTER, "set", value)

    (event,) = await hub.received(entity=True)
    assert isinstance(event, EventRaised)
    assert CODEC.read_request(str(event.input)).input is not None


async def test_no_input_is_none(hub: Hub) -> None:
    await hub.client.signal_entity(COUNTER, "reset")

    (event,) = await hub.received(entity=True)
    assert isinstance(event, EventRaised)
    assert CODEC.read_request(str(event.input)).input is None


async def test_a_signal_for_later_is_not_delivered_before(hub: Hub) -> None:
    await hub.client.signal_entity(COUNTER, "add", 1, due=datetime.now(timezone.utc) + timedelta(days=400))

    assert await hub.backend.orchestrations.lock_next_entity(timedelta(0)) is None


async def test_a_signal_to_an_unknown_entity_is_refused(hub: Hub) -> None:
    client = hub.new_client(known=KnownFunctions({"orchestrator": [], "entity": ["Account"]}))

    with pytest.raises(FunctionNotFoundError) as refused:
        await client.signal_entity(COUNTER, "add", 1)

    assert (refused.value.kind, refused.value.name) == ("entity", "Counter")


@pytest.mark.parametrize("key", ["a/b", "a\\b", "a#b", "a?b", "a\nb"])
async def test_an_unusable_key_is_refused(hub: Hub, key: str) -> None:
    with pytest.raises(InvalidArgumentError):
        await hub.client.signal_entity(EntityId("Counter", key), "add", 1)


async def test_an_entity_is_read_as_its_last_batch_left_it(hub: Hub) -> None:
    await _counter(hub)

    entity = await hub.client.read_entity(COUNTER)

    assert (entity.exists, entity.state, entity.last_operation_at) == (True, {"n": 5}, NOW)
    assert entity.state_as(dict[str, int]) == {"n": 5}


async def test_an_entity_that_was_never_signalled_does_not_exist(hub: Hub) -> None:
    entity = await hub.client.read_entity(COUNTER)

    assert (entity.exists, entity.state, entity.last_operation_at) == (False, None, None)


async def test_a_deleted_entity_does_not_exist(hub: Hub) -> None:
    await _commit(hub, COUNTER, SchedulerState(exists=False, state="null"), EntityStatus(), at=NOW)

    entity = await hub.client.read_entity(COUNTER)

    assert (entity.exists, entity.state_text) == (False, None)


async def test_a_list_has_the_entities_that_exist(hub: Hub) -> None:
    await _counter(hub, EntityId("Counter", "a"))
    await _counter(hub, EntityId("Counter", "b"))
    await _counter(hub, EntityId("Counters", "c"))
    await _commit(hub, EntityId("Counter", "gone"), SchedulerState(), EntityStatus(), at=NOW)
    await hub.client.start("Hello", instance_id="an-orchestration")

    page = await hub.client.list_entities(EntityQuery(name="COUNTER", with_state=True))

    assert [(entity.entity_id.key, entity.state) for entity in page.entities] == [("a", {"n": 5}), ("b", {"n": 5})]
    assert page.continuation is None


async def test_a_list_is_restricted_by_the_last_operation(hub: Hub) -> None:
    await _counter(hub, EntityId("Counter", "old"), at=OLD)
    await _counter(hub, EntityId("Counter", "new"))

    page = await hub.client.list_entities(EntityQuery(last_operation_from=NOW - timedelta(minutes=1)))

    assert [entity.entity_id.key for entity in page.entities] == ["new"]
    assert page.entities[0].state is None


async def test_cleaning_removes_empty_entities_that_are_idle(hub: Hub) -> None:
    await _commit(hub, EntityId("Counter", "idle"), SchedulerState(), EntityStatus(), at=OLD)
    await _commit(hub, EntityId("Counter", "busy"), SchedulerState(), EntityStatus(), at=NOW)
    await _counter(hub, EntityId("Counter", "full"), at=OLD)

    cleaned = await hub.client.clean_entities()

    assert (cleaned.empty_entities_removed, cleaned.orphaned_locks_released) == (1, 0)
    assert await hub.client.get_status("@counter@idle") is None
    assert await hub.client.get_status("@counter@busy") is not None


async def test_cleaning_releases_locks_whose_owner_is_gone(hub: Hub) -> None:
    await _commit(hub, COUNTER, SchedulerState(locked_by="gone"), EntityStatus(exists=True, locked_by="gone"), at=OLD)

    cleaned = await hub.client.clean_entities()

    (event,) = await hub.received(entity=True)
    assert cleaned.orphaned_locks_released == 1
    assert isinstance(event, EventRaised)
    assert event.name == "release"
    assert CODEC.read_release(str(event.input)).lock_request_id == "fix-orphaned-lock"


async def test_cleaning_leaves_locks_whose_owner_runs(hub: Hub) -> None:
    await hub.client.start("Hello", instance_id="owner")
    await _commit(hub, COUNTER, SchedulerState(locked_by="owner"), EntityStatus(exists=True, locked_by="owner"), at=OLD)

    assert (await hub.client.clean_entities()).orphaned_locks_released == 0
