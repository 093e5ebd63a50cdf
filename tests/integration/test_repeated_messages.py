"""Messages that come once more because whoever sent or took them has died: nothing begins anew (Azure Storage)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from azure_hub import SHORT_LOCKS, AzureHub, run_azure_hub, short_settings
from azurite import Azurite
from support.functions import registry_of
from support.queue_lengths import queue_length

from durable_ext.backends.azure_storage.transport.errors import StorageUnavailableError
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.backends.execution_ids import new_execution_id
from durable_ext.core.events import ExecutionStarted, OrchestrationStatus
from durable_ext.core.messages import InstanceId, OrchestrationInstance, OutgoingMessage, TaskMessage
from durable_ext.core.timestamps import ticks_from_datetime
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import Send

pytestmark = pytest.mark.azurite


class BrokenDeletes:
    """An interceptor: while it is broken no message is deleted."""

    def __init__(self) -> None:
        self.is_broken, self.has_failed = False, asyncio.Event()

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        if self.is_broken and call.verb == "queue.delete":
            self.has_failed.set()
            raise StorageUnavailableError(call=call.verb, why="the test wants it so")
        return await send()


async def start_of(hub: AzureHub, instance_id: str) -> ExecutionStarted:
    events = await hub.backend.instances.get_history(InstanceId(instance_id))
    return next(event for event in events if isinstance(event, ExecutionStarted))


async def send(hub: AzureHub, start: ExecutionStarted) -> None:
    await hub.backend.instances.send(OutgoingMessage(message=TaskMessage(event=start, target=start.instance)))


async def has_started(hub: AzureHub, instance_id: str) -> bool:
    return await hub.client.get_status(instance_id) is not None


async def nothing_left(hub: AzureHub) -> bool:
    queue = hub.backend._settings.names.control_queues(1)[0]
    return await queue_length(hub.backend._accounts.main, queue) == 0


async def test_a_child_whose_start_is_sent_again_is_not_begun_anew(azurite: Azurite, task_hub: str) -> None:
    ran: list[str] = []

    async def work(name: str) -> str:
        ran.append(name)
        return name

    def parent(context: Any) -> Any:
        answer = yield context.call_sub_orchestrator("child", None, "the-child")
        yield context.wait_for_external_event("end")
        return answer

    def child(context: Any) -> Any:
        return (yield context.call_activity("work", "once"))

    settings = short_settings(azurite, task_hub, partition_count=1)
    async with run_azure_hub(settings, registry_of(orchestrators=[parent, child], activities=[work])) as hub:
        await hub.client.start("parent", instance_id="the-parent")
        await eventually(lambda: has_started(hub, "the-child"), "the child does not start")
        await hub.client.wait_for_completion("the-child")
        start = await start_of(hub, "the-child")
        await send(hub, replace(start, instance=replace(start.instance, execution_id=new_execution_id())))
        await eventually(lambda: nothing_left(hub), "the second start is left")
        after = await start_of(hub, "the-child")
        await hub.client.raise_event("the-parent", "end")
        status = await hub.client.wait_for_completion("the-parent")

    assert after == start
    assert ran == ["once"]
    assert status.output == "once"


async def test_the_start_of_a_generation_that_continued_as_new_at_once_only_wakes_the_next(
    azurite: Azurite, task_hub: str
) -> None:
    inputs: list[Any] = []

    def twice(context: Any) -> Any:
        inputs.append(context.get_input())
        if context.get_input() == "first":
            context.continue_as_new("second")
        return context.get_input()

    settings = short_settings(azurite, task_hub, partition_count=1)
    async with run_azure_hub(settings, registry_of(orchestrators=[twice])) as hub:
        began = ExecutionStarted(
            timestamp=ticks_from_datetime(datetime.now(timezone.utc)),
            instance=OrchestrationInstance(instance_id=InstanceId("main"), execution_id=new_execution_id()),
            name="twice",
            version="",
            input='"\\"first\\""',
        )
        await hub.backend.instances.create_instance(began, reject=frozenset())
        status = await hub.client.wait_for_completion("main")
        history = await hub.backend.instances.get_history(InstanceId("main"))
        await send(hub, began)
        await eventually(lambda: nothing_left(hub), "the second start is left")
        after = await hub.backend.instances.get_history(InstanceId("main"))

    assert status.output == "second"
    assert inputs == ["first", "second"]
    assert after == history


async def test_a_termination_whose_message_could_not_be_deleted_does_not_end_the_next_run(
    azurite: Azurite, task_hub: str
) -> None:
    deletes = BrokenDeletes()

    def waits(context: Any) -> Any:
        return (yield context.wait_for_external_event("go"))

    settings = short_settings(azurite, task_hub, partition_count=1, **SHORT_LOCKS)
    async with run_azure_hub(settings, registry_of(orchestrators=[waits]), interceptor=deletes) as hub:
        await hub.client.start("waits", instance_id="main")
        await eventually(lambda: runs(hub, "main"), "it does not run")
        await eventually(lambda: nothing_left(hub), "its start message is left")
        deletes.is_broken = True
        await hub.client.terminate("main", "the first run only")
        first = await hub.client.wait_for_completion("main")
        await eventually(deletes.has_failed.is_set, "the termination is not deleted")
        deletes.is_broken = False
        await hub.client.start("waits", instance_id="main")
        await eventually(lambda: nothing_left(hub), "the termination is left", within=timedelta(seconds=30))
        is_running = await runs(hub, "main")
        await hub.client.raise_event("main", "go", "the second one")
        second = await hub.client.wait_for_completion("main")

    assert first.output == "the first run only"
    assert is_running
    assert second.output == "the second one"


async def test_a_termination_whose_message_could_not_be_deleted_does_not_end_a_run_that_has_continued_as_new(
    azurite: Azurite, task_hub: str
) -> None:
    deletes = BrokenDeletes()

    def waits(context: Any) -> Any:
        word = yield context.wait_for_external_event("go")
        if word == "on":
            context.continue_as_new(None)
        return word

    settings = short_settings(azurite, task_hub, partition_count=1, **SHORT_LOCKS)
    async with run_azure_hub(settings, registry_of(orchestrators=[waits]), interceptor=deletes) as hub:
        await hub.client.start("waits", instance_id="main")
        await eventually(lambda: runs(hub, "main"), "it does not run")
        await eventually(lambda: nothing_left(hub), "its start message is left")
        deletes.is_broken = True
        await hub.client.terminate("main", "the first run only")
        await hub.client.wait_for_completion("main")
        await eventually(deletes.has_failed.is_set, "the termination is not deleted")
        deletes.is_broken = False
        await hub.client.start("waits", instance_id="main")
        await hub.client.raise_event("main", "go", "on")
        await eventually(lambda: nothing_left(hub), "the termination is left", within=timedelta(seconds=30))
        is_running = await runs(hub, "main")
        await hub.client.raise_event("main", "go", "the second one")
        second = await hub.client.wait_for_completion("main")

    assert is_running
    assert second.output == "the second one"


async def runs(hub: AzureHub, instance_id: str) -> bool:
    status = await hub.client.get_status(instance_id)
    return status is not None and status.runtime_status is OrchestrationStatus.RUNNING
