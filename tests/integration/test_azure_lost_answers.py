"""Requests that the service carries out and whose answers never arrive: the wire repeats them at once, and nothing is lost.

A dequeue that is repeated has hidden its messages until their time is over, then they come again with a higher dequeue
count; an update that is repeated has changed the pop receipt that it needs. Neither would be better off without the repeat:
the transport above tries every call again, and a pop receipt that nobody was told cannot be had back.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from azure_hub import SHORT_LOCKS, run_azure_hub, short_settings
from azurite import Azurite, connection_string_of
from interop_app import interop_registry
from support.lost_answers import AnswerLoser, losing_answers

from durable_ext.backends.azure_storage.transport.account import account_from_connection_string
from durable_ext.backends.azure_storage.transport.connection import open_lean_transport
from durable_ext.backends.azure_storage.transport.errors import StorageError
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.testing.eventually import eventually

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=60)
EVERY = frozenset({"GET", "PUT", "DELETE"})


def ports_of(azurite: Azurite) -> list[int]:
    return [azurite.blob_port, azurite.queue_port, azurite.table_port]


async def test_a_dequeue_whose_answer_is_lost_hides_its_messages_until_their_time_is_over(
    azurite: Azurite, task_hub: str
) -> None:
    loser, queue = AnswerLoser(1, frozenset({"GET"})), task_hub.lower()
    async with losing_answers(loser, ports_of(azurite)) as ports:
        transport = open_lean_transport(account_from_connection_string(connection_string_of(ports)))
        await transport.queues.create(queue)
        for text in ("one", "two"):
            await transport.queues.put(queue, text)

        repeated = await transport.queues.get(queue, count=1, visibility=1)
        assert (sum(loser.lost.values()), [each.dequeue_count for each in repeated]) == (1, [1])
        found = {each.text: each.dequeue_count for each in repeated}

        async def both_came() -> bool:
            for each in await transport.queues.get(queue, count=32, visibility=30):
                found[each.text] = each.dequeue_count
            return len(found) == 2

        loser.methods = frozenset()
        await eventually(both_came, within=PATIENCE)
        assert found[next(text for text in ("one", "two") if text != repeated[0].text)] == 2
        await transport.close()


async def test_an_update_whose_answer_is_lost_is_refused_when_it_is_repeated_and_the_message_comes_again(
    azurite: Azurite, task_hub: str
) -> None:
    loser, queue = AnswerLoser(1, frozenset({"PUT"})), task_hub.lower()
    async with losing_answers(loser, ports_of(azurite)) as ports:
        transport = open_lean_transport(account_from_connection_string(connection_string_of(ports)))
        await transport.queues.create(queue)
        receipt = await transport.queues.put(queue, "one", invisible_for=30)

        with pytest.raises(StorageError) as refused:
            await transport.queues.hide(queue, receipt, visibility=1)
        assert (refused.value.status, loser.lost["PUT /messages/"]) in ((404, 1), (400, 1))

        async def came_again() -> bool:
            return bool(await transport.queues.get(queue, count=1, visibility=30))

        await eventually(came_again, within=PATIENCE)
        await transport.close()


@pytest.mark.slow  # half a minute: lost dequeues are waited for
async def test_orchestrations_end_right_though_answers_are_lost_over_and_over(azurite: Azurite, task_hub: str) -> None:
    loser = AnswerLoser(3, EVERY)
    async with losing_answers(loser, ports_of(azurite)) as ports:
        settings = short_settings(connection_string_of(ports), task_hub, **SHORT_LOCKS)
        plain = WorkerSettings(local_activities="off")
        async with run_azure_hub(settings, interop_registry(), worker_settings=plain) as hub:
            ids = [await hub.client.start("HelloSequence", 3, f"lost-{number}") for number in range(10)]
            ends = [await hub.client.wait_for_completion(one, timeout=PATIENCE) for one in ids]
            loser.methods = frozenset()

    assert [end.output for end in ends] == [["Hello Tokyo!", "Hello Seattle!", "Hello London!"]] * 10
    assert loser.lost["GET /messages"] > 0
    assert min(loser.lost["PUT /messages/"], loser.lost["DELETE /messages/"]) > 0
