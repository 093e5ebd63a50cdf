"""Our worker and the model of the .NET worker on one hub at the same time: they share it by its leases."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure_hub import AzureHub, run_azure_hub, short_settings
from azurite import Azurite
from interop_app import ActivityRuns
from support.mixed_app import mixed_registry
from support.mixed_hub import PATIENCE, MixedHub
from support.mixed_tasks import Task, every_kind
from support.mixed_worker import NAP_LOCKS, NAP_SECONDS, MixedWorker, message_text
from support.provider_model.mixed_app import mixed_app
from support.provider_model.running import RunningProvider

from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.runtime.settings import LocalActivities, WorkerSettings
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import Send

pytestmark = pytest.mark.azurite

STOPS_OF_THEIRS = {
    "asking": ("get", "control"),
    "sending": ("put", "control"),
    "sending-work": ("put", "workitems"),
    "storing": ("write", "History"),
    "stored": ("write", "Instances"),
    "forgetting": ("delete", "control"),
    "renewing": ("write", "Partitions"),
}
STOPS_OF_OURS = {  # a local activity sends no work item
    "asking": ("queue.get", "control"),
    "sending": ("queue.put", "control"),
    "sending-work": ("queue.put", "workitems"),
    "storing": ("table.", "History"),
    "stored": ("table.", "Instances"),
    "forgetting": ("queue.delete", "control"),
    "renewing": ("table.", "Partitions"),
}


def _settings(azurite: Azurite, hub: str, worker_id: str, **fields: Any) -> AzureStorageSettings:
    return short_settings(azurite, hub, use_app_lease=False, worker_id=worker_id, **fields)


# One episode of each task that sends to a counter before the nap: several may be under way in the one that sleeps.
SENT_AGAIN = {"x-shared": 2 * 2, "x-s": 2 * 111}


@asynccontextmanager
async def running_ours(
    azurite: Azurite,
    hub: str,
    runs: ActivityRuns,
    local: LocalActivities = "on",
    worker_id: str = "ours",
    note_sent: list[str] | None = None,
    locks: Mapping[str, timedelta] | None = None,
) -> AsyncIterator[AzureHub]:
    sent: list[str] = [] if note_sent is None else note_sent

    async def note(call: StorageCall, send: Send) -> HttpAnswer:
        text = message_text(call)
        if text is not None:
            sent.append(text)
        return await send()

    settings, worker = _settings(azurite, hub, worker_id, **(locks or {})), WorkerSettings(local_activities=local)
    async with run_azure_hub(settings, mixed_registry(runs), worker_settings=worker, interceptor=note) as running:
        yield running


def client_only(azurite: Azurite, hub: str) -> AbstractAsyncContextManager[AzureHub]:
    return run_azure_hub(_settings(azurite, hub, "client"), mixed_registry(ActivityRuns()), serve=False)


@asynccontextmanager
async def running_theirs(
    hub: MixedHub, worker_id: str, *, lock_seconds: int | None = None
) -> AsyncIterator[RunningProvider]:
    theirs = RunningProvider(hub.azurite.connection_string, hub.hub, hub.app, worker_id, lock_seconds=lock_seconds)
    theirs.start()
    try:
        yield theirs
    finally:
        await asyncio.to_thread(theirs.stop)


async def test_two_kinds_of_workers_share_a_hub_and_finish_each_others_work(azurite: Azurite, task_hub: str) -> None:
    runs, app = ActivityRuns(), mixed_app()
    async with running_ours(azurite, task_hub, runs) as ours, MixedHub(ours.client, azurite, task_hub, app) as hub:
        await hub.until_owned({"ours": 4})
        async with running_theirs(hub, "theirs") as theirs:
            await hub.start("a", every_kind("x"), from_ours=True)
            await hub.until_owned({"ours": 2, "theirs": 2})
            await hub.relay("r", "x", from_ours=True)
            await hub.start("b", every_kind("x"), from_ours=False)
            await hub.relay("s", "x", from_ours=False)
            await hub.tell("a", from_ours=False)
            await hub.tell("b", from_ours=True)
            await hub.until_done()

            assert await hub.wrong() == []
            assert hub.wrong_runs(runs.all) == []
            assert theirs.worker.complaints == []
            assert hub.moves() == 2
            assert theirs.worker.committed > 50


@pytest.mark.slow
@pytest.mark.parametrize("local", ["on", "off", "batched"])
async def test_workers_of_both_kinds_come_and_go_while_there_is_work(
    azurite: Azurite, task_hub: str, local: LocalActivities
) -> None:
    runs, app = ActivityRuns(), mixed_app()
    async with client_only(azurite, task_hub) as client, MixedHub(client.client, azurite, task_hub, app) as hub:
        async with running_theirs(hub, "theirs") as theirs:
            await hub.until_owned({"theirs": 4})
            await hub.start("a", every_kind("x"), from_ours=True)
            async with running_ours(azurite, task_hub, runs, local):
                await hub.until_owned({"ours": 2, "theirs": 2})
                await hub.relay("r", "x", from_ours=True)
                await hub.start("b", every_kind("x"), from_ours=False)
                await _stays(hub, hub.tell("a", from_ours=False))
                async with running_ours(azurite, task_hub, runs, local, "third"):
                    await hub.start("c", every_kind("y"), from_ours=True)
                    await hub.until_shared([1, 1, 2])
                    await _stays(hub, hub.tell("b", from_ours=True))
                    await hub.start("d", every_kind("y"), from_ours=False)
                await hub.until_owned({"ours": 2, "theirs": 2})
                await hub.relay("s", "y", from_ours=False)
                await hub.tell("c", from_ours=True)
                await asyncio.to_thread(theirs.stop)
                await hub.until_owned({"ours": 4})
                async with running_theirs(hub, "again") as again:
                    await hub.until_owned({"ours": 2, "again": 2})
                    await hub.start("e", every_kind("z"), from_ours=True)
                    await hub.relay("t", "z", from_ours=True)
                    await hub.tell("d", from_ours=False)
                    await hub.tell("e", from_ours=True)
                    await hub.until_done()

        assert await hub.wrong() == []
        assert hub.wrong_runs(runs.all) == []
        assert theirs.worker.complaints + again.worker.complaints == []


async def _stays(hub: MixedHub, work: Awaitable[None]) -> None:
    """Once shared out, partitions stay where they are while there is work."""
    moved = hub.moves()
    await work
    await asyncio.sleep(2)  # several rounds of each
    assert hub.moves() == moved


def _untold(key: str) -> list[Task]:
    """Tasks to which clients say nothing: an event may come twice if a worker stops after it was stored."""
    return [task for task in every_kind(key) if not task.told]


async def _after_a_nap(hub: MixedHub, moment: str) -> None:
    """Once it is awake, the worker that has slept gets its share again and works as before."""
    await hub.until_owned({"ours": 2, "theirs": 2})
    if moment == "stored":  # rows have no guard: one that comes late is put right by the next message (8.10)
        await hub.nudge_unfinished()
    await hub.until_done()
    await hub.start("c", every_kind("y"), from_ours=True)
    await hub.start("d", every_kind("y"), from_ours=False)
    await hub.tell("c", from_ours=False)
    await hub.tell("d", from_ours=True)
    await hub.until_done()


@pytest.mark.slow
@pytest.mark.parametrize("moment", STOPS_OF_THEIRS)
async def test_our_worker_goes_on_when_the_provider_sleeps_and_nothing_is_spoilt_when_it_wakes(
    azurite: Azurite, task_hub: str, moment: str
) -> None:
    runs, app, sent = ActivityRuns(), mixed_app(), list[str]()
    verb, name = STOPS_OF_THEIRS[moment]
    async with (
        running_ours(azurite, task_hub, runs, note_sent=sent, locks=NAP_LOCKS) as ours,
        MixedHub(ours.client, azurite, task_hub, app, repeats=True) as hub,
    ):
        async with running_theirs(hub, "theirs", lock_seconds=NAP_SECONDS) as theirs:
            await hub.until_owned({"ours": 2, "theirs": 2})
            await hub.start("a", _untold("x"), from_ours=True)
            theirs.sleep_before(lambda done, what: done == verb and name in what)
            await hub.start("b", _untold("x"), from_ours=True)
            await eventually(theirs.asleep.is_set, f"the model sleeps before {verb} {name}", within=PATIENCE)
            await hub.until_owned({"ours": 4})
            await hub.until_done()
            theirs.wake()
            await _after_a_nap(hub, moment)
        again = hub.allow_sent_again([*sent, *theirs.storage.sent])

        assert await hub.wrong() == []
        assert hub.wrong_runs(runs.all) == []
        assert theirs.worker.complaints == []
        assert all(0 < amount <= SENT_AGAIN.get(key, 0) for key, amount in again.items()), again


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("moment", "local"),
    [*((one, "on") for one in STOPS_OF_OURS if one != "sending-work"), ("sending-work", "off"), ("storing", "off")],
)
async def test_the_provider_goes_on_when_our_worker_is_stopped_and_nothing_is_spoilt_when_it_wakes(
    azurite: Azurite, task_hub: str, tmp_path: Path, moment: str, local: LocalActivities
) -> None:
    app = mixed_app()
    async with (
        client_only(azurite, task_hub) as client,
        MixedHub(client.client, azurite, task_hub, app, repeats=True) as hub,
    ):
        with MixedWorker(azurite.connection_string, task_hub, "ours", tmp_path, local) as ours:
            async with running_theirs(hub, "theirs", lock_seconds=NAP_SECONDS) as theirs:
                await hub.until_owned({"ours": 2, "theirs": 2})
                await hub.start("a", _untold("x"), from_ours=True)
                ours.stop_before(*STOPS_OF_OURS[moment])
                await hub.start("b", _untold("x"), from_ours=True)
                await ours.has_stopped()
                await hub.until_owned({"theirs": 4})
                await hub.until_done()
                ours.wake()
                await _after_a_nap(hub, moment)
        again = hub.allow_sent_again([*ours.sent, *theirs.storage.sent])

        assert await hub.wrong() == []
        assert hub.wrong_runs(ours.runs) == []
        assert theirs.worker.complaints == []
        assert all(0 < amount <= SENT_AGAIN.get(key, 0) for key, amount in again.items()), again
