"""Start messages that belong to no row: they are put back, and whatever comes meanwhile is judged like them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from azure_hub import short_settings
from azurite import Azurite

from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.core.messages import OutgoingMessage, TaskMessage
from durable_ext.testing.contract_scenes import Scene, messages_of, names, raised, start_event
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import Send

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=15)


def start_message(instance_id: str) -> OutgoingMessage:
    """Return the start of another execution than the one that the row of the instance stands for."""
    event = start_event(instance_id)
    return OutgoingMessage(message=TaskMessage(event=event, target=event.instance, tags={}))


async def test_a_start_that_comes_while_another_one_is_put_back_does_not_replace_the_run(
    azurite: Azurite, task_hub: str
) -> None:
    waiting: list[OutgoingMessage] = []

    async def intercept(call: StorageCall, send: Send) -> HttpAnswer:
        if call.verb == "queue.update" and waiting:
            await backend.instances.send(waiting.pop())
            await eventually(lambda: backend._keepers[0].count, "the other start is not taken", within=PATIENCE)
        return await send()

    settings = short_settings(azurite, task_hub, partition_count=1, use_app_lease=False)
    async with AzureStorageBackend(settings, interceptor=intercept) as backend:
        await backend.start_worker()
        assert await backend.listening(PATIENCE)
        scene = Scene(backend, PATIENCE)
        session, start = await scene.started_session()
        await session.release()
        running = start.instance
        waiting.append(start_message(running.instance_id))

        await backend.instances.send(start_message(running.instance_id))
        replaced_by = await scene.backend.orchestrations.lock_next_orchestration(timedelta(seconds=1))
        assert replaced_by is None
        assert not waiting
        await backend.instances.send(raised(running.instance_id, "heard"))
        session = await scene.session()
        batch = await messages_of(session, PATIENCE)

    assert session.instance == running
    assert names(batch) == ["heard"]
