"""A worker and its clients on one SQLite file, in one `async with`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
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
from durable_ext.core.events import HistoryEvent
from durable_ext.core.orchestrators import NameResolver, ResultTypeResolver, function_name, no_result_type
from durable_ext.core.payloads import PayloadConverter
from durable_ext.http.history import HistoryView, history_json
from durable_ext.http.urls import WEBHOOK_PATH, ManagementUrls
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.runtime.worker import TaskHubWorker
from durable_ext.sdk.discovery import AppLike, DurableFunctions, collect_durable_functions, indexed_functions, result_type
from durable_ext.sdk.engine_client import EngineOrchestrationClient
from durable_ext.sdk.function_names import resolve_function_name
from durable_ext.sdk.orchestration_client import DurableOrchestrationClient


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTaskHub:
    """What `run_task_hub` gives; `orchestration_client` is what the app's functions get as their durable client."""

    client: DurableClient
    orchestration_client: DurableOrchestrationClient
    worker: TaskHubWorker
    backend: Backend
    converter: PayloadConverter


@asynccontextmanager
async def run_task_hub(
    path: Path | str,
    functions: FunctionRegistry | AppLike,
    *,
    settings: WorkerSettings | None = None,
    task_hub: str = "TestHub",
    synchronous: Literal["FULL", "NORMAL"] = "NORMAL",
    clock: Clock | None = None,
    converter: PayloadConverter | None = None,
    resolve_name: NameResolver | None = None,
    resolve_type: ResultTypeResolver | None = None,
    heartbeat: timedelta = timedelta(seconds=5),
    drain: timedelta = timedelta(seconds=5),
) -> AsyncIterator[RunningTaskHub]:
    """Run durable functions on the hub in a file, which is made if it is missing.

    `functions` is an app object (`DFApp`, `azure.functions.FunctionApp`), a module that has one, or a registry. HTTP and
    timer triggers are not served: call those functions. `heartbeat` is also how often locks of dead workers are looked
    for. Leaving the block drains for at most `drain`, then stops; the file stays and can be opened again.

    Raises:
        RegistrationError: A module without an app object or with several, or two functions of one name.
    """
    is_registry = isinstance(functions, FunctionRegistry)
    app = DurableFunctions() if isinstance(functions, FunctionRegistry) else _durable_functions(functions)
    clock = clock or SystemClock()
    converter = converter or DataConverter()
    codec = JsonEntityCodec()
    store = SqliteSettings(path=Path(path), task_hub=task_hub, synchronous=synchronous, heartbeat=heartbeat)
    backend = open_backend(store, clock)
    await backend.open()
    try:
        client = DurableClient(backend.instances, converter=converter, entity_codec=codec, clock=clock)
        urls = ManagementUrls(base_url=f"http://localhost:7071{WEBHOOK_PATH}", task_hub=task_hub)
        loop = asyncio.get_running_loop()

        def make_client(client_class: type[DurableOrchestrationClient] | None) -> EngineOrchestrationClient | str:
            if client_class is None:
                return urls.client_binding()
            return client_class.engine_class()(client, urls, loop=loop, history_json=_history_text)

        worker = TaskHubWorker(
            backend,
            functions if isinstance(functions, FunctionRegistry) else app.with_clients(make_client).to_registry(),
            settings=settings or WorkerSettings(),
            converter=converter,
            entity_codec=codec,
            resolve_name=resolve_name or (function_name if is_registry else resolve_function_name),
            resolve_type=resolve_type or (no_result_type if is_registry else result_type),
            clock=clock,
        )
        orchestration_client = EngineOrchestrationClient(client, urls, loop=loop, history_json=_history_text)
        await worker.start()
        try:
            yield RunningTaskHub(
                client=client,
                orchestration_client=orchestration_client,
                worker=worker,
                backend=backend,
                converter=converter,
            )
        finally:
            await worker.drain(drain)
            await worker.stop()
    finally:
        await backend.close()


def _durable_functions(app: AppLike) -> DurableFunctions:
    return collect_durable_functions(indexed_functions(app))


def _history_text(events: Sequence[HistoryEvent], show_input: bool, show_output: bool) -> str:
    return history_json(events, HistoryView(show_input=show_input, show_output=show_output))
