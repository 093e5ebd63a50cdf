"""What every store promises those who rewind a failed instance."""

from __future__ import annotations

from typing import Any

from durable_ext.backends.protocol import Checkpoint, OrchestrationSession
from durable_ext.core.events import (
    ExecutionCompleted,
    ExecutionStarted,
    GenericEvent,
    HistoryEvent,
    OrchestrationStatus,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
)
from durable_ext.core.messages import ExecutionId, InstanceId, OrchestrationInstance, ParentInstance
from durable_ext.testing.contract_scenes import Scene, ids, messages_of, new_id, next_episode, now, raised, update


class RewindContract:
    """Subclass it as `Test...` with the fixtures of `contract.BackendContract`."""

    async def test_rewinding_clears_the_failure_and_wakes_the_instance(self, scene: Scene) -> None:
        session, start = await scene.started_session()
        execution_id = start.instance.execution_id
        assert execution_id is not None
        moment = now()
        failure = (
            TaskScheduled(timestamp=moment, event_id=0, name="Fine"),
            TaskScheduled(timestamp=moment, event_id=1, name="Broken"),
            TaskCompleted(timestamp=moment, task_scheduled_id=0, result='"ok"'),
            TaskFailed(timestamp=moment, task_scheduled_id=1, reason="boom"),
        )
        await session.checkpoint(Checkpoint(execution_id=execution_id, new_events=next_episode(decisions=failure)))
        await scene.finish(session, execution_id, OrchestrationStatus.FAILED)

        await scene.backend.instances.rewind(start.instance.instance_id, "try again")
        again = await scene.session()
        batch = await messages_of(again, scene.patience)
        row = await scene.backend.instances.get_instance(start.instance.instance_id)

        woken_by = batch.messages[0].message.event
        assert isinstance(woken_by, GenericEvent)
        assert woken_by.data == "try again"
        kinds = [type(event) for event in again.history]
        assert TaskFailed not in kinds
        assert ExecutionCompleted not in kinds
        assert [event.name for event in again.history if isinstance(event, TaskScheduled)] == ["Fine"]
        assert kinds.count(GenericEvent) == 3
        assert row is not None
        assert row.status is OrchestrationStatus.PENDING

    async def test_a_second_rewind_leaves_a_child_that_runs_since_the_first(self, scene: Scene) -> None:
        parent, child = await _failed_with_its_child(scene)
        await scene.backend.instances.rewind(parent, "one")
        session, execution_id = await _runs_again_and_catches_a_failure(scene)
        await _fails_again(scene, parent)
        before = await scene.backend.instances.get_history(child)

        await scene.backend.instances.rewind(parent, "two")
        row = await scene.backend.instances.get_instance(child)

        assert await scene.backend.instances.get_history(child) == before
        assert row is not None
        assert row.status is OrchestrationStatus.RUNNING
        woken = await scene.session()
        assert woken.instance.instance_id == parent
        await scene.finish(session, execution_id)  # the session was not taken from its worker either

    async def test_a_rewind_leaves_a_child_that_was_rewound_itself_and_runs(self, scene: Scene) -> None:
        parent, child = await _failed_with_its_child(scene)
        await scene.backend.instances.rewind(child, "the child alone")
        session, execution_id = await _runs_again_and_catches_a_failure(scene)
        before = await scene.backend.instances.get_history(child)

        await scene.backend.instances.rewind(parent, "its parent, too")
        rows = [await scene.backend.instances.get_instance(one) for one in (parent, child)]
        kinds = [type(event) for event in await scene.backend.instances.get_history(parent)]

        assert await scene.backend.instances.get_history(child) == before
        assert [row and row.status for row in rows] == [OrchestrationStatus.PENDING, OrchestrationStatus.RUNNING]
        assert SubOrchestrationInstanceFailed not in kinds  # so it waits for the child again
        assert ExecutionCompleted not in kinds
        await scene.finish(session, execution_id)

    async def test_a_child_that_has_completed_since_is_left_and_its_parent_gets_its_result(self, scene: Scene) -> None:
        parent, child = await _failed_with_its_child(scene)
        await scene.backend.instances.rewind(child, "the child alone")
        session, execution_id = await _runs_again_and_catches_a_failure(scene)
        await scene.finish(session, execution_id)
        before = await scene.backend.instances.get_history(child)

        await scene.backend.instances.rewind(parent, "its parent, too")
        row = await scene.backend.instances.get_instance(child)
        woken = await scene.session()
        answers = [message.message.event for message in (await messages_of(woken, scene.patience)).messages]

        assert await scene.backend.instances.get_history(child) == before
        assert row is not None
        assert row.status is OrchestrationStatus.COMPLETED
        assert woken.instance.instance_id == parent
        (answer,) = [event for event in answers if isinstance(event, SubOrchestrationInstanceCompleted)]
        assert (answer.task_scheduled_id, answer.result) == (0, '"done"')

    async def test_a_child_that_is_gone_is_called_again(self, scene: Scene) -> None:
        parent, child = await _failed_with_its_child(scene)
        await scene.backend.instances.purge_instance(child)

        await scene.backend.instances.rewind(parent, "without its child")
        woken = await scene.session()

        assert woken.instance.instance_id == parent
        assert not any(isinstance(event, SubOrchestrationInstanceCreated) for event in woken.history)

    async def test_a_rewind_may_be_repeated_before_it_shows(self, scene: Scene) -> None:
        parent, child = await _failed_with_its_child(scene)

        for _ in range(2):
            await scene.backend.instances.rewind(parent, "again")
        rows = [await scene.backend.instances.get_instance(one) for one in (parent, child)]
        sessions = [await scene.session() for _ in rows]

        assert all(row is not None and row.was_rewound for row in rows)
        assert {session.instance.instance_id for session in sessions} == {parent, child}
        for session in sessions:
            assert not any(isinstance(event, ExecutionCompleted) for event in session.history)


