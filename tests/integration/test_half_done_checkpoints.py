"""What a checkpoint has sent when its history is refused, and what it knows of work items that were put twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from azure_hub import short_settings
from azurite import Azurite
from support.queue_lengths import queue_length

from durable_ext.backends.azure_storage.history_table import HistoryCursor, HistoryTable
from durable_ext.backends.azure_storage.large_payloads import LargePayloads
from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.connection import open_lean_transport
from durable_ext.backends.azure_storage.transport.errors import error_from
from durable_ext.backends.azure_storage.transport.http import Interceptor, StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.backends.protocol import Checkpoint
from durable_ext.core.events import GenericEvent, TaskCompleted
from durable_ext.core.messages import InstanceId
from durable_ext.errors import CheckpointConflictError, RequestRefusedError
from durable_ext.testing.contract_scenes import Scene, activity, messages_of, next_episode, now, raised
from durable_ext.testing.faults import Send

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=15)
WORK_ITEM_VISIBILITY = timedelta(seconds=2)


def settings_of(azurite: Azurite, task_hub: str) -> AzureStorageSettings:
    return short_settings(
        azurite, task_hub, partition_count=1, work_item_queue_visibility=WORK_ITEM_VISIBILITY, use_app_lease=False
    )


def writes_history(call: StorageCall) -> bool:
    return call.verb == "table.batch" and b"History" in call.body


class PutTwiceAndRenewed:
    """Work items are put at the second try, after one that worked too; history waits until one of them was renewed."""

    def __init__(self) -> None:
        self.armed = False
        self._renewed = asyncio.Event()

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        if not self.armed:
            return await send()
        if writes_history(call):
            await self._renewed.wait()
        answer = await send()
        if "workitems" in call.resource and call.verb == "queue.put":
            return replace(await send(), attempts=2)
        if "workitems" in call.resource and call.verb == "queue.update":
            self._renewed.set()
        return answer


async def test_a_work_item_that_was_put_twice_is_known_as_such_after_its_renewal(azurite: Azurite, task_hub: str) -> None:
    twice = PutTwiceAndRenewed()
    async with AzureStorageBackend(settings_of(azurite, task_hub), interceptor=twice) as backend:
        await backend.start_worker()
        scene = Scene(backend, PATIENCE)
        start = await scene.start()
        session = await scene.session()
        scheduled = activity(start.instance, 0, run_here=True)

        twice.armed = True
        _, receipt = await scene.begin(session, scheduled.message.event, activities=(scheduled,))
        done = TaskCompleted(timestamp=now(), task_scheduled_id=0, result='"Hi"')
        await backend.activities.complete(receipt.activities[0], done)
        await messages_of(session, PATIENCE)

        assert await session.results_may_differ()


class HistoryRefused:
    """From the `first` batch of history on, the service refuses them all."""

    def __init__(self, first: int, code: str) -> None:
        self._left, self._code, self.armed = first, code, False

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        if self.armed and writes_history(call):
            self._left -= 1
            if self._left <= 0:
                raise error_from(call="table.batch", status=400, code=self._code, detail="")
        return await send()


@pytest.mark.parametrize(("rows", "left"), [(1, 0), (120, 1)])
@pytest.mark.parametrize("run_here", [True, False])
@pytest.mark.parametrize("code", ["InvalidInput", "EntityTooLarge"])
async def test_what_was_sent_is_taken_back_if_no_history_of_it_is_stored(
    azurite: Azurite, task_hub: str, rows: int, left: int, run_here: bool, code: str
) -> None:
    refused = HistoryRefused(2 if left else 1, code)
    async with AzureStorageBackend(settings_of(azurite, task_hub), interceptor=refused) as backend:
        await backend.start_worker()
        session, start = await Scene(backend, PATIENCE).started_session()
        assert start.instance.execution_id is not None
        scheduled = activity(start.instance, 0, run_here=run_here)

        refused.armed = True
        events = next_episode(*[GenericEvent(timestamp=now(), data="x")] * rows, decisions=(scheduled.message.event,))
        with pytest.raises(RequestRefusedError):
            await session.checkpoint(
                Checkpoint(
                    execution_id=start.instance.execution_id,
                    new_events=events,
                    messages=(raised("another", "hello"),),
                    activities=(scheduled,),
                )
            )
        main = backend._accounts.main
        lengths = [await queue_length(main, f"{task_hub.lower()}-{name}") for name in ("control-00", "workitems")]

    assert lengths == [left, left]


async def sent_and_refused(azurite: Azurite, task_hub: str, refusing: Callable[[InstanceId], Interceptor]) -> list[int]:
    """Store an episode that sends a message and a claimed activity; return what the queues hold after the conflict."""
    interceptors: list[Interceptor] = []

    async def intercept(call: StorageCall, send: Send) -> HttpAnswer:
        return await interceptors[0](call, send) if interceptors else await send()

    async with AzureStorageBackend(settings_of(azurite, task_hub), interceptor=intercept) as backend:
        await backend.start_worker()
        session, start = await Scene(backend, PATIENCE).started_session()
        assert start.instance.execution_id is not None
        scheduled = activity(start.instance, 0, run_here=True)

        interceptors.append(refusing(start.instance.instance_id))
        with pytest.raises(CheckpointConflictError):
            await session.checkpoint(
                Checkpoint(
                    execution_id=start.instance.execution_id,
                    new_events=next_episode(decisions=(scheduled.message.event,)),
                    messages=(raised("another", "hello"),),
                    activities=(scheduled,),
                )
            )
        main = backend._accounts.main
        return [await queue_length(main, f"{task_hub.lower()}-{name}") for name in ("control-00", "workitems")]


async def test_what_was_sent_for_an_episode_that_another_worker_has_played_is_taken_back(
    azurite: Azurite, task_hub: str
) -> None:
    settings = settings_of(azurite, task_hub)
    transport = open_lean_transport(settings.account)
    history = HistoryTable(transport.tables, settings.names.history_table, LargePayloads(transport.blobs, settings.names))

    async def nothing() -> None: ...

    def written_by_another(instance_id: InstanceId) -> Interceptor:
        written: list[HistoryCursor] = []

        async def write_first(call: StorageCall, send: Send) -> HttpAnswer:
            if writes_history(call) and not written:
                loaded = await history.load(instance_id)
                cursor = HistoryCursor(execution_id=loaded.execution_id, etag=loaded.etag, count=len(loaded.events))
                written.append(cursor)
                events = next_episode(GenericEvent(timestamp=now(), data="x"))
                prepared = history.prepare(instance_id, cursor, events)
                await history.append(cursor, prepared, datetime.now(timezone.utc), before_batch=nothing)
            return await send()

        return write_first

    lengths = await sent_and_refused(azurite, task_hub, written_by_another)

    await transport.close()
    assert lengths == [0, 0]


async def test_what_was_sent_is_left_if_history_of_it_was_stored_without_an_answer(azurite: Azurite, task_hub: str) -> None:
    def stored_twice(_: InstanceId) -> Interceptor:
        async def send_again(call: StorageCall, send: Send) -> HttpAnswer:
            answer = await send()
            return await send() if writes_history(call) else answer

        return send_again

    assert await sent_and_refused(azurite, task_hub, stored_twice) == [1, 1]
