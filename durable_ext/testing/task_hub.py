"""A worker and a client on one SQLite file, in one `async with`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from durable_ext.aio.clock import Clock, SystemClock
from durable_ext.backends import open_backend
from durable_ext.backends.protocol import Backend
from durable_ext.backends.sqlite.settings import SqliteSettings
from durable_ext.client.client import DurableClient
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.orchestrators import NameResolver, ResultTypeResolver, function_name, no_result_type
from durable_ext.core.payloads import PayloadConverter
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.runtime.worker import TaskHubWorker


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTaskHub:
    """What `run_task_hub` gives."""

    client: DurableClient
    worker: TaskHubWorker
    backend: Backend
    converter: PayloadConverter


@asynccontextmanager
async def run_task_hub(
    path: Path,
    registry: FunctionRegistry,
    *,
    settings: WorkerSettings | None = None,
    task_hub: str = "TestHub",
    synchronous: Literal["FULL", "NORMAL"] = "NORMAL",
    clock: Clock | None = None,
    converter: PayloadConverter | None = None,
    resolve_name: NameResolver = function_name,
    resolve_type: ResultTypeResolver = no_result_type,
    heartbeat: timedelta = timedelta(seconds=5),
    drain: timedelta = timedelta(seconds=5),
) -> AsyncIterator[RunningTaskHub]:
    """Run the functions of a registry on the hub in a file, which is made if it is missing.

    `heartbeat` is also how often locks of dead workers are looked for. Leaving the block drains for at most `drain`,
    then stops; the file stays and can be opened again.
    """
    clock = clock or SystemClock()
    converter = converter or DataConverter()
    codec = JsonEntityCodec()
    store = SqliteSettings(path=path, task_hub=task_hub, synchronous=synchronous, heartbeat=heartbeat)
    backend = open_backend(store, clock)
    await backend.open()
    try:
        worker = TaskHubWorker(
            backend,
            registry,
            settings=settings or WorkerSettings(),
            converter=converter,
            entity_codec=codec,
            resolve_name=resolve_name,
            resolve_type=resolve_type,
            clock=clock,
        )
        client = DurableClient(backend.instances, converter=converter, entity_codec=codec, clock=clock)
        await worker.start()
        try:
            yield RunningTaskHub(client=client, worker=worker, backend=backend, converter=converter)
        finally:
            await worker.drain(drain)
            await worker.stop()
    finally:
        await backend.close()