async def _failed(scene: Scene, *decisions: HistoryEvent, **start_fields: Any) -> InstanceId:
    session, start = await scene.started_session(**start_fields)
    execution_id = start.instance.execution_id
    assert execution_id is not None
    await session.checkpoint(Checkpoint(execution_id=execution_id, new_events=next_episode(decisions=decisions)))
    await scene.finish(session, execution_id, OrchestrationStatus.FAILED)
    return start.instance.instance_id


async def _failed_with_its_child(scene: Scene) -> tuple[InstanceId, InstanceId]:
    """Return a failed parent and the child that it failed with."""
    parent = new_id("parent")
    child = await _failed(
        scene,
        TaskScheduled(timestamp=now(), event_id=0, name="Broken"),
        TaskFailed(timestamp=now(), task_scheduled_id=0, reason="boom"),
        parent=_caller(parent, 0),
    )
    await _failed(
        scene,
        SubOrchestrationInstanceCreated(timestamp=now(), event_id=0, instance_id=child, name="Child"),
        SubOrchestrationInstanceFailed(timestamp=now(), task_scheduled_id=0, reason="boom"),
        instance_id=parent,
    )
    return parent, child


def _caller(parent: InstanceId, task_id: int) -> ParentInstance:
    instance = OrchestrationInstance(instance_id=parent)
    return ParentInstance(name="Parent", instance=instance, task_schedule_id=task_id, version="")


async def _runs_again_and_catches_a_failure(scene: Scene) -> tuple[OrchestrationSession, ExecutionId]:
    session = await scene.session()
    batch = await messages_of(session, scene.patience)
    started = next(event for event in session.history if isinstance(event, ExecutionStarted))
    execution_id = started.instance.execution_id
    assert execution_id is not None
    caught = (
        TaskScheduled(timestamp=now(), event_id=1, name="Risky"),
        TaskFailed(timestamp=now(), task_scheduled_id=1, reason="caught"),
    )
    received = [message.message.event for message in batch.messages]
    await session.checkpoint(
        Checkpoint(
            execution_id=execution_id,
            new_events=next_episode(*received, decisions=caught),
            consumed=ids(batch),
            instance=update(execution_id),
        )
    )
    return session, execution_id


async def _fails_again(scene: Scene, instance_id: InstanceId) -> None:
    """Let an instance fail for something else than its child."""
    await scene.backend.instances.send(raised(instance_id, "Unrelated"))
    session = await scene.session()
    assert session.instance.instance_id == instance_id
    batch = await messages_of(session, scene.patience)
    started = next(event for event in session.history if isinstance(event, ExecutionStarted))
    assert started.instance.execution_id is not None
    await scene.finish(session, started.instance.execution_id, OrchestrationStatus.FAILED, consumed=ids(batch))
