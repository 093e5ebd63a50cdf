"""What every store promises the orchestration and entity dispatchers: `OrchestrationStore` and its sessions."""

from __future__ import annotations

from datetime import timedelta

import pytest

from durable_ext.backends.protocol import Backend, Checkpoint, OrchestrationSession, SessionEnd
from durable_ext.core.events import (
    EventRaised,
    ExecutionStarted,
    OrchestrationStatus,
    TaskScheduled,
    TimerCreated,
)
from durable_ext.core.messages import ExecutionId, InstanceId, OrchestrationInstance
from durable_ext.errors import CheckpointConflictError
from durable_ext.testing.contract_scenes import (
    AT_ONCE,
    OpenBackend,
    Scene,
    child_start,
    first_episode,
    ids,
    later,
    messages_of,
    names,
    new_id,
    next_episode,
    now,
    raised,
    timer,
    update,
)
from durable_ext.testing.eventually import eventually

A_MOMENT = timedelta(milliseconds=200)


class OrchestrationStoreContract:
    """Subclass it as `Test...` with the fixtures of `contract.BackendContract`."""

    async def test_a_started_instance_is_handed_out_with_its_start_message(self, scene: Scene) -> None:
        start = await scene.start(input='"Zürich 🏔"')

        session = await scene.session()
        batch = await messages_of(session, scene.patience)

        assert session.instance == OrchestrationInstance(instance_id=start.instance.instance_id)
        assert session.history == ()
        (message,) = batch.messages
        event = message.message.event
        assert isinstance(event, ExecutionStarted)
        assert (event.instance, event.name, event.input) == (start.instance, "Hello", '"Zürich 🏔"')
        assert (message.dequeue_count, batch.redelivered) == (1, False)

    async def test_without_work_nothing_is_handed_out(self, backend: Backend) -> None:
        assert await backend.orchestrations.lock_next_orchestration(A_MOMENT) is None
        assert await backend.orchestrations.lock_next_entity(AT_ONCE) is None

    async def test_a_locked_instance_is_not_handed_out_again(self, scene: Scene) -> None:
        session, start = await scene.started_session()
        await scene.backend.instances.send(raised(start.instance.instance_id, "ev"))

        second = await scene.backend.orchestrations.lock_next_orchestration(A_MOMENT)

        assert second is None
        assert names(await session.next_messages(scene.patience)) == ["ev"]

    async def test_a_stored_history_is_what_the_next_session_sees(self, scene: Scene) -> None:
        session, start = await scene.started_session(input='"' + "x" * 1_000_000 + '"')
        scheduled = TaskScheduled(timestamp=now(), event_id=0, name="Ünïcode\u2028", input='["\\"a\\""]')
        more = next_episode(decisions=(scheduled,))
        execution_id = start.instance.execution_id
        assert execution_id is not None
        await session.checkpoint(Checkpoint(execution_id=execution_id, new_events=more))
        await session.release()

        await scene.backend.instances.send(raised(start.instance.instance_id, "wake"))
        again = await scene.session()

        assert again.instance == start.instance
        history = list(again.history)
        assert isinstance(history[1], ExecutionStarted)
        assert history[1].input == start.input
        assert [type(event) for event in history[3:]] == [type(event) for event in more]
        kept = history[4]
        assert isinstance(kept, TaskScheduled)
        assert (kept.timestamp, kept.event_id, kept.name) == (scheduled.timestamp, 0, scheduled.name)

    async def test_messages_arrive_in_the_order_in_which_they_were_sent(self, scene: Scene) -> None:
        session, start = await scene.started_session()
        sent = [f"ev{number}" for number in range(20)]
        for name in sent:
            await scene.backend.instances.send(raised(start.instance.instance_id, name))

        received: list[str] = []
        while len(received) < len(sent):
            received += names(await session.next_messages(scene.patience))

        assert received == sent

    async def test_an_idle_session_says_so_and_keeps_its_lock(self, scene: Scene) -> None:
        session, start = await scene.started_session()

        assert await session.next_messages(AT_ONCE) is SessionEnd.IDLE
        assert await session.next_messages(timedelta(milliseconds=20)) is SessionEnd.IDLE

        await scene.backend.instances.send(raised(start.instance.instance_id, "ev"))
        assert names(await session.next_messages(scene.patience)) == ["ev"]

    async def test_a_session_is_confirmed_until_it_ends(self, scene: Scene) -> None:
        session, _ = await scene.started_session()

        assert await session.confirm()

        await session.release()
        assert not await session.confirm()

    async def test_messages_that_nobody_was_handed_are_new_to_the_next_worker(
        self, scene: Scene, open_backend: OpenBackend
    ) -> None:
        await scene.start()
        backend = scene.backend
        for _ in range(2):
            assert await backend.orchestrations.lock_next_orchestration(scene.patience) is not None
            await backend.drain()
            await backend.close()
            backend = await open_backend()

        session = await Scene(backend, scene.patience).session()
        batch = await messages_of(session, scene.patience)

        assert (batch.messages[0].dequeue_count, batch.redelivered) == (1, False)

    async def test_unconsumed_messages_come_back_after_a_release(self, scene: Scene) -> None:
        session, start = await scene.started_session()
        await scene.backend.instances.send(raised(start.instance.instance_id, "ev", '"1"'))
        first = await messages_of(session, scene.patience)
        await session.release()

        again = await scene.session()
        second = await messages_of(again, scene.patience)

        assert ids(second) == ids(first)
        assert second.messages[0].dequeue_count == 2
        assert second.redelivered

    async def test_consumed_messages_do_not_come_back(self, scene: Scene) -> None:
        session, start = await scene.started_session()
        execution_id = start.instance.execution_id
        assert execution_id is not None
        for name in ("first", "second"):
            await scene.backend.instances.send(raised(start.instance.instance_id, name))
        received = list((await messages_of(session, scene.patience)).messages)
        while len(received) < 2:
            received += (await messages_of(session, scene.patience)).messages
        await session.checkpoint(Checkpoint(execution_id=execution_id, consumed=(received[0].message_id,)))
        await session.release()

        again = await scene.session()

        assert names(await messages_of(again, scene.patience)) == ["second"]

    async def test_an_abandoned_message_comes_back_after_a_while(self, scene: Scene) -> None:
        await scene.start()
        session = await scene.session()
        first = await messages_of(session, scene.patience)
        await session.abandon()

        at_once = await scene.backend.orchestrations.lock_next_orchestration(timedelta(milliseconds=100))
        again = await scene.session()

        assert at_once is None
        assert ids(await messages_of(again, scene.patience)) == ids(first)

    async def test_a_delayed_message_is_delivered_when_it_is_due(self, scene: Scene) -> None:
        session, start = await scene.started_session()
        due = later(timedelta(seconds=1.2))
        await scene.backend.instances.send(raised(start.instance.instance_id, "late", due=due))
        await scene.backend.instances.send(raised(start.instance.instance_id, "early"))

        first = await session.next_messages(scene.patience)
        second = await session.next_messages(scene.patience)
        received_at = now()

        assert names(first) == ["early"]
        assert names(second) == ["late"]
        assert received_at >= due

    async def test_a_timer_wakes_an_instance_that_nobody_holds(self, scene: Scene) -> None:
        await scene.start()
        session = await scene.session()
        batch = await messages_of(session, scene.patience)
        start = batch.messages[0].message.event
        assert isinstance(start, ExecutionStarted)
        assert start.instance.execution_id is not None
        due = later(timedelta(seconds=1.2))
        created = TimerCreated(timestamp=now(), event_id=0, fire_at=due)
        await session.checkpoint(
            Checkpoint(
                execution_id=start.instance.execution_id,
                new_events=first_episode(start, created),
                consumed=ids(batch),
                messages=(timer(start.instance, 0, due),),
            )
        )
        await session.release()

        again = await scene.session()
        woken_at = now()

        assert names(await messages_of(again, scene.patience)) == ["TimerFired"]
        assert woken_at >= due

    async def test_a_custom_status_is_there_for_the_next_session(self, scene: Scene) -> None:
        session, start = await scene.started_session()
        execution_id = start.instance.execution_id
        assert execution_id is not None
        change = update(execution_id, custom_status='{"at": "½"}')
        await session.checkpoint(Checkpoint(execution_id=execution_id, new_events=next_episode(), instance=change))
        await session.release()

        await scene.backend.instances.send(raised(start.instance.instance_id, "wake"))

        assert (await scene.session()).custom_status == '{"at": "½"}'

    async def test_a_checkpoint_starts_a_child_that_knows_its_parent(self, scene: Scene) -> None:
        session, start = await scene.started_session()
        execution_id = start.instance.execution_id
        assert execution_id is not None
        child_id = new_id("child")
        message = child_start(child_id, start.instance, task_id=7)
        await session.checkpoint(Checkpoint(execution_id=execution_id, new_events=next_episode(), messages=(message,)))

        child = await scene.session()
        event = (await messages_of(child, scene.patience)).messages[0].message.event

        assert child.instance.instance_id == child_id
        assert isinstance(event, ExecutionStarted)
        assert event.parent is not None
        assert (event.parent.instance, event.parent.task_schedule_id) == (start.instance, 7)

    async def test_a_checkpoint_sends_to_an_instance_whose_session_is_open(self, scene: Scene) -> None:
        sender, start = await scene.started_session()
        receiver, other = await scene.started_session()
        execution_id = start.instance.execution_id
        assert execution_id is not None
        message = raised(other.instance.instance_id, "hello")

        await sender.checkpoint(Checkpoint(execution_id=execution_id, new_events=next_episode(), messages=(message,)))

        assert names(await receiver.next_messages(scene.patience)) == ["hello"]

    async def test_a_checkpoint_of_a_purged_instance_conflicts(self, scene: Scene) -> None:
        session, start = await scene.started_session()
        execution_id = start.instance.execution_id
        assert execution_id is not None
        await scene.backend.instances.purge_instance(start.instance.instance_id)

        with pytest.raises(CheckpointConflictError) as conflict:
            await session.checkpoint(Checkpoint(execution_id=execution_id, new_events=next_episode()))

        assert conflict.value.instance_id == start.instance.instance_id
        assert await scene.backend.instances.get_history(start.instance.instance_id) == ()

    async def test_giving_up_a_lost_session_does_not_raise(self, scene: Scene) -> None:
        session, start = await scene.started_session()
        await scene.backend.instances.purge_instance(start.instance.instance_id)

        await session.release()
        await session.abandon()

        assert await scene.backend.instances.get_instance(start.instance.instance_id) is None

    async def test_an_event_for_nobody_is_handed_out_without_history(self, scene: Scene) -> None:
        instance_id = new_id("nobody")
        await scene.backend.instances.send(raised(instance_id, "ev"))

        session = await scene.session()
        batch = await messages_of(session, scene.patience)
        await session.checkpoint(Checkpoint(execution_id=ExecutionId("none"), consumed=ids(batch)))
        await session.release()

        assert (session.instance.instance_id, session.history, names(batch)) == (instance_id, (), ["ev"])
        assert await scene.backend.instances.get_instance(instance_id) is None

    async def test_entities_are_handed_out_to_those_who_ask_for_entities(self, scene: Scene) -> None:
        entity_id = InstanceId(f"@counter@{new_id('key')}")
        await scene.backend.instances.send(raised(entity_id, "op", '{"op": "add"}'))

        orchestration = await scene.backend.orchestrations.lock_next_orchestration(A_MOMENT)
        session = await scene.entity_session()

        assert orchestration is None
        assert session.instance.instance_id == entity_id
        assert names(await messages_of(session, scene.patience)) == ["op"]

    async def test_a_scheduled_start_waits_for_its_time(self, scene: Scene) -> None:
        due = later(timedelta(seconds=1.2))
        start = await scene.start(scheduled_start_time=due)

        early = await scene.backend.orchestrations.lock_next_orchestration(AT_ONCE)
        row = await scene.backend.instances.get_instance(start.instance.instance_id)
        session = await scene.session()
        woken_at = now()

        assert early is None
        assert row is not None
        assert (row.status, row.scheduled_start_at) == (OrchestrationStatus.PENDING, due)
        assert session.instance.instance_id == start.instance.instance_id
        assert woken_at >= due

    async def test_while_draining_sessions_are_asked_to_yield(self, scene: Scene) -> None:
        session, start = await scene.started_session()
        await scene.backend.instances.send(raised(start.instance.instance_id, "ev"))

        await scene.backend.drain()
        execution_id = start.instance.execution_id
        assert execution_id is not None
        ended = await eventually_ends(session)
        await session.checkpoint(Checkpoint(execution_id=execution_id, new_events=next_episode()))
        await session.release()

        assert ended is SessionEnd.YIELD
        assert await scene.backend.orchestrations.lock_next_orchestration(AT_ONCE) is None

    async def test_what_a_closed_worker_held_goes_to_another_one(self, scene: Scene, open_backend: OpenBackend) -> None:
        start = await scene.start()
        session = await scene.session()
        await messages_of(session, scene.patience)
        await scene.backend.close()

        other = Scene(await open_backend(), scene.patience)
        again = await other.session()

        assert again.instance.instance_id == start.instance.instance_id

    async def test_a_large_message_arrives_unchanged(self, scene: Scene) -> None:
        session, start = await scene.started_session()
        payload = '"' + "ß→𝄞" * 300_000 + '"'
        await scene.backend.instances.send(raised(start.instance.instance_id, "big", payload))

        event = (await messages_of(session, scene.patience)).messages[0].message.event

        assert isinstance(event, EventRaised)
        assert event.input == payload


async def eventually_ends(session: OrchestrationSession) -> SessionEnd:
    """What a draining session answers once it has handed over what it had."""

    async def ended() -> SessionEnd | None:
        return SessionEnd.YIELD if await session.next_messages(AT_ONCE) is SessionEnd.YIELD else None

    return await eventually(ended, "the session was not asked to yield")
