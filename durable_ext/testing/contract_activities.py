"""What every store promises the activity dispatcher: `ActivityStore`, and the receipts of checkpoints."""

from __future__ import annotations

from datetime import timedelta

from durable_ext.backends.protocol import Backend, Checkpoint, OrchestrationSession, Receipt
from durable_ext.core.events import ExecutionStarted, TaskCompleted, TaskFailed, TaskScheduled
from durable_ext.failure import FailureDetails
from durable_ext.testing.contract_scenes import OpenBackend, Scene, activity, messages_of, next_episode, now

A_MOMENT = timedelta(milliseconds=200)


class ActivityStoreContract:
    """Subclass it as `Test...` with the fixtures of `contract.BackendContract`."""

    async def test_an_activity_is_handed_out_once(self, scene: Scene) -> None:
        _, start, _ = await scheduled(scene, 1)

        item = await scene.backend.activities.lock_next_activity(scene.patience)
        second = await scene.backend.activities.lock_next_activity(A_MOMENT)

        assert item is not None
        event = item.message.event
        assert isinstance(event, TaskScheduled)
        assert (event.name, event.event_id, event.input) == ("SayHello", 0, '["\\"x\\""]')
        assert (item.message.target, item.dequeue_count) == (start.instance, 1)
        assert second is None

    async def test_without_activities_nothing_is_handed_out(self, backend: Backend) -> None:
        assert await backend.activities.lock_next_activity(A_MOMENT) is None

    async def test_a_result_reaches_the_orchestration(self, scene: Scene) -> None:
        session, start, _ = await scheduled(scene, 1)
        item = await scene.backend.activities.lock_next_activity(scene.patience)
        assert item is not None

        await scene.backend.activities.complete(item, TaskCompleted(timestamp=now(), task_scheduled_id=0, result='"Hi"'))
        (message,) = (await messages_of(session, scene.patience)).messages

        assert message.message.target == start.instance
        event = message.message.event
        assert isinstance(event, TaskCompleted)
        assert (event.task_scheduled_id, event.result) == (0, '"Hi"')

    async def test_a_failure_keeps_its_details(self, scene: Scene) -> None:
        session, _, _ = await scheduled(scene, 1)
        item = await scene.backend.activities.lock_next_activity(scene.patience)
        assert item is not None
        inner = FailureDetails(error_type="KeyError", error_message="'k'", stack_trace="at ...")
        failure = FailureDetails(error_type="ValueError", error_message="böse", inner_failure=inner, is_non_retriable=True)
        failed = TaskFailed(timestamp=now(), task_scheduled_id=0, reason="böse", details="where", failure=failure)

        await scene.backend.activities.complete(item, failed)
        event = (await messages_of(session, scene.patience)).messages[0].message.event

        assert isinstance(event, TaskFailed)
        assert (event.reason, event.details, event.failure) == ("böse", "where", failure)

    async def test_a_completed_activity_does_not_come_back(self, scene: Scene) -> None:
        await scheduled(scene, 1)
        item = await scene.backend.activities.lock_next_activity(scene.patience)
        assert item is not None
        await scene.backend.activities.complete(item, TaskCompleted(timestamp=now(), task_scheduled_id=0))

        assert await scene.backend.activities.lock_next_activity(A_MOMENT) is None

    async def test_an_abandoned_activity_comes_back_after_a_while(self, scene: Scene) -> None:
        await scheduled(scene, 1)
        item = await scene.backend.activities.lock_next_activity(scene.patience)
        assert item is not None
        await scene.backend.activities.abandon(item)

        at_once = await scene.backend.activities.lock_next_activity(timedelta(milliseconds=100))
        again = await scene.backend.activities.lock_next_activity(scene.patience)

        assert at_once is None
        assert again is not None
        assert again.message.event.event_id == 0
        assert again.dequeue_count == 2

    async def test_a_released_activity_is_visible_at_once(self, scene: Scene) -> None:
        await scheduled(scene, 1)
        for _ in range(3):
            item = await scene.backend.activities.lock_next_activity(scene.patience)
            assert item is not None
            await scene.backend.activities.release(item)

        again = await scene.backend.activities.lock_next_activity(timedelta(seconds=1))

        assert again is not None
        assert again.dequeue_count == 1  # nobody can have sent a result of it

    async def test_a_run_that_is_broken_off_before_its_result_is_sent_may_begin_at_once(self, scene: Scene) -> None:
        await scheduled(scene, 1)
        first = await scene.backend.activities.lock_next_activity(scene.patience)
        assert first is not None
        await scene.backend.activities.abandon(first)
        item = await scene.backend.activities.lock_next_activity(scene.patience)
        assert item is not None
        assert await scene.backend.activities.begin(item)

        await scene.backend.activities.release(item)
        again = await scene.backend.activities.lock_next_activity(timedelta(seconds=1))

        assert again is not None
        assert (again.dequeue_count, again.deaths) == (2, 0)

    async def test_a_run_that_its_worker_ends_alive_is_no_death(self, scene: Scene) -> None:
        await scheduled(scene, 1)
        for _ in range(2):  # the first run is not counted anyway; the pause before a repetition doubles
            item = await scene.backend.activities.lock_next_activity(scene.patience)
            assert item is not None
            assert await scene.backend.activities.begin(item)
            await scene.backend.activities.abandon(item)

        again = await scene.backend.activities.lock_next_activity(scene.patience)

        assert again is not None
        assert (again.dequeue_count, again.deaths) == (3, 0)

    async def test_activities_that_run_here_come_back_locked_and_in_order(self, scene: Scene) -> None:
        _, _, receipt = await scheduled(scene, 5, run_here=True)

        others = await scene.backend.activities.lock_next_activity(A_MOMENT)

        assert [item.message.event.event_id for item in receipt.activities] == [0, 1, 2, 3, 4]
        assert len({item.item_id for item in receipt.activities}) == 5
        assert others is None

    async def test_only_those_that_run_here_are_in_the_receipt(self, scene: Scene) -> None:
        session, start = await scene.started_session()
        execution_id = start.instance.execution_id
        assert execution_id is not None
        mixed = tuple(activity(start.instance, task_id, run_here=bool(task_id % 2)) for task_id in range(4))

        receipt = await session.checkpoint(
            Checkpoint(execution_id=execution_id, new_events=next_episode(decisions=tasks(4)), activities=mixed)
        )
        left = [await scene.backend.activities.lock_next_activity(scene.patience) for _ in range(2)]

        assert [item.message.event.event_id for item in receipt.activities] == [1, 3]
        assert sorted(item.message.event.event_id for item in left if item is not None) == [0, 2]

    async def test_an_activity_that_ran_here_is_completed_like_any_other(self, scene: Scene) -> None:
        session, _, receipt = await scheduled(scene, 1, run_here=True)

        done = TaskCompleted(timestamp=now(), task_scheduled_id=0, result='"Hi"')
        await scene.backend.activities.complete(receipt.activities[0], done)
        event = (await messages_of(session, scene.patience)).messages[0].message.event

        assert isinstance(event, TaskCompleted)
        assert event.result == '"Hi"'

    async def test_the_result_of_an_activity_that_ran_once_here_cannot_differ(self, scene: Scene) -> None:
        session, _, receipt = await scheduled(scene, 1, run_here=True)

        done = TaskCompleted(timestamp=now(), task_scheduled_id=0, result='"Hi"')
        await scene.backend.activities.complete(receipt.activities[0], done)
        await messages_of(session, scene.patience)

        assert not await session.results_may_differ()

    async def test_a_result_that_is_stored_cannot_differ(self, scene: Scene) -> None:
        session, start, _ = await scheduled(scene, 1)
        first = await scene.backend.activities.lock_next_activity(scene.patience)
        assert first is not None
        await scene.backend.activities.abandon(first)
        again = await scene.backend.activities.lock_next_activity(scene.patience)
        assert again is not None
        done = TaskCompleted(timestamp=now(), task_scheduled_id=0, result='"Hi"')
        await scene.backend.activities.complete(again, done)
        (message,) = (await messages_of(session, scene.patience)).messages
        assert start.instance.execution_id is not None

        opening = next_episode(message.message.event)[:-1]
        await session.checkpoint(Checkpoint(execution_id=start.instance.execution_id, new_events=opening))

        assert not await session.results_may_differ()

    async def test_a_wide_fan_out_is_handed_out_completely(self, scene: Scene) -> None:
        session, _, _ = await scheduled(scene, 150)
        items = [await scene.backend.activities.lock_next_activity(scene.patience) for _ in range(150)]
        for item in items:
            assert item is not None
            done = TaskCompleted(timestamp=now(), task_scheduled_id=item.message.event.event_id, result='"x"')
            await scene.backend.activities.complete(item, done)

        received: set[int] = set()
        while len(received) < 150:
            for message in (await messages_of(session, scene.patience)).messages:
                event = message.message.event
                assert isinstance(event, TaskCompleted)
                received.add(event.task_scheduled_id)

        assert received == set(range(150))

    async def test_what_a_worker_does_not_ask_for_is_left_to_others(self, scene: Scene, open_backend: OpenBackend) -> None:
        await scheduled(scene, 40)
        first = await scene.backend.activities.lock_next_activity(scene.patience)

        other = await open_backend()
        items = [first, await other.activities.lock_next_activity(scene.patience)]
        while items[-1] is not None and len(items) < 40:
            items.append(await other.activities.lock_next_activity(scene.patience))

        assert {item.message.event.event_id for item in items if item is not None} == set(range(40))

    async def test_a_large_result_arrives_unchanged(self, scene: Scene) -> None:
        session, _, _ = await scheduled(scene, 1)
        item = await scene.backend.activities.lock_next_activity(scene.patience)
        assert item is not None
        result = '"' + "é" * 1_000_000 + '"'

        await scene.backend.activities.complete(item, TaskCompleted(timestamp=now(), task_scheduled_id=0, result=result))
        event = (await messages_of(session, scene.patience)).messages[0].message.event

        assert isinstance(event, TaskCompleted)
        assert event.result == result


def tasks(count: int) -> tuple[TaskScheduled, ...]:
    """Decisions to call `count` activities."""
    return tuple(TaskScheduled(timestamp=now(), event_id=task_id, name="SayHello") for task_id in range(count))


async def scheduled(
    scene: Scene, count: int, *, run_here: bool = False
) -> tuple[OrchestrationSession, ExecutionStarted, Receipt]:
    """An instance in its session that has called `count` activities."""
    await scene.start()
    session = await scene.session()
    batch = await messages_of(session, scene.patience)
    start = batch.messages[0].message.event
    assert isinstance(start, ExecutionStarted)
    assert start.instance.execution_id is not None
    receipt = await session.checkpoint(
        Checkpoint(
            execution_id=start.instance.execution_id,
            new_events=next_episode(start, decisions=tasks(count)),
            consumed=tuple(message.message_id for message in batch.messages),
            activities=tuple(activity(start.instance, task_id, run_here=run_here) for task_id in range(count)),
        )
    )
    return session, start, receipt
