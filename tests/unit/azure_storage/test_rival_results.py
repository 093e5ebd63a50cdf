"""Which results of activities may come again with another value."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable_ext.backends.azure_storage.held_message import HeldMessage
from durable_ext.backends.azure_storage.message_codec import Envelope
from durable_ext.backends.azure_storage.rival_results import RivalResults
from durable_ext.backends.azure_storage.transport.queue import MessageReceipt
from durable_ext.core.events import (
    EventRaised,
    HistoryEvent,
    OrchestratorCompleted,
    OrchestratorStarted,
    SubOrchestrationInstanceCompleted,
    TaskCompleted,
)
from durable_ext.core.messages import InstanceId, OrchestrationInstance, TaskMessage
from durable_ext.core.timestamps import Ticks

NOW = Ticks(1)
RESULT = TaskCompleted(timestamp=NOW, task_scheduled_id=0, result="1")
OF_CHILD = SubOrchestrationInstanceCompleted(timestamp=NOW, task_scheduled_id=0, result="1")
EVENT = EventRaised(timestamp=NOW, name="e", input="1")


def held(event: HistoryEvent, *, dequeue_count: int = 1, is_old: bool = False, claimed: bool = False) -> HeldMessage:
    message = TaskMessage(event=event, target=OrchestrationInstance(instance_id=InstanceId("i"), execution_id=None))
    found = HeldMessage(
        queue="q",
        receipt=MessageReceipt("id", "receipt"),
        envelope=Envelope(activity_id="a", message=message, sequence_number=1),
        text="",
        dequeue_count=dequeue_count,
        expires=0,
        claimed=claimed,
    )
    found.is_old = is_old
    return found


def made_here(*, is_gone: bool = True) -> HeldMessage:
    result = held(RESULT, claimed=True)
    result.work_item_deleted = asyncio.get_running_loop().create_future()
    result.work_item_deleted.set_result(is_gone)
    return result


async def exist(result: HeldMessage, *sent_once: int) -> bool:
    rivals = RivalResults(())
    rivals.stored((), (), sent_once)
    rivals.taken([result])
    return await rivals.exist()


async def test_a_result_that_was_made_here_and_whose_only_work_item_is_gone_has_no_rival() -> None:
    assert not await exist(made_here(), 0)


async def test_a_result_has_a_rival_if_its_work_item_may_run_again() -> None:
    assert await exist(made_here(is_gone=False), 0)


async def test_a_result_has_a_rival_if_there_may_be_two_work_items() -> None:
    assert await exist(made_here(), 1)


async def test_a_result_that_came_through_the_queue_has_a_rival() -> None:
    assert await exist(held(RESULT), 0)


async def test_whether_a_work_item_is_gone_is_waited_for() -> None:
    result = made_here()
    result.work_item_deleted = asyncio.get_running_loop().create_future()

    asking = asyncio.ensure_future(exist(result, 0))
    await asyncio.sleep(0)
    assert not asking.done()
    result.work_item_deleted.set_result(True)

    assert not await asking


async def test_the_result_of_a_child_has_a_rival_unless_it_was_handed_over_after_the_childs_end_was_stored() -> None:
    assert await exist(held(OF_CHILD))
    assert not await exist(held(OF_CHILD, claimed=True))


async def test_events_have_no_rivals() -> None:
    assert not await exist(held(EVENT))


async def test_what_is_stored_or_consumed_has_no_rival() -> None:
    rivals = RivalResults(())
    first, second = held(RESULT), held(OF_CHILD)
    rivals.taken([first, second])

    rivals.stored((OrchestratorStarted(timestamp=NOW), RESULT), (), ())
    still = await rivals.exist()
    rivals.stored((), ("id",), ())

    assert still
    assert not await rivals.exist()


async def test_task_ids_of_another_generation_say_nothing() -> None:
    rivals = RivalResults(())
    rivals.stored((), (), (0,))
    rivals.begin_generation()
    rivals.taken([made_here()])

    assert await rivals.exist()


@pytest.mark.parametrize(
    ("messages", "first"),
    [
        ([{}], True),
        ([{}, {}], True),
        ([], False),
        ([{"dequeue_count": 2}], False),
        ([{}, {"is_old": True}], False),
    ],
)
def test_an_episode_is_the_first_of_its_kind_if_its_messages_are_new(messages: list[dict[str, Any]], first: bool) -> None:
    assert RivalResults(()).is_first_play([held(EVENT, **each) for each in messages]) is first


def test_what_follows_from_a_history_that_ends_in_the_middle_of_an_episode_may_have_been_sent_before() -> None:
    rivals = RivalResults((OrchestratorStarted(timestamp=NOW), RESULT))
    before = rivals.is_first_play([held(EVENT)])
    rivals.stored((OrchestratorStarted(timestamp=NOW), OrchestratorCompleted(timestamp=NOW)), (), ())

    assert not before
    assert rivals.is_first_play([held(EVENT)])
