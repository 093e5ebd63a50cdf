"""What every store promises when a worker dies without a word: nothing acknowledged is lost, nothing half done stays."""

from __future__ import annotations

import pytest

from durable_ext.backends.protocol import Checkpoint
from durable_ext.core.events import OrchestrationStatus, OrchestratorStarted, TaskCompleted, TaskScheduled
from durable_ext.testing.contract_scenes import (
    AT_ONCE,
    Crash,
    OpenBackend,
    Scene,
    activity,
    first_episode,
    ids,
    messages_of,
    names,
    next_episode,
    now,
    raised,
    start_event,
    update,
)


class CrashContract:
    """Subclass it as `Test...` with the fixtures of `contract.BackendContract`."""

    async def test_messages_of_a_dead_worker_are_delivered_again(
        self, scene: Scene, crash: Crash, open_backend: OpenBackend
    ) -> None:
        start = await scene.start()
        session = await scene.session()
        await messages_of(session, scene.patience)
        await crash(scene.backend)

        other = Scene(await open_backend(), scene.patience)
        again = await other.session()
        batch = await messages_of(again, scene.patience)

        assert again.instance.instance_id == start.instance.instance_id
        assert batch.messages[0].dequeue_count == 2
        assert batch.redelivered

    async def test_a_checkpoint_that_returned_survives_the_worker(
        self, scene: Scene, crash: Crash, open_backend: OpenBackend
    ) -> None:
        _, start = await scene.started_session()
        await crash(scene.backend)

        other = Scene(await open_backend(), scene.patience)
        history = await other.backend.instances.get_history(start.instance.instance_id)
        row = await other.backend.instances.get_instance(start.instance.instance_id)

        assert len(history) == 3
        assert row is not None
        assert row.status is OrchestrationStatus.RUNNING

    async def test_a_start_that_returned_survives_the_worker(
        self, scene: Scene, crash: Crash, open_backend: OpenBackend
    ) -> None:
        start = await scene.start()
        await crash(scene.backend)

        other = Scene(await open_backend(), scene.patience)
        again = await other.session()

        assert again.instance.instance_id == start.instance.instance_id
        assert names(await messages_of(again, scene.patience)) == ["Hello"]

    async def test_activities_of_a_dead_worker_are_handed_out_again(
        self, scene: Scene, crash: Crash, open_backend: OpenBackend
    ) -> None:
        session, start = await scene.started_session()
        execution_id = start.instance.execution_id
        assert execution_id is not None
        scheduled = TaskScheduled(timestamp=now(), event_id=0, name="SayHello")
        receipt = await session.checkpoint(
            Checkpoint(
                execution_id=execution_id,
                new_events=next_episode(decisions=(scheduled,)),
                activities=(activity(start.instance, 0, run_here=True),),
            )
        )
        await crash(scene.backend)

        other = await open_backend()
        item = await other.activities.lock_next_activity(scene.patience)

        assert len(receipt.activities) == 1
        assert item is not None
        assert item.message.target == start.instance
        assert item.dequeue_count == 2

    async def test_only_runs_that_began_after_the_first_delivery_are_deaths(
        self, scene: Scene, crash: Crash, open_backend: OpenBackend
    ) -> None:
        session, start = await scene.started_session()
        execution_id = start.instance.execution_id
        assert execution_id is not None
        scheduled = TaskScheduled(timestamp=now(), event_id=0, name="SayHello")
        await session.checkpoint(
            Checkpoint(
                execution_id=execution_id,
                new_events=next_episode(decisions=(scheduled,)),
                activities=(activity(start.instance, 0, run_here=False),),
            )
        )
        await session.release()
        backend = scene.backend
        deaths = []
        for begins in (True, True, False, False):
            item = await backend.activities.lock_next_activity(scene.patience)
            assert item is not None
            deaths.append(item.deaths)
            if begins:
                assert await backend.activities.begin(item)
            await crash(backend)
            backend = await open_backend()

        assert deaths == [0, 0, 1, 1]

    @pytest.mark.parametrize("of_entity", [False, True], ids=["orchestration", "entity"])
    async def test_deaths_with_an_instance_are_counted_until_something_is_stored(
        self, scene: Scene, crash: Crash, open_backend: OpenBackend, of_entity: bool
    ) -> None:
        backend = scene.backend
        if of_entity:
            await backend.instances.send(raised("@counter@a", "op"))
        else:
            await scene.start()
        deaths: list[int] = []
        for _ in range(2):
            session = await (scene.entity_session() if of_entity else scene.session())
            await messages_of(session, scene.patience)
            deaths.append(session.deaths)
            await crash(backend)
            backend = await open_backend()
            scene = Scene(backend, scene.patience)
        session = await (scene.entity_session() if of_entity else scene.session())
        batch = await messages_of(session, scene.patience)
        deaths.append(session.deaths)
        start = start_event(session.instance.instance_id)
        assert start.instance.execution_id is not None
        await session.checkpoint(
            Checkpoint(
                execution_id=start.instance.execution_id,
                new_events=first_episode(start),
                starts_generation=True,
                consumed=ids(batch),
                instance=update(start.instance.execution_id, name=start.name, version="", created_at=start.timestamp),
            )
        )

        assert deaths in ([0, 1, 2], [0, 0, 1])  # a store may count from the second delivery on
        assert session.deaths == 0

    async def test_an_unfinished_instance_without_messages_is_handed_out_again(
        self, scene: Scene, crash: Crash, open_backend: OpenBackend
    ) -> None:
        if scene.backend.traits.keeps_trigger:
            pytest.skip("this store keeps a message that wakes the instance")
        session, start = await scene.started_session()
        execution_id = start.instance.execution_id
        assert execution_id is not None
        scheduled = TaskScheduled(timestamp=now(), event_id=0, name="SayHello")
        done = TaskCompleted(timestamp=now(), task_scheduled_id=0, result='"x"')
        wave = (*next_episode(decisions=(scheduled,))[1:], OrchestratorStarted(timestamp=now()), done)
        await session.checkpoint(Checkpoint(execution_id=execution_id, new_events=wave))
        await crash(scene.backend)

        other = Scene(await open_backend(), scene.patience)
        again = await other.session()

        assert again.instance == start.instance
        assert isinstance(again.history[-1], TaskCompleted)

    async def test_an_ended_instance_of_a_dead_worker_stays_at_rest(
        self, scene: Scene, crash: Crash, open_backend: OpenBackend
    ) -> None:
        former = await scene.finished()
        await crash(scene.backend)

        other = Scene(await open_backend(), scene.patience)
        start = await other.start()
        session = await other.session()

        assert session.instance.instance_id == start.instance.instance_id
        assert await other.backend.orchestrations.lock_next_orchestration(AT_ONCE) is None
        row = await other.backend.instances.get_instance(former.instance.instance_id)
        assert row is not None
        assert row.status is OrchestrationStatus.COMPLETED

    async def test_a_client_without_a_worker_reaches_one_in_another_process(
        self, scene: Scene, open_backend: OpenBackend
    ) -> None:
        session, start = await scene.started_session()
        client = await open_backend(worker=False)

        await client.instances.send(raised(start.instance.instance_id, "ev"))

        assert names(await session.next_messages(scene.patience)) == ["ev"]

    async def test_an_instance_started_by_another_process_is_handed_out_here(
        self, scene: Scene, open_backend: OpenBackend
    ) -> None:
        client = Scene(await open_backend(worker=False), scene.patience)

        start = await client.start()

        assert (await scene.session()).instance.instance_id == start.instance.instance_id
