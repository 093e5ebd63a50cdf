"""EngineOrchestrationClient: the 1.x client where the engine is in this process; no HTTP, no JSON bodies.

Source: specs/sdk.md 2.11; what the endpoints answer, specs/sdk.md 5.8.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol, TypeVar

from azure.functions import HttpRequest

from durable_ext.client.arguments import value_text
from durable_ext.client.client import DurableClient
from durable_ext.client.query import InstanceQuery
from durable_ext.client.status import InstanceStatus
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import HistoryEvent, OrchestrationStatus
from durable_ext.core.messages import TraceContext
from durable_ext.core.timestamps import ticks_to_iso
from durable_ext.errors import (
    InstanceNotFoundError,
    InstanceWaitTimeoutError,
    InvalidArgumentError,
    InvalidInstanceStateError,
)
from durable_ext.failure import legible
from durable_ext.sdk.bindings import DurableOrchestrationBindings, origin_of
from durable_ext.sdk.client_errors import checked_id, checked_start_id, instance_gone, instance_not_found, not_rewindable
from durable_ext.sdk.function_names import resolve_function_name
from durable_ext.sdk.orchestration_client import DurableOrchestrationClient
from durable_ext.sdk.status_values import (
    DurableOrchestrationStatus,
    EntityStateResponse,
    OrchestrationRuntimeStatus,
    PurgeHistoryResult,
)

T = TypeVar("T")
_DEFAULT_CONNECTIONS: Final = ("storage", "azurewebjobsstorage")

HistoryJson = Callable[[Sequence[HistoryEvent], bool, bool], str]
"""`(events, show_input, show_output)` → JSON text of the array of specs/http-api.md 9."""


class ManagementLinks(Protocol):
    """Where the management API is; `durable_ext.http.urls.ManagementUrls` is one."""

    @property
    def task_hub(self) -> str: ...
    @property
    def connection(self) -> str: ...
    def at_origin(self, origin: str) -> ManagementLinks: ...
    def links(self, instance_id: str) -> dict[str, str]: ...


class EngineOrchestrationClient(DurableOrchestrationClient):
    """A `DurableOrchestrationClient` on the engine of this process.

    Args:
        engine: The client of the task hub.
        urls: For the links of responses.
        function_invocation_id: For logs.
        loop: The engine's event loop, the running one if not given; calls from other loops hop over to it, so that sync
            functions can use `asyncio.run`.
        history_json: Renders histories for `get_status(show_history=True)`; `None` = no history.
    """

    def __init__(
        self,
        engine: DurableClient,
        urls: ManagementLinks,
        *,
        function_invocation_id: str | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        history_json: HistoryJson | None = None,
    ) -> None:
        self._engine, self._urls, self._history_json = engine, urls, history_json
        self._loop = loop if loop is not None else _running_loop()
        self._function_invocation_id = function_invocation_id
        self._orchestration_bindings = DurableOrchestrationBindings(urls.task_hub, {}, {})

    async def start_new(
        self,
        orchestration_function_name: str | Callable[..., Any],
        instance_id: str | None = None,
        client_input: Any = None,
        version: str | None = None,
    ) -> str:
        name = resolve_function_name(orchestration_function_name, "orchestrator")
        instance_id = checked_start_id(instance_id, version)
        trace_parent, trace_state = self._get_current_activity_context()
        trace = TraceContext(trace_parent=trace_parent, trace_state=trace_state or None) if trace_parent else None
        recorded = None
        if client_input is not None:
            recorded = self._engine.converter.wrap_text(self._text("start_new", "client_input", client_input))
        return await self._on_engine(
            self._engine.start_recorded(name, recorded, instance_id, version=version, trace_context=trace)
        )

    async def get_status(
        self,
        instance_id: str,
        show_history: bool = False,
        show_history_output: bool = False,
        show_input: bool = False,
    ) -> DurableOrchestrationStatus:
        instance_id = self._id("get_status", instance_id)
        status = await self._on_engine(self._engine.get_status(instance_id))
        if status is None:
            return DurableOrchestrationStatus.from_json("")
        history: list[dict[str, Any]] | None = None
        if show_history and self._history_json is not None and status.runtime_status is not OrchestrationStatus.PENDING:
            events = await self._on_engine(self._engine.get_history(instance_id))
            history = json.loads(self._history_json(events, show_input, show_history_output))
        return _status_value(status, history)

    async def get_status_all(self) -> list[DurableOrchestrationStatus]:
        return await self._on_engine(self._found(InstanceQuery()))

    async def get_status_by(
        self,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        runtime_status: Sequence[OrchestrationRuntimeStatus] | None = None,
        instance_id_prefix: str | None = None,
    ) -> list[DurableOrchestrationStatus]:
        query = InstanceQuery(
            created_from=created_time_from,
            created_to=created_time_to,
            runtime_status=_statuses(runtime_status),
            instance_id_prefix=instance_id_prefix,
        )
        return await self._on_engine(self._found(query))

    async def purge_instance_history(self, instance_id: str) -> PurgeHistoryResult:
        result = await self._on_engine(self._engine.purge(self._id("purge_instance_history", instance_id)))
        return PurgeHistoryResult(instancesDeleted=result.deleted)

    async def purge_instance_history_by(
        self,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        runtime_status: Sequence[OrchestrationRuntimeStatus] | None = None,
    ) -> PurgeHistoryResult:
        if created_time_from is None:
            raise ValueError("created_time_from is required when purging instance history")
        result = await self._on_engine(
            self._engine.purge_by(
                created_from=created_time_from,
                created_to=created_time_to,
                runtime_status=_statuses(runtime_status),
            )
        )
        return PurgeHistoryResult(instancesDeleted=result.deleted)

    async def raise_event(
        self,
        instance_id: str,
        event_name: str,
        event_data: Any = None,
        task_hub_name: str | None = None,
        connection_name: str | None = None,
    ) -> None:
        self._require_own_hub(task_hub_name, connection_name)
        instance_id = self._id("raise_event", instance_id)
        text = self._text("raise_event", "event_data", event_data)
        if self._is_1x:
            text = self._engine.converter.wrap_text(text)
        try:
            await self._on_engine(self._engine.raise_recorded_event(instance_id, event_name, text))
        except InstanceNotFoundError as exc:
            raise instance_not_found(instance_id) from exc
        except InvalidInstanceStateError as exc:
            raise instance_gone(instance_id) from exc

    async def restart(self, instance_id: str, restart_with_new_instance_id: bool = True) -> str:
        instance_id = self._id("restart", instance_id)
        try:
            return await self._on_engine(
                self._engine.restart(instance_id, restart_with_new_instance_id=restart_with_new_instance_id)
            )
        except InstanceNotFoundError as exc:
            raise instance_not_found(instance_id, quoted=True) from exc

    async def rewind(
        self,
        instance_id: str,
        reason: str,
        task_hub_name: str | None = None,
        connection_name: str | None = None,
    ) -> None:
        self._require_own_hub(task_hub_name, connection_name)
        instance_id = self._id("rewind", instance_id)
        try:
            await self._on_engine(self._engine.rewind(instance_id, reason))
        except InstanceNotFoundError as exc:
            raise instance_not_found(instance_id) from exc
        except InvalidInstanceStateError as exc:
            raise not_rewindable(instance_id) from exc

    async def signal_entity(
        self,
        entityId: EntityId,
        operation_name: str,
        operation_input: Any = None,
        task_hub_name: str | None = None,
        connection_name: str | None = None,
    ) -> None:
        self._require_own_hub(task_hub_name, connection_name)
        recorded = None
        if operation_input is not None:
            recorded = self._engine.converter.wrap_text(self._text("signal_entity", "operation_input", operation_input))
        await self._on_engine(self._engine.signal_entity_recorded(entityId, operation_name, recorded))

    async def read_entity_state(
        self, entityId: EntityId, task_hub_name: str | None = None, connection_name: str | None = None
    ) -> EntityStateResponse:
        self._require_own_hub(task_hub_name, connection_name)
        entity = await self._on_engine(self._engine.read_entity(entityId))
        return EntityStateResponse(True, entity.state) if entity.exists else EntityStateResponse(False)

    def get_client_response_links(self, request: HttpRequest | None, instance_id: str) -> dict[str, str]:
        origin = origin_of(request.url) if request is not None else None
        urls = self._urls if origin is None else self._urls.at_origin(origin)
        return urls.links(instance_id)

    def _require_own_hub(self, task_hub_name: str | None, connection_name: str | None) -> None:
        """Refuse a call for another hub than the one that this process has open.

        Raises:
            InvalidArgumentError: It is another one.
        """
        hub, connection = self._urls.task_hub, self._urls.connection
        if task_hub_name and task_hub_name.lower() != hub.lower():
            raise InvalidArgumentError(
                "task_hub_name",
                f"task_hub_name is '{legible(task_hub_name)}', but this host has the task hub '{hub}' open. Leave it "
                f"out, or call the host of that hub: DurableOrchestrationClient(binding), with the JSON of its durable "
                f"client binding.",
            )
        if connection_name and connection_name.lower() not in (connection.lower(), *_DEFAULT_CONNECTIONS):
            raise InvalidArgumentError(
                "connection_name",
                f"connection_name is '{legible(connection_name)}', but this host works on the connection '{connection}'. "
                f"Leave it out, or set storageProvider.connectionName in host.json.",
            )

    async def _steer(self, instance_id: str, operation: str, reason: str) -> None:
        call = {
            "terminate": self._engine.terminate,
            "suspend": self._engine.suspend,
            "resume": self._engine.resume,
        }[operation]
        instance_id = self._id(operation, instance_id)
        try:
            await self._on_engine(call(instance_id, reason))
        except InstanceNotFoundError as exc:
            raise instance_not_found(instance_id, quoted=True) from exc
        except InvalidInstanceStateError as exc:
            if not OrchestrationStatus(exc.status).is_terminal:  # 1.x is silent about ended instances only
                raise

    async def _wait_for_change(self, instance_id: str, status: DurableOrchestrationStatus, seconds: float) -> None:
        """Return as soon as the instance ends, instead of polling it."""
        if not status:
            await asyncio.sleep(seconds)
            return
        instance_id = self._id("wait_for_completion_or_create_check_status_response", instance_id)
        try:
            await self._on_engine(self._engine.wait_for_completion(instance_id, timeout=timedelta(seconds=seconds)))
        except (InstanceWaitTimeoutError, InstanceNotFoundError):
            return

    async def _found(self, query: InstanceQuery) -> list[DurableOrchestrationStatus]:
        return [_status_value(status) async for status in self._engine.query_all(query)]

    def _id(self, call: str, instance_id: Any) -> str:
        return checked_id(call, instance_id, is_1x=self._is_1x)

    def _text(self, call: str, argument: str, value: Any) -> str:
        converter = self._engine.converter
        return converter.to_text(value) if self._is_1x else value_text(converter, call, argument, value)

    async def _on_engine(self, call: Coroutine[Any, Any, T]) -> T:
        if self._loop is None or self._loop is asyncio.get_running_loop():
            return await call
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, self._loop))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _statuses(wanted: Iterable[OrchestrationRuntimeStatus] | None) -> frozenset[OrchestrationStatus]:
    return frozenset(OrchestrationStatus(status.value) for status in wanted or ())


def _status_value(status: InstanceStatus, history: list[dict[str, Any]] | None = None) -> DurableOrchestrationStatus:
    return DurableOrchestrationStatus(
        name=status.name,
        instanceId=status.instance_id,
        createdTime=ticks_to_iso(status.row.created_at),
        lastUpdatedTime=ticks_to_iso(status.row.last_updated_at),
        input=status.input,
        output=status.output,
        runtimeStatus=status.runtime_status.value,
        customStatus=status.custom_status,
        history=history,
    )
