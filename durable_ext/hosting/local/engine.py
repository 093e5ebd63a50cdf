"""The durable engine of a local host: store, worker and client of one task hub, on the host's event loop."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from durable_ext.backends import open_backend
from durable_ext.backends.protocol import Backend
from durable_ext.client.client import DurableClient
from durable_ext.client.known_functions import KnownFunctions
from durable_ext.client.query import ACTIVE_STATUSES
from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.events import HistoryEvent
from durable_ext.errors import BackendUnavailableError
from durable_ext.hosting.bindings import CallPlan
from durable_ext.hosting.local.invocations import with_call_log
from durable_ext.hosting.local.other_hubs import OtherHubs
from durable_ext.hosting.local.task_hub import worker_settings
from durable_ext.hosting.settings import HostSettings
from durable_ext.http.history import HistoryView, history_json
from durable_ext.http.management import ManagementApi
from durable_ext.http.urls import ManagementUrls
from durable_ext.runtime.registry import FunctionKind, FunctionRegistry
from durable_ext.runtime.worker import TaskHubWorker
from durable_ext.sdk.discovery import DurableFunctions, result_type
from durable_ext.sdk.engine_client import EngineOrchestrationClient
from durable_ext.sdk.function_names import resolve_function_name
from durable_ext.sdk.orchestration_client import DurableOrchestrationClient

if TYPE_CHECKING:
    from durable_ext.backends import BackendSettings

log = logging.getLogger("durable_ext.hosting")

_RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0)
_SILENT_SECONDS = 5.0  # of a storage that takes connections and does not answer: the first call gives up after minutes


class LocalEngine:
    """Owns the task hub of a host. Used from the host's event loop only.

    `ready` is false until the store has been reached; until then every use of the hub raises `BackendUnavailableError`.
    """

    def __init__(
        self,
        settings: HostSettings,
        store: BackendSettings,
        functions: DurableFunctions,
        urls: ManagementUrls,
        not_served: Iterable[tuple[FunctionKind, str]] = (),
        *,
        other_store: Callable[[str, str], BackendSettings] | None = None,
    ) -> None:
        converter = DataConverter(strict=settings.strict_typing)
        activities = tuple(
            activity
            if activity.executor == "process"  # what a process runs has to be picklable
            else replace(activity, call=with_call_log(activity, converter))
            for activity in functions.with_clients(self._activity_client).activities
        )
        self._registry = replace(functions, activities=activities).to_registry()
        for kind, name in not_served:
            self._registry.leave_to_others(kind, name)
        self._converter = converter
        self._settings, self._urls = settings, urls
        self._backend = open_backend(store)
        self._others = None if other_store is None else OtherHubs(other_store, self._plain_client)
        self._parts: _Parts | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opened, self._tried = asyncio.Event(), asyncio.Event()
        self._is_away = False

    @property
    def ready(self) -> bool:
        """Whether the hub is open and the worker runs."""
        return self._opened.is_set()

    @property
    def client(self) -> DurableClient:
        """The client of the hub.

        Raises:
            BackendUnavailableError: The store has not been reached yet.
        """
        if self._parts is None:
            raise BackendUnavailableError("The task hub has not been reached yet. Try again later.")
        return self._parts.client

    async def open(self) -> None:
        """Open the store and start the worker.

        Raises:
            BackendUnavailableError: The store does not answer; may be called again.
            DurableError: The hub cannot be used at all.
        """
        self._loop = asyncio.get_running_loop()
        await self._backend.open()
        parts = _make_parts(self._backend, self._registry, self._settings, self._converter)
        await parts.worker.start()
        self._parts = parts
        self._opened.set()
        self._tried.set()

    async def wait_until_tried(self) -> bool:
        """Wait until the store has answered or failed to for the first time, some seconds; return whether it is ready."""
        await self._tried.wait()
        return self.ready

    async def wait_for_failure(self) -> None:
        """Return when the worker was stopped.

        Raises:
            LoopFailedError: One of its loops died.
        """
        await self._opened.wait()
        parts = self._parts
        if parts is None or parts.worker.failure is None:
            return
        failure = await asyncio.shield(parts.worker.failure)
        if failure is not None:
            raise failure

    async def open_when_reachable(self, hint: str) -> None:
        """Keep trying to open while the store is away; that is logged once, with a hint what to do.

        Raises:
            DurableError: The hub cannot be used at all.
        """
        attempt = 0
        while not await self._is_opened(hint):
            await asyncio.sleep(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)])
            attempt += 1
        if self._is_away:
            log.warning("The task hub can be reached now.")

    async def _is_opened(self, hint: str) -> bool:
        silence = f"the storage has not answered for {_SILENT_SECONDS:g} s. It is waited for."
        silent = asyncio.get_running_loop().call_later(_SILENT_SECONDS, self._tell_away, silence)
        try:
            await self.open()
        except BackendUnavailableError as exc:
            self._tell_away(f"{exc} {hint}")
            return False
        finally:
            silent.cancel()
            self._tried.set()
        return True

    def _tell_away(self, why: str) -> None:
        self._tried.set()  # requests that wait for the hub are answered
        if not self._is_away:
            self._is_away = True
            log.warning("The task hub cannot be reached: %s", why)

    def make_client(self, plan: CallPlan, invocation_id: str) -> EngineOrchestrationClient | str:
        """Return the durable client of one call, or the binding's JSON text for functions that make one themselves.

        Raises:
            BackendUnavailableError: The store has not been reached yet.
        """
        if plan.client_is_text:
            return self._urls.client_binding()
        return self._client_of(plan.client_class, invocation_id)

    def _activity_client(self, client_class: type[DurableOrchestrationClient] | None) -> EngineOrchestrationClient | str:
        return self._urls.client_binding() if client_class is None else self._client_of(client_class, str(uuid.uuid4()))

    def _client_of(self, client_class: type[DurableOrchestrationClient], invocation_id: str) -> EngineOrchestrationClient:
        return client_class.engine_class()(
            self.client,
            self._urls,
            function_invocation_id=invocation_id,
            loop=self._loop,
            history_json=_history_text,
        )

    def management_api(self, *, use_forwarded_host: bool = False) -> ManagementApi:
        """Return the management API of the open hub.

        Raises:
            BackendUnavailableError: The store has not been reached yet.
        """
        return ManagementApi(
            self.client,
            self._urls,
            use_forwarded_host=use_forwarded_host,
            open_other=None if self._others is None else self._others.client,
            make_primary=self._backend.hub.make_primary,
        )

    def _plain_client(self, backend: Backend) -> DurableClient:
        reject = frozenset() if self._settings.durable_task.replace_any_state else ACTIVE_STATUSES
        return DurableClient(backend.instances, converter=self._converter, entity_codec=JsonEntityCodec(), reject=reject)

    async def close(self, drain_seconds: float) -> None:
        """Let what runs finish for so long, then give up every lock."""
        if self._parts is not None:
            await self._parts.worker.drain(timedelta(seconds=drain_seconds))
            await self._parts.worker.stop()
        if self._others is not None:
            await self._others.close()
        await self._backend.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What exists once the store is open."""

    client: DurableClient
    worker: TaskHubWorker


def _make_parts(backend: Backend, registry: FunctionRegistry, settings: HostSettings, converter: DataConverter) -> _Parts:
    codec = JsonEntityCodec()
    known = KnownFunctions({"orchestrator": registry.orchestrator_names, "entity": registry.entity_names})
    client = DurableClient(
        backend.instances,
        converter=converter,
        entity_codec=codec,
        known=known,
        reject=frozenset() if settings.durable_task.replace_any_state else ACTIVE_STATUSES,
        reorder_window=settings.durable_task.reorder_window,
        default_version=settings.durable_task.worker_version.version,
    )
    worker = TaskHubWorker(
        backend,
        registry,
        settings=worker_settings(settings),
        converter=converter,
        entity_codec=codec,
        resolve_name=resolve_function_name,
        resolve_type=result_type,
    )
    return _Parts(client=client, worker=worker)


def _history_text(events: Sequence[HistoryEvent], show_input: bool, show_output: bool) -> str:
    return history_json(events, HistoryView(show_input=show_input, show_output=show_output))
