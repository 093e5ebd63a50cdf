"""A payload that is replaced between the read of its row and the read of its blob: the reader gets the new one.

Source: specs/azure-storage.md 5.8, 6.5.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from azure_hub import AzureHub, run_azure_hub, short_settings
from azurite import Azurite

from durable_ext.aio.clock import SystemClock
from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.account import account_from_connection_string
from durable_ext.backends.azure_storage.transport.connection import StorageTransport, open_lean_transport
from durable_ext.backends.azure_storage.transport.http import Interceptor, StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.client.client import DurableClient
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.entities.definitions import EntityDefinition
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.messages import InstanceId
from durable_ext.core.orchestrators import OrchestratorDefinition
from durable_ext.errors import MissingPayloadError
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.testing.eventually import eventually

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=30)
LARGE = "x" * 80_000
BOX = EntityId("Box", "one")


def box(context):
    context.set_state({"round": (context.get_state() or {"round": 0})["round"] + 1, "filling": LARGE})


def eternal(context):
    value = context.get_input()
    yield context.wait_for_external_event("go")
    context.continue_as_new({"round": value["round"] + 1, "filling": LARGE})


def registry() -> FunctionRegistry:
    functions = FunctionRegistry()
    functions.add_entity(EntityDefinition(name="Box", function=box))
    functions.add_orchestrator(OrchestratorDefinition(name="eternal", function=eternal))
    return functions


class BeforeTheFirstDownload:
    """Does something once, when the first payload is about to be downloaded."""

    def __init__(self) -> None:
        self.action: Callable[[], Awaitable[None]] | None = None

    async def __call__(self, call: StorageCall, attempt: Callable[[], Awaitable[HttpAnswer]]) -> HttpAnswer:
        action = self.action
        if action is not None and call.verb == "blob.get":
            self.action = None
            await action()
        return await attempt()


@asynccontextmanager
async def client_elsewhere(settings: AzureStorageSettings, interceptor: Interceptor) -> AsyncIterator[DurableClient]:
    async with AzureStorageBackend(settings, SystemClock(), interceptor=interceptor) as backend:
        yield DurableClient(backend.instances, converter=DataConverter(), entity_codec=JsonEntityCodec())


def round_of(text: str) -> int:
    found = re.search(r"round\W+(\d+)", text)
    assert found is not None, text[:100]
    return int(found[1])


async def rounds(hub: AzureHub, instance_id: str) -> int:
    status = await hub.client.get_status(instance_id)
    return 0 if status is None or status.row.input is None else round_of(status.row.input)


async def next_generation(hub: AzureHub) -> None:
    before = await rounds(hub, "for-ever")
    await hub.client.raise_event("for-ever", "go")

    async def begun() -> bool:
        return await rounds(hub, "for-ever") > before

    await eventually(begun, within=PATIENCE)


async def next_state(hub: AzureHub) -> None:
    before = (await hub.client.read_entity(BOX)).state
    await hub.client.signal_entity(BOX, "fill")

    async def filled() -> bool:
        state = (await hub.client.read_entity(BOX)).state
        return state is not None and state != before

    await eventually(filled, within=PATIENCE)


async def test_the_state_of_an_entity_is_read_while_it_is_replaced(azurite: Azurite, task_hub: str) -> None:
    settings, before = short_settings(azurite, task_hub), BeforeTheFirstDownload()
    async with run_azure_hub(settings, registry()) as hub, client_elsewhere(settings, before) as elsewhere:
        await next_state(hub)
        before.action = lambda: next_state(hub)

        state = (await elsewhere.read_entity(BOX)).state

    assert before.action is None
    assert state == {"round": 2, "filling": LARGE}


@pytest.mark.parametrize("wanted", ["status", "history", "list"])
async def test_an_instance_is_read_while_its_next_generation_begins(azurite: Azurite, task_hub: str, wanted: str) -> None:
    settings, before = short_settings(azurite, task_hub), BeforeTheFirstDownload()
    async with run_azure_hub(settings, registry()) as hub, client_elsewhere(settings, before) as elsewhere:
        await hub.client.start("eternal", {"round": 1, "filling": LARGE}, "for-ever")
        await next_generation(hub)
        before.action = lambda: next_generation(hub)

        if wanted == "history":
            found = (await elsewhere.get_history("for-ever"))[1].input  # type: ignore[attr-defined]
        elif wanted == "status":
            found = (await elsewhere.get_status("for-ever")).row.input  # type: ignore[union-attr]
        else:
            found = (await elsewhere.query()).statuses[0].row.input

    assert before.action is None
    assert found is not None
    assert round_of(found) == 3
    assert LARGE in found


async def test_a_payload_that_is_gone_for_good_is_an_error_that_names_it(azurite: Azurite, task_hub: str) -> None:
    transport = open_lean_transport(account_from_connection_string(azurite.connection_string))
    container = f"{task_hub.lower()}-largemessages"
    async with run_azure_hub(short_settings(azurite, task_hub), registry()) as hub:
        await next_state(hub)
        try:
            for name in (await transport.blobs.list(container, "")).names:
                await transport.blobs.delete(container, name)
        finally:
            await transport.close()

        with pytest.raises(MissingPayloadError, match="is missing"):
            await hub.client.read_entity(BOX)


async def test_the_reason_that_a_row_shows_outlives_its_generation(azurite: Azurite, task_hub: str) -> None:
    async with run_azure_hub(short_settings(azurite, task_hub), registry()) as hub:
        await hub.client.start("eternal", {"round": 0}, "for-ever")
        await eventually(lambda: is_running(hub, "for-ever"), within=PATIENCE)
        await hub.client.suspend("for-ever", LARGE)
        await eventually(lambda: shows(hub, OrchestrationStatus.SUSPENDED, LARGE), within=PATIENCE)
        await hub.client.resume("for-ever", "r" + LARGE)
        await eventually(lambda: shows(hub, OrchestrationStatus.RUNNING, "r" + LARGE), within=PATIENCE)

        await next_generation(hub)

        assert await shows(hub, OrchestrationStatus.RUNNING, "r" + LARGE)


async def test_reasons_that_no_row_shows_any_more_go_with_what_replaces_them(
    azurite: Azurite, task_hub: str, transport: StorageTransport
) -> None:
    async def reasons() -> list[str]:
        names = (await transport.blobs.list(f"{task_hub.lower()}-largemessages", "for-ever/")).names
        return [found[1] for name in names if (found := re.search("-(Execution[A-Z][a-z]+)-[0-9A-F]{8}-Reason", name))]

    async def holds(*wanted: str) -> bool:
        return sorted(await reasons()) == sorted(wanted)

    async with run_azure_hub(short_settings(azurite, task_hub), registry()) as hub:
        await hub.client.start("eternal", {"round": 0}, "for-ever")
        await eventually(lambda: is_running(hub, "for-ever"), within=PATIENCE)
        await hub.client.suspend("for-ever", LARGE)
        await eventually(lambda: shows(hub, OrchestrationStatus.SUSPENDED, LARGE), within=PATIENCE)
        await hub.client.resume("for-ever", "r" + LARGE)
        await eventually(lambda: shows(hub, OrchestrationStatus.RUNNING, "r" + LARGE), within=PATIENCE)
        assert await holds("ExecutionSuspended", "ExecutionResumed"), "both are in history"

        for _ in range(2):
            await next_generation(hub)
        assert await holds("ExecutionSuspended", "ExecutionResumed"), "the row shows one of them"
        assert await shows(hub, OrchestrationStatus.RUNNING, "r" + LARGE)

        await hub.client.suspend("for-ever", "s" + LARGE)
        await eventually(lambda: shows(hub, OrchestrationStatus.SUSPENDED, "s" + LARGE), within=PATIENCE)
        await eventually(lambda: holds("ExecutionSuspended"), within=PATIENCE)
        await hub.client.resume("for-ever")
        await eventually(lambda: is_running(hub, "for-ever"), within=PATIENCE)

        await next_generation(hub)
        assert await shows(hub, OrchestrationStatus.RUNNING, "s" + LARGE)
        assert await holds("ExecutionSuspended")

        await hub.client.terminate("for-ever", "enough")
        await eventually(holds, within=PATIENCE)


async def is_running(hub: AzureHub, instance_id: str) -> bool:
    status = await hub.client.get_status(instance_id)
    return status is not None and status.runtime_status is OrchestrationStatus.RUNNING


async def shows(hub: AzureHub, status: OrchestrationStatus, output: str) -> bool:
    row = await hub.backend.instances.get_instance(InstanceId("for-ever"))
    return row is not None and (row.status, row.output) == (status, output)
