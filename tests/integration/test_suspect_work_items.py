"""Work items that workers have died with, while a worker that takes them stops."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest
from azurite import Azurite

from durable_ext.backends.azure_storage.message_codec import DeliveryMarks, Envelope, encode_envelope, with_marks
from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.connection import open_lean_transport
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.queue import MessageReceipt
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.core.events import TaskScheduled
from durable_ext.core.messages import InstanceId, OrchestrationInstance, TaskMessage
from durable_ext.core.timestamps import Ticks
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import Send

pytestmark = pytest.mark.azurite

DEATHS = 3


def work_item(task_id: int, *, begun: int) -> str:
    event = TaskScheduled(timestamp=Ticks(1), event_id=task_id, name="deadly", input="1")
    target = OrchestrationInstance(instance_id=InstanceId("i"), execution_id=None)
    envelope = Envelope(activity_id=str(uuid.uuid4()), message=TaskMessage(event=event, target=target), sequence_number=1)
    text = encode_envelope(envelope)
    return with_marks(text, DeliveryMarks(begun=begun)) or text


class SlowGivingBack:
    """An interceptor that keeps back the answers to changes of visibility until `opened`."""

    def __init__(self) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        if call.verb == "queue.update" and not self.opened.is_set():
            self.reached.set()
            await self.opened.wait()
        return await send()


async def test_a_suspect_and_its_neighbour_are_visible_at_once_after_a_stop_in_the_middle_of_a_fetch(
    azurite: Azurite, task_hub: str
) -> None:
    settings = AzureStorageSettings(
        connection=azurite.connection_string,
        task_hub=task_hub,
        work_item_queue_visibility=timedelta(minutes=5),
        use_app_lease=False,
    )
    queue, slow = settings.names.work_item_queue, SlowGivingBack()
    transport = open_lean_transport(settings.account)
    backend = AzureStorageBackend(settings, interceptor=slow)
    await backend.open()
    for task_id, begun in enumerate((0, DEATHS, DEATHS)):
        await transport.queues.put(queue, work_item(task_id, begun=begun))
    for taken in await transport.queues.get(queue, count=3, visibility=60):  # suspects have been delivered before
        await transport.queues.hide(queue, MessageReceipt(taken.message_id, taken.pop_receipt), visibility=0)
    await backend.start_worker()
    locking = asyncio.ensure_future(backend.activities.lock_next_activity(timedelta(seconds=30)))
    await asyncio.wait_for(slow.reached.wait(), 30)

    locking.cancel()
    await asyncio.gather(locking, return_exceptions=True)
    slow.opened.set()
    await backend.close()
    at_once = await transport.queues.get(queue, count=3, visibility=300)
    later = await eventually(lambda: transport.queues.get(queue, count=3, visibility=300), within=timedelta(seconds=30))
    await transport.close()

    # One suspect was given back before: only one at a time may run on a worker, so that one waits for five seconds.
    assert (len(at_once), len(later)) == (2, 1)
