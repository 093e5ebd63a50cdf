"""Clients in other processes beside the one that serves a partition: the order of what they send, and who starts an id."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import pytest
from azure_hub import AzureHub, run_azure_hub
from azurite import Azurite
from support.functions import registry_of

from durable_ext.backends.azure_storage.outbox import next_sequence_number
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import OrchestrationStatus
from durable_ext.errors import InstanceAlreadyExistsError
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import Send

pytestmark = pytest.mark.azurite
REGISTER = EntityId("register", "r")


def register(context: Any) -> None:
    context.set_state([*context.get_state(list), context.get_input()])


def three_events(context: Any) -> Generator[Any, Any, list[str]]:
    found = []
    for _ in range(3):
        found.append((yield context.wait_for_external_event("next")))
    return found


def echo(context: Any) -> Any:
    return context.get_input()


def functions() -> FunctionRegistry:
    return registry_of(orchestrators=[three_events, echo], entities=[register])


def settings_of(azurite: Azurite, task_hub: str) -> AzureStorageSettings:
    """Pollers that find nothing for a while look every 20 s only."""
    return AzureStorageSettings(
        connection=azurite.connection_string,
        task_hub=task_hub,
        use_app_lease=False,
        max_queue_polling_interval=timedelta(seconds=20),
    )


class Gets:
    """An interceptor that notes when control queues were last asked for messages."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        if call.verb == "queue.get" and "-control-" in call.resource:
            self._last = time.monotonic()
        return await send()

    async def pause(self) -> None:
        """Wait until nobody has asked for a second: the pollers have become slow."""
        await eventually(lambda: time.monotonic() - self._last > 1, "the pollers do not pause", within=timedelta(seconds=60))


async def test_a_signal_of_this_process_does_not_overtake_an_earlier_one_of_another(azurite: Azurite) -> None:
    settings = settings_of(azurite, "SignalOrder")
    gets, app = Gets(), functions()
    host_of, script_of = run_azure_hub(settings, app, interceptor=gets), run_azure_hub(settings, app, serve=False)
    async with host_of as host, script_of as script:
        await gets.pause()

        await script.client.signal_entity(REGISTER, "put", "first")
        await host.client.signal_entity(REGISTER, "put", "second")

        await eventually(lambda: took_both(host), "not both were taken in this order", within=timedelta(seconds=5))


async def took_both(hub: AzureHub) -> bool:
    return bool((await hub.client.read_entity(REGISTER)).state == ["first", "second"])


async def test_events_of_two_processes_arrive_in_the_order_in_which_they_were_raised(azurite: Azurite) -> None:
    settings = settings_of(azurite, "EventOrder")
    gets, app = Gets(), functions()
    async with run_azure_hub(settings, app) as former:  # its successor has had no work, so that its pollers become slow
        instance_id = await former.client.start("three_events")
        await eventually(lambda: is_running(former, instance_id), "it does not run")
    host_of, script_of = run_azure_hub(settings, app, interceptor=gets), run_azure_hub(settings, app, serve=False)
    async with host_of as host, script_of as script:
        await gets.pause()

        for number, sender in enumerate([script, host, script]):
            await sender.client.raise_event(instance_id, "next", number)
        await host.client.raise_event(instance_id, "nothing", None)

        done = await host.client.wait_for_completion(instance_id, timeout=timedelta(seconds=10))
        assert done.output == [0, 1, 2]


async def is_running(hub: AzureHub, instance_id: str) -> bool:
    status = await hub.client.get_status(instance_id)
    return status is not None and status.runtime_status is OrchestrationStatus.RUNNING


async def test_of_clients_that_start_one_id_at_the_same_moment_one_succeeds_and_its_input_is_used(azurite: Azurite) -> None:
    settings = settings_of(azurite, "SameId")
    async with (
        run_azure_hub(settings, functions()) as host,
        run_azure_hub(settings, functions(), serve=False) as script,
        run_azure_hub(settings, functions(), serve=False) as other,
    ):
        clients = [each.client for each in (host, script, other)]

        async def start(number: int, client: Any, instance_id: str) -> int | None:
            try:
                await client.start("three_events", [number], instance_id=instance_id)
            except InstanceAlreadyExistsError:
                return None
            return number

        for attempt in range(12):
            instance_id = f"same-{attempt}"
            told = await asyncio.gather(*(start(number, client, instance_id) for number, client in enumerate(clients)))

            (winner,) = [number for number in told if number is not None]
            status = await host.client.get_status(instance_id)
            assert status is not None
            assert status.input_as(list) == [winner]


def test_messages_of_two_processes_are_numbered_in_the_order_in_which_they_were_sent() -> None:
    """Within a second their numbers order them, and each process has its own."""
    program = "from durable_ext.backends.azure_storage.outbox import next_sequence_number as n; print(n())"
    before = next_sequence_number()
    beside = int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout)
    after = next_sequence_number()

    assert before < beside < after
    assert next_sequence_number() > after
