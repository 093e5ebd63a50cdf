"""A worker as a process of its own: `python mortal_worker.py STORE PLACE HUB LOG LOCAL` (STORE = sqlite, azure).

PLACE is a file or a connection string, LOCAL says what it does with local activities. Activities write a line with their
argument and this process's id to LOG before they begin. Locks are short, so that a dead or stopped one is soon forgotten.
With LOCAL = hold it plays orchestrators and takes activities, writes "held" to LOG for each, and never begins one.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from durable_ext.backends.azure_storage.service import AzureStorageBackend
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.sqlite.service import SqliteBackend
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.entities.ids import EntityId
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.runtime.worker import TaskHubWorker
from support.functions import registry_of

_SHORT = timedelta(seconds=2)
_SPILL = timedelta(seconds=3)
STEPS, SLOTS = 4, 2


def backend_of(store: str, place: str, hub: str) -> SqliteBackend | AzureStorageBackend:
    """Return the hub that the worker and its test use."""
    if store == "sqlite":
        settings = SqliteSettings(path=Path(place), task_hub=hub, lock_timeout=_SHORT, heartbeat=timedelta(seconds=0.4))
        return SqliteBackend(settings)
    return AzureStorageBackend(
        AzureStorageSettings(
            connection=place,
            task_hub=hub,
            partition_count=1,
            control_queue_visibility=_SHORT,
            work_item_queue_visibility=_SHORT,
            max_queue_polling_interval=timedelta(milliseconds=300),
            lease_interval=_SHORT,
            lease_acquire_interval=timedelta(milliseconds=500),
            use_app_lease=False,
        )
    )


def write_to(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(f"{text} {os.getpid()}\n")


def registry_with(log: Path) -> FunctionRegistry:
    """Return the app."""

    note = partial(write_to, log)

    def step(name: str) -> str:
        note(name)
        time.sleep(0.4)
        return name

    def deadly(name: str) -> None:
        note(name)
        os._exit(1)

    def kills(context: Any) -> None:
        note(context.instance_id)
        os._exit(1)

    def together(context: Any) -> Any:
        names = [f"{context.instance_id}-{number}" for number in range(STEPS)]
        return (yield context.task_all([context.call_activity("step", name) for name in names]))

    def one_by_one(context: Any) -> Any:
        names = []
        for number in range(STEPS):
            names.append((yield context.call_activity("step", f"{context.instance_id}-{number}")))
        return names

    def call_deadly(context: Any) -> Any:
        return (yield context.call_activity("deadly", context.instance_id))

    def call_mortal(context: Any) -> Any:
        return (yield context.call_entity(EntityId("mortal", "called"), "die"))

    def mortal(context: Any) -> None:
        note(f"{context.entity_key}-{context.operation_name}")
        if context.operation_name == "die":
            os._exit(1)
        context.set_state(context.get_state(lambda: 0) + context.get_input())

    return registry_of(
        orchestrators=[together, one_by_one, call_deadly, kills, call_mortal], activities=[step, deadly], entities=[mortal]
    )


async def main() -> None:
    store, place, hub, log, local = sys.argv[1:]
    holds = local == "hold"
    settings = WorkerSettings(
        local_activities="off" if holds else local,  # type: ignore[arg-type]
        max_concurrent_activities=1 if holds else SLOTS,
        # Not while one is stopped that has just begun: what a write that is under way has sent is run twice.
        local_activity_spill=_SPILL,
    )
    async with backend_of(store, place, hub) as backend:
        worker = TaskHubWorker(
            backend,
            registry_with(Path(log)),
            settings=settings,
            converter=DataConverter(),
            entity_codec=JsonEntityCodec(),
        )
        await worker.start()
        if holds:  # the only slot, before the dispatcher of activities sees it
            assert worker._machinery is not None
            assert worker._machinery.activity_slots.try_take()
        while holds:
            if await backend.activities.lock_next_activity(_SHORT) is not None:
                write_to(Path(log), "held")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
