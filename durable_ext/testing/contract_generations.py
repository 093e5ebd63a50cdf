"""What every store promises about generations: a new one replaces the old, and old messages do no harm."""

from __future__ import annotations

from durable_ext.backends.protocol import Checkpoint, SessionEnd
from durable_ext.core.events import ExecutionStarted, OrchestrationStatus
from durable_ext.core.messages import ExecutionId, InstanceId, OrchestrationInstance
from durable_ext.testing.contract_scenes import (
    ANY_STATUS,
    Scene,
    child_start,
    first_episode,
    ids,
    messages_of,
    new_id,
    next_episode,
    now,
    raised,
    start_event,
    timer,
    update,
)


class GenerationContract:
    """Continue-as-new, batches of entities, and starts over an instance that exists."""

    async def test_a_new_generation_replaces_the_history(self, scene: Scene) -> None:
        session, start = await scene.started_session()
        following = start_event(start.instance.instance_id, input='"again"')
        execution_id = following.instance.execution_id
        assert execution_id is not None
        await session.checkpoint(
            Checkpoint(
                execution_id=execution_id,
                new_events=first_episode(following),
                starts_generation=True,
                instance=update(execution_id, input='"again"'),
            )
        )
        await session.release()

        await scene.backend.instances.send(raised(start.instance.instance_id, "wake"))
        again = await scene.session()

        assert again.instance.execution_id == execution_id
        begun = [event for event in again.history if isinstance(event, ExecutionStarted)]
        assert [event.input for event in begun] == ['"again"']
        assert len(again.history) == 3

    async def test_a_batch_of_an_entity_is_a_generation_of_its_own(self, scene: Scene) -> None:
        entity_id = InstanceId(f"@counter@{new_id('key')}")
        for number in range(2):
            await scene.backend.instances.send(raised(entity_id, "op", f'{{"op": "add{number}"}}'))
            session = await scene.entity_session()
            batch = await messages_of(session, scene.patience)
            start = start_event(entity_id, name=entity_id, input=f'{{"state": "{number}"}}')
            execution_id = start.instance.execution_id
            assert execution_id is not None
            await session.checkpoint(
                Checkpoint(
                    execution_id=execution_id,
                    new_events=first_episode(start),
                    starts_generation=True,
                    consumed=ids(batch),
                    instance=update(execution_id, name=entity_id, input=start.input, created_at=start.timestamp),
                )
            )
            await session.release()

        row = await scene.backend.instances.get_instance(entity_id)
        history = await scene.backend.instances.get_history(entity_id)

        assert row is not None
        assert (row.name, row.status, row.input) == (entity_id, OrchestrationStatus.RUNNING, '{"state": "1"}')
        assert [event.input for event in history if isinstance(event, ExecutionStarted)] == ['{"state": "1"}']

    async def test_a_start_over_an_ended_instance_begins_with_an_empty_history(self, scene: Scene) -> None:
        former = await scene.finished()
        start = await scene.start(former.instance.instance_id, input='"anew"')

        session = await scene.session()
        begun, _ = await scene.begin(session)
        await session.release()

        history = await scene.backend.instances.get_history(former.instance.instance_id)
        assert (session.history, begun.instance) == ((), start.instance)
        assert [event.input for event in history if isinstance(event, ExecutionStarted)] == ['"anew"']

    async def test_a_start_over_a_running_instance_makes_a_session_of_its_own(self, scene: Scene) -> None:
        session, former = await scene.started_session()
        start = start_event(former.instance.instance_id, input='"anew"')
        await scene.backend.instances.create_instance(start, reject=ANY_STATUS)

        ended = await session.next_messages(scene.patience)
        await session.release()
        again = await scene.session()
        begun, _ = await scene.begin(again)

        assert ended is SessionEnd.YIELD
        assert (again.history, begun.instance) == ((), start.instance)

    async def test_children_of_one_checkpoint_that_share_an_id_run_one_after_the_other(self, scene: Scene) -> None:
        session, parent = await scene.started_session()
        child_id = new_id("child")
        children = [child_start(child_id, parent.instance, task_id) for task_id in range(3)]
        assert parent.instance.execution_id is not None
        await session.checkpoint(
            Checkpoint(execution_id=parent.instance.execution_id, new_events=next_episode(), messages=tuple(children))
        )
        await session.release()

        begun = set()
        for _ in children:
            child = await scene.session()
            start, _ = await scene.begin(child)
            assert child.history == ()
            assert start.instance.execution_id is not None
            await scene.finish(child, start.instance.execution_id)
            begun.add(start.instance)

        row = await scene.backend.instances.get_instance(child_id)
        assert begun == {child.message.target for child in children}
        assert row is not None
        assert row.status is OrchestrationStatus.COMPLETED

    async def test_a_message_that_was_too_old_for_its_generation_is_still_delivered(self, scene: Scene) -> None:
        session, start = await scene.started_session()
        stranger = OrchestrationInstance(
            instance_id=start.instance.instance_id, execution_id=ExecutionId("of-another-generation")
        )
        await scene.backend.instances.send(timer(stranger, 3, now()))

        batch = await messages_of(session, scene.patience)

        assert batch.messages[0].message.target == stranger
