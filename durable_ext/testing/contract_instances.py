"""What every store promises clients: `InstanceStore` and `TaskHub`."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from durable_ext.backends.protocol import Backend, Checkpoint
from durable_ext.core.events import (
    ExecutionCompleted,
    OrchestrationStatus,
)
from durable_ext.core.instances import InstanceFilter
from durable_ext.core.messages import ExecutionId, InstanceId, OrchestrationInstance
from durable_ext.core.timestamps import Ticks
from durable_ext.errors import InstanceAlreadyExistsError
from durable_ext.testing.contract_scenes import (
    ANY_STATUS,
    AT_ONCE,
    RUNNING_STATUSES,
    Scene,
    child_start,
    messages_of,
    names,
    new_id,
    next_episode,
    now,
    raised,
    start_event,
    update,
)
from durable_ext.testing.eventually import eventually


class InstanceStoreContract:
    """Subclass it as `Test...` with the fixtures of `contract.BackendContract`."""

    async def test_a_new_instance_is_pending_with_what_it_was_started_with(self, backend: Backend) -> None:
        start = start_event(new_id(), name="Grüße", input='{"a": "½"}', tags={"k": "v"})

        await backend.instances.create_instance(start, reject=ANY_STATUS)
        row = await backend.instances.get_instance(start.instance.instance_id)

        assert row is not None
        assert (row.instance_id, row.execution_id) == (start.instance.instance_id, start.instance.execution_id)
        assert (row.name, row.status, row.input) == ("Grüße", OrchestrationStatus.PENDING, '{"a": "½"}')
        assert (row.created_at, row.generation, row.tags) == (start.timestamp, 0, {"k": "v"})
        assert (row.output, row.custom_status, row.completed_at) == (None, None, None)

    async def test_an_unknown_instance_has_no_row(self, backend: Backend) -> None:
        assert await backend.instances.get_instance(new_id()) is None
        assert await backend.instances.get_history(new_id()) == ()

    async def test_a_rejected_status_is_an_error_that_names_it(self, scene: Scene) -> None:
        _, start = await scene.started_session()

        with pytest.raises(InstanceAlreadyExistsError) as refused:
            await scene.backend.instances.create_instance(start_event(start.instance.instance_id), reject=RUNNING_STATUSES)

        assert (refused.value.instance_id, refused.value.status) == (start.instance.instance_id, "Running")
        row = await scene.backend.instances.get_instance(start.instance.instance_id)
        assert row is not None
        assert row.execution_id == start.instance.execution_id

    async def test_two_starts_at_once_make_one_instance(self, backend: Backend) -> None:
        instance_id = new_id()
        starts = [backend.instances.create_instance(start_event(instance_id), reject=RUNNING_STATUSES) for _ in range(2)]

        results = await asyncio.gather(*starts, return_exceptions=True)
        page = await backend.instances.query_instances(InstanceFilter(instance_id_prefix=instance_id))

        assert len(page.rows) == 1
        assert [type(result) for result in results if result is not None] in ([], [InstanceAlreadyExistsError])

    async def test_a_start_over_an_ended_instance_replaces_the_row(self, scene: Scene) -> None:
        former = await scene.finished(input='"' + "old" * 3000 + '"')
        start = start_event(former.instance.instance_id, input='"new"')

        await scene.backend.instances.create_instance(start, reject=RUNNING_STATUSES)
        row = await scene.backend.instances.get_instance(former.instance.instance_id)

        assert row is not None
        assert (row.status, row.input, row.generation) == (OrchestrationStatus.PENDING, '"new"', 1)
        assert (row.output, row.completed_at, row.custom_status) == (None, None, None)
        assert row.execution_id == start.instance.execution_id

    async def test_a_checkpoint_changes_only_what_it_names(self, scene: Scene) -> None:
        session, start = await scene.started_session(input='"in"')
        execution_id = start.instance.execution_id
        assert execution_id is not None
        change = update(execution_id, None, custom_status='"half"')
        await session.checkpoint(Checkpoint(execution_id=execution_id, new_events=next_episode(), instance=change))

        row = await scene.backend.instances.get_instance(start.instance.instance_id)

        assert row is not None
        assert (row.status, row.custom_status, row.input) == (OrchestrationStatus.RUNNING, '"half"', '"in"')
        assert (row.last_updated_at, row.created_at) == (change.last_updated_at, start.timestamp)

    async def test_the_end_of_an_instance_is_in_its_row(self, scene: Scene) -> None:
        start = await scene.finished(input='"in"')

        row = await scene.backend.instances.get_instance(start.instance.instance_id)

        assert row is not None
        assert (row.status, row.output, row.input) == (OrchestrationStatus.COMPLETED, '"done"', '"in"')
        assert row.completed_at is not None

    async def test_large_inputs_and_outputs_are_kept(self, scene: Scene) -> None:
        large = '"' + "𝄞ä" * 400_000 + '"'
        session, start = await scene.started_session(input=large)
        execution_id = start.instance.execution_id
        assert execution_id is not None
        ended = ExecutionCompleted(timestamp=now(), event_id=0, status=OrchestrationStatus.COMPLETED, result=large)
        await session.checkpoint(
            Checkpoint(
                execution_id=execution_id,
                new_events=next_episode(decisions=(ended,)),
                instance=update(execution_id, OrchestrationStatus.COMPLETED, output=large),
            )
        )

        row = await scene.backend.instances.get_instance(start.instance.instance_id)

        assert row is not None
        assert row.input == large
        assert row.output == large

    async def test_waiting_returns_at_once_what_is_not_known_yet(self, backend: Backend) -> None:
        start = start_event(new_id())
        await backend.instances.create_instance(start, reject=ANY_STATUS)

        row = await backend.instances.wait_for_change(start.instance.instance_id, None, timedelta(seconds=30))

        assert row is not None
        assert row.status is OrchestrationStatus.PENDING

    async def test_waiting_ends_with_a_change_of_the_row(self, scene: Scene) -> None:
        session, start = await scene.started_session()
        instance_id, execution_id = start.instance.instance_id, start.instance.execution_id
        assert execution_id is not None
        known = await scene.backend.instances.get_instance(instance_id)
        change = update(execution_id, custom_status='"now"')

        row, _ = await asyncio.gather(
            scene.backend.instances.wait_for_change(instance_id, known, scene.patience),
            session.checkpoint(Checkpoint(execution_id=execution_id, new_events=next_episode(), instance=change)),
        )

        assert row is not None
        assert row.custom_status == '"now"'

    async def test_waiting_ends_after_its_time_without_a_change(self, backend: Backend) -> None:
        start = start_event(new_id())
        await backend.instances.create_instance(start, reject=ANY_STATUS)
        known = await backend.instances.get_instance(start.instance.instance_id)

        row = await backend.instances.wait_for_change(start.instance.instance_id, known, timedelta(milliseconds=50))

        assert row == known

    async def test_waiting_for_an_instance_that_does_not_exist_sees_it_appear(self, scene: Scene) -> None:
        instance_id = new_id()

        row, _ = await asyncio.gather(
            scene.backend.instances.wait_for_change(instance_id, None, scene.patience), scene.start(instance_id)
        )

        assert row is not None
        assert row.instance_id == instance_id

    async def test_a_query_returns_pages_in_the_order_of_ids(self, backend: Backend) -> None:
        prefix = new_id("page")
        wanted = [f"{prefix}-{number:02d}" for number in range(7)]
        for instance_id in reversed(wanted):
            await backend.instances.create_instance(start_event(instance_id), reject=ANY_STATUS)

        pages, continuation = [], None
        while True:
            page = await backend.instances.query_instances(
                InstanceFilter(instance_id_prefix=prefix), page_size=3, continuation=continuation
            )
            pages.append([row.instance_id for row in page.rows])
            continuation = page.continuation
            if continuation is None:
                break

        assert [instance_id for page in pages for instance_id in page] == wanted
        assert max(len(page) for page in pages) <= 3

    @pytest.mark.parametrize("page_size", [2**31, 10**20])
    async def test_a_page_may_be_larger_than_any_hub(self, backend: Backend, page_size: int) -> None:
        prefix = new_id("query")
        for letter in "ab":
            await backend.instances.create_instance(start_event(f"{prefix}-{letter}"), reject=ANY_STATUS)

        page = await backend.instances.query_instances(InstanceFilter(instance_id_prefix=prefix), page_size=page_size)

        assert [row.instance_id for row in page.rows] == [f"{prefix}-a", f"{prefix}-b"]
        assert page.continuation is None

    async def test_a_prefix_is_matched_exactly_and_with_its_case(self, backend: Backend) -> None:
        mark = new_id("x")
        for instance_id in (f"{mark}-Ab", f"{mark}-ab", f"{mark}-aB", f"{mark}-a_", f"{mark}-b"):
            await backend.instances.create_instance(start_event(instance_id), reject=ANY_STATUS)

        page = await backend.instances.query_instances(InstanceFilter(instance_id_prefix=f"{mark}-a"))

        assert [row.instance_id for row in page.rows] == [f"{mark}-aB", f"{mark}-a_", f"{mark}-ab"]

    async def test_a_query_filters_by_status(self, scene: Scene) -> None:
        prefix = new_id("status")
        await scene.finished(instance_id=f"{prefix}-done")
        await scene.start(f"{prefix}-waiting")

        page = await scene.backend.instances.query_instances(
            InstanceFilter(instance_id_prefix=prefix, statuses=frozenset({OrchestrationStatus.COMPLETED}))
        )

        assert [row.instance_id for row in page.rows] == [f"{prefix}-done"]

    async def test_a_query_filters_by_creation_time_with_both_ends(self, backend: Backend) -> None:
        prefix = new_id("time")
        moments = [Ticks(now() + number * 10_000_000) for number in range(4)]
        for number, moment in enumerate(moments):
            start = start_event(f"{prefix}-{number}", timestamp=moment)
            await backend.instances.create_instance(start, reject=ANY_STATUS)

        page = await backend.instances.query_instances(
            InstanceFilter(instance_id_prefix=prefix, created_from=moments[1], created_to=moments[2])
        )

        assert [row.instance_id for row in page.rows] == [f"{prefix}-1", f"{prefix}-2"]

    async def test_a_query_can_leave_out_entities_or_orchestrations(self, scene: Scene) -> None:
        orchestration = (await scene.start()).instance.instance_id
        entity = InstanceId(f"@counter@{new_id('key')}")
        await scene.entity_batch(entity, "op")

        only_entities = await scene.backend.instances.query_instances(InstanceFilter(include_orchestrations=False))
        no_entities = await scene.backend.instances.query_instances(InstanceFilter(include_entities=False))

        assert entity in {row.instance_id for row in only_entities.rows}
        assert orchestration not in {row.instance_id for row in only_entities.rows}
        assert entity not in {row.instance_id for row in no_entities.rows}
        assert orchestration in {row.instance_id for row in no_entities.rows}

    async def test_a_foreign_continuation_is_refused(self, backend: Backend) -> None:
        with pytest.raises(ValueError, match="not-a-token"):
            await backend.instances.query_instances(InstanceFilter(), continuation="not-a-token")

    async def test_purging_removes_everything_of_one_instance(self, scene: Scene) -> None:
        start = await scene.finished()
        kept = await scene.finished()
        instance_id = start.instance.instance_id

        result = await scene.backend.instances.purge_instance(instance_id)

        assert (result.deleted, result.complete) == (1, True)
        assert await scene.backend.instances.get_instance(instance_id) is None
        assert await scene.backend.instances.get_history(instance_id) == ()
        assert len(await scene.backend.instances.get_history(kept.instance.instance_id)) > 0

    async def test_a_purge_of_what_was_seen_leaves_a_later_run(self, scene: Scene) -> None:
        instance_id = (await scene.finished()).instance.instance_id
        seen = await scene.backend.instances.get_instance(instance_id)
        again = await scene.start(instance_id, name="again")

        result = await scene.backend.instances.purge_instance(instance_id, seen=seen)
        session = await scene.session()
        batch = await messages_of(session, scene.patience)

        assert (result.deleted, result.complete) == (0, True)
        assert [received.message.target for received in batch.messages] == [again.instance]

    async def test_a_purge_of_an_ended_child_leaves_the_start_that_is_on_its_way(self, scene: Scene) -> None:
        child_id = (await scene.finished()).instance.instance_id
        seen = await scene.backend.instances.get_instance(child_id)
        start = child_start(child_id, OrchestrationInstance(instance_id=new_id("parent"), execution_id=ExecutionId("p")))
        await scene.backend.instances.send(start)

        await scene.backend.instances.purge_instance(child_id, seen=seen)
        batch = await messages_of(await scene.session(), scene.patience)

        assert [received.message for received in batch.messages] == [start.message]

    async def test_a_purge_of_an_idle_entity_leaves_what_was_sent_to_it(self, scene: Scene) -> None:
        entity = InstanceId(f"@counter@{new_id('key')}")
        await scene.entity_batch(entity, "first")
        seen = await scene.backend.instances.get_instance(entity)
        await scene.backend.instances.send(raised(entity, "second"))

        await scene.backend.instances.purge_instance(entity, seen=seen)
        batch = await messages_of(await scene.entity_session(), scene.patience)

        assert names(batch) == ["second"]

    async def test_a_purge_of_what_was_seen_deletes_it(self, scene: Scene) -> None:
        instance_id = (await scene.finished()).instance.instance_id
        seen = await scene.backend.instances.get_instance(instance_id)

        result = await scene.backend.instances.purge_instance(instance_id, seen=seen)

        assert (result.deleted, result.complete) == (1, True)
        assert await scene.backend.instances.get_instance(instance_id) is None
        assert await scene.backend.instances.get_history(instance_id) == ()

    async def test_purging_nothing_says_so(self, backend: Backend) -> None:
        assert (await backend.instances.purge_instance(new_id())).deleted == 0

    async def test_purging_by_filter_leaves_the_others(self, scene: Scene) -> None:
        prefix = new_id("purge")
        for number in range(3):
            await scene.finished(instance_id=f"{prefix}-{number}")
        await scene.start(f"{prefix}-pending")
        wanted = InstanceFilter(instance_id_prefix=prefix, statuses=frozenset({OrchestrationStatus.COMPLETED}))

        result = await scene.backend.instances.purge_instances(wanted)
        left = await scene.backend.instances.query_instances(InstanceFilter(instance_id_prefix=prefix))

        assert (result.deleted, result.complete) == (3, True)
        assert [row.instance_id for row in left.rows] == [f"{prefix}-pending"]


class TaskHubContract:
    """Subclass it as `Test...` with the fixtures of `contract.BackendContract`."""

    async def test_an_opened_hub_exists(self, backend: Backend) -> None:
        assert await backend.hub.exists()

    async def test_creating_a_hub_twice_keeps_what_is_in_it(self, scene: Scene) -> None:
        start = await scene.start()

        await scene.backend.hub.create()

        assert await scene.backend.instances.get_instance(start.instance.instance_id) is not None

    async def test_a_deleted_hub_is_gone_with_everything_in_it(self, scene: Scene) -> None:
        start = await scene.start()

        await scene.backend.hub.delete()
        existed = await scene.backend.hub.exists()
        await eventually(lambda: _created(scene.backend), "the hub could not be created again", within=scene.patience)

        assert not existed
        assert await scene.backend.instances.get_instance(start.instance.instance_id) is None
        assert (await scene.backend.instances.query_instances(InstanceFilter())).rows == ()
        assert await scene.backend.orchestrations.lock_next_orchestration(AT_ONCE) is None


async def _created(backend: Backend) -> bool:
    await backend.hub.create()
    return await backend.hub.exists()
