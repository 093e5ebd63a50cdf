"""Rewinds on Azure Storage, which are many writes: broken off before or after each of them, and beside workers.

Source: specs/azure-storage.md 9.5.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from azure_hub import AzureHub, run_azure_hub, short_settings
from azurite import Azurite
from support.failing_trees import Steps, functions, result_of, steps_of

from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.core.events import OrchestrationStatus
from durable_ext.errors import InvalidInstanceStateError
from durable_ext.testing.contract_scenes import raised
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import FailingTransport, Send, When, is_work

pytestmark = pytest.mark.azurite

PATIENCE = timedelta(seconds=60)
NEVER = 1_000_000
AT_ONCE = 4


@pytest.fixture
def settings(azurite: Azurite, task_hub: str) -> AzureStorageSettings:
    return short_settings(azurite, task_hub, use_app_lease=False)


async def ends(hub: AzureHub, instance_id: str, status: OrchestrationStatus) -> None:
    async def has_ended() -> bool:
        found = await hub.client.get_status(instance_id)
        return found is not None and found.runtime_status is status

    await eventually(has_ended, f"{instance_id} is {status.value}", within=PATIENCE, every=timedelta(milliseconds=50))


async def broken_off(settings: AzureStorageSettings, instance_id: str, dying: FailingTransport) -> None:
    """Rewind in a process of its own, which dies at a storage call."""
    client_only = replace(settings, worker_id=f"client of {instance_id}")
    async with run_azure_hub(client_only, functions(Steps()), serve=False, interceptor=dying, drain=timedelta(0)) as hub:
        await hub.client.get_status(instance_id)
        dying.armed = True
        rewinding = asyncio.ensure_future(hub.client.rewind(instance_id, "broken off"))
        has_died = asyncio.ensure_future(dying.died.wait())
        await asyncio.wait((rewinding, has_died), return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE.total_seconds())
        has_died.cancel()
        dying.bury()
        rewinding.cancel()
        await asyncio.gather(rewinding, has_died, return_exceptions=True)
        if dying.died.is_set():
            await hub.backend.abort()


@pytest.mark.slow
@pytest.mark.parametrize(("when", "workers"), [(When.BEFORE, 1), (When.AFTER, 2)])
async def test_three_levels_go_on_wherever_their_rewind_is_broken_off_and_repeated(
    settings: AzureStorageSettings, when: When, workers: int
) -> None:
    steps, slots = Steps(), asyncio.Semaphore(AT_ONCE)
    async with AsyncExitStack() as stack:
        settled = [replace(settings, worker_id=f"worker {number}") for number in range(workers)]
        hubs = [await stack.enter_async_context(run_azure_hub(one, functions(steps))) for one in settled]
        hub = hubs[0]

        async def play(n: int) -> int:
            root = f"r{n}"
            dying = FailingTransport(n, when, is_work)
            async with slots:
                await broken_off(settings, root, dying)
                with suppress(InvalidInstanceStateError):  # nothing was left to do when the process died
                    await hub.client.rewind(root, "repeated")
                await ends(hub, root, OrchestrationStatus.COMPLETED)
                for child in ("middle", "leaf", "middle-leaf"):
                    await ends(hub, f"{root}-{child}", OrchestrationStatus.COMPLETED)
            found = await hub.client.get_status(root)
            assert found is not None
            assert found.output == result_of(root)
            assert {name: count for name, count in steps.done.items() if name in steps_of(root)} == steps_of(root)
            return dying.count

        async def fail(n: int) -> None:
            await hub.client.start("root", instance_id=f"r{n}")
            for instance in (f"r{n}", f"r{n}-middle", f"r{n}-leaf", f"r{n}-middle-leaf"):
                await ends(hub, instance, OrchestrationStatus.FAILED)

        await fail(NEVER)
        steps.is_repaired = True
        calls = await play(NEVER)
        steps.is_repaired = False
        await asyncio.gather(*(fail(n) for n in range(1, calls + 1)))
        steps.is_repaired = True
        await asyncio.gather(*(play(n) for n in range(1, calls + 1)))

    assert calls > 30


class HeldLoad:
    """An interceptor that keeps back what a worker has read of a history, or is about to read of a row: once, when armed.

    Attributes:
        delivered: How many messages the worker has been given since it was armed.
        has_failed: How many rows with the status Failed it has written since.
    """

    def __init__(self, held: str) -> None:
        self._held = held
        self.is_armed = False
        self.delivered = self.has_failed = 0
        self.has_read, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        is_held = self.is_armed and self._held in call.resource and call.verb.startswith("table.")
        if is_held and call.verb == "table.get":
            await self._hold()
        answer = await send()
        if is_held and call.verb == "table.query":
            await self._hold()
        if self.is_armed and call.verb == "queue.get" and "control" in call.resource:
            self.delivered += answer.body.count(b"<QueueMessage>")
        self.has_failed += self.is_armed and call.verb == "table.upsert_merge" and b'"Failed"' in call.body
        return answer

    async def _hold(self) -> None:
        self.has_read.set()
        await self.may_go_on.wait()


@pytest.mark.parametrize("held", ["History", "Instances"])
async def test_the_message_of_a_rewind_is_not_lost_on_a_worker_that_has_read_the_history_before_it(
    settings: AzureStorageSettings, held: str
) -> None:
    steps, load = Steps(), HeldLoad(held)
    async with (
        run_azure_hub(settings, functions(steps), interceptor=load) as hub,
        run_azure_hub(replace(settings, worker_id="client"), functions(steps), serve=False) as other,
    ):
        await hub.client.start("waiting", instance_id="w")
        await hub.client.raise_event("w", "go", 1)
        await ends(hub, "w", OrchestrationStatus.FAILED)
        steps.is_repaired = load.is_armed = True

        await other.backend.instances.send(raised("w", "late"))
        await asyncio.wait_for(load.has_read.wait(), PATIENCE.total_seconds())
        await other.client.rewind("w", "repaired")
        await eventually(lambda: load.delivered == 2, within=PATIENCE)
        load.may_go_on.set()

        await ends(other, "w", OrchestrationStatus.COMPLETED)
    assert load.has_failed == 0
