"""DurableOrchestrationClient: the 1.x client, over the management endpoint that the binding names.

In our own hosts `EngineOrchestrationClient` (engine_client.py) stands in for it and calls the engine directly.
Texts of errors are those of azure-functions-durable 1.7.0. Source: specs/sdk.md 2.11, 5.8; specs/http-api.md 10.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from azure.functions import HttpRequest

from durable_ext.codec.json_text import JsonBody
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.call_arguments import check_entity
from durable_ext.core.entities.ids import EntityId
from durable_ext.errors import (
    ConfigurationError,
    FunctionNotFoundError,
    InvalidArgumentError,
    InvalidInstanceStateError,
    UnexpectedResponseError,
)
from durable_ext.sdk.bindings import DurableOrchestrationBindings, escaped, in_query, origin_of, path_of_entity
from durable_ext.sdk.client_errors import checked_start_id, instance_gone, instance_not_found, not_rewindable, unexpected
from durable_ext.sdk.function_names import resolve_function_name
from durable_ext.sdk.management_calls import call_endpoint
from durable_ext.sdk.status_responses import StatusResponses
from durable_ext.sdk.status_values import (
    DurableOrchestrationStatus,
    EntityStateResponse,
    OrchestrationRuntimeStatus,
    PurgeHistoryResult,
)
from durable_ext.telemetry.propagation import current_trace_context

if TYPE_CHECKING:
    from durable_ext.sdk.engine_client import EngineOrchestrationClient

_CONVERTER = DataConverter()
_STATUS_ANSWERS = frozenset({200, 202, 400, 404, 500})


class DurableOrchestrationClient(StatusResponses):
    """Starts, observes and steers orchestrations and entities from any function of the app.

    Network methods are coroutines. Errors are subclasses of `ClientError` whose text is that of 1.x.

    Args:
        context: JSON text of the durable client binding.
        function_invocation_id: Sent with every call, for the host's logs.

    Raises:
        TypeError: The binding lacks a member.
        json.JSONDecodeError: The text is not JSON.
    """

    _is_1x: ClassVar[bool] = False

    def __init__(self, context: str, function_invocation_id: str | None = None) -> None:
        self._orchestration_bindings = DurableOrchestrationBindings.from_json(context)
        self._function_invocation_id = function_invocation_id

    @classmethod
    def engine_class(cls) -> type[EngineOrchestrationClient]:
        """Return the class of the client that stands in for this one where the engine is in the process."""
        from durable_ext.sdk.engine_client import EngineOrchestrationClient

        return EngineOrchestrationClient

    # Calls that take names also take decorated functions.

    async def start_new(
        self,
        orchestration_function_name: str | Callable[..., Any],
        instance_id: str | None = None,
        client_input: Any = None,
        version: str | None = None,
    ) -> str:
        """Start an orchestration and return its instance id.

        Args:
            instance_id: 1-256 characters without `/ \\ # ?` and control characters, not beginning with `@`; `None` = a
                random one.
            client_input: What `context.get_input()` returns; `None` = no input.
            version: Recorded version; `None` = the default of host.json.

        Raises:
            ClientError: Unknown orchestrator, unusable id, or an instance with this id is active.
        """
        name = resolve_function_name(orchestration_function_name, "orchestrator")
        instance_id = checked_start_id(instance_id, version)
        url = self._get_start_new_url(instance_id, name, version)
        trace_parent, trace_state = self._get_current_activity_context()
        status, body = await self._post_async_request(
            url, self._get_json_input(client_input), trace_parent, trace_state, self._function_invocation_id
        )
        if status <= 202 and body:
            return str(body["id"])
        if status == 400 and isinstance(body, dict):
            text = body.get("ExceptionMessage") or body.get("Message") or "Bad request"
            if text.startswith("The function '"):
                raise FunctionNotFoundError("orchestrator", name, message=text)
            raise UnexpectedResponseError(status, body, text)
        raise UnexpectedResponseError(status, body, body)

    async def get_status(
        self,
        instance_id: str,
        show_history: bool = False,
        show_history_output: bool = False,
        show_input: bool = False,
    ) -> DurableOrchestrationStatus:
        """Return the status of an instance; it is false (`not status`) if there is no such instance.

        `show_input` concerns the history: the status has the input in any case, because hosts send it unless they are told
        not to, which 1.x never does (specs/sdk.md 7, row 37).
        """
        url = self._url(
            f"instances/{escaped(instance_id)}",
            showInput=show_input,
            showHistory=show_history,
            showHistoryOutput=show_history_output,
        )
        status, body = await self._get_async_request(url)
        if status in _STATUS_ANSWERS:
            return DurableOrchestrationStatus.from_json("" if body is None else body)
        raise unexpected(status, body)

    async def get_status_all(self) -> list[DurableOrchestrationStatus]:
        """Return the status of every instance in the hub, entities included; all pages are read."""
        return await self._all_pages(self._url("instances/"))

    async def get_status_by(
        self,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        runtime_status: Sequence[OrchestrationRuntimeStatus] | None = None,
        instance_id_prefix: str | None = None,
    ) -> list[DurableOrchestrationStatus]:
        """Return the status of the instances that match all restrictions; times are inclusive, a naive one is UTC."""
        url = self._url(
            "instances/",
            createdTimeFrom=created_time_from,
            createdTimeTo=created_time_to,
            instanceIdPrefix=instance_id_prefix,
            runtimeStatus=runtime_status,
        )
        return await self._all_pages(url)

    async def purge_instance_history(self, instance_id: str) -> PurgeHistoryResult:
        """Delete an ended instance and its history; 0 deleted if there is no such instance."""
        return purged(*await self._delete_async_request(self._url(f"instances/{escaped(instance_id)}")))

    async def purge_instance_history_by(
        self,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        runtime_status: Sequence[OrchestrationRuntimeStatus] | None = None,
    ) -> PurgeHistoryResult:
        """Delete the ended instances that match.

        Raises:
            ValueError: `created_time_from` is missing.
        """
        if created_time_from is None:
            raise ValueError("created_time_from is required when purging instance history")
        url = self._url(
            "instances/",
            createdTimeFrom=created_time_from,
            createdTimeTo=created_time_to,
            runtimeStatus=runtime_status,
        )
        return purged(*await self._delete_async_request(url))

    async def raise_event(
        self,
        instance_id: str,
        event_name: str,
        event_data: Any = None,
        task_hub_name: str | None = None,
        connection_name: str | None = None,
    ) -> None:
        """Send an external event; the orchestrator receives the data, as if it had been raised over HTTP.

        Under the 1.x import names it receives the JSON text of the data (specs/sdk.md 7, row 11).

        Raises:
            ValueError: The event name is empty.
            InstanceNotFoundError: No such instance.
            InvalidInstanceStateError: The instance has ended.
        """
        _require_event_name(event_name)
        url = self._get_raise_event_url(instance_id, event_name, task_hub_name, connection_name)
        text = _CONVERTER.to_text(event_data)
        status, body = await self._post(url, text if self._is_1x else JsonBody(text))
        if status == 404:
            raise instance_not_found(instance_id)
        if status == 410:
            raise instance_gone(instance_id)
        if status == 400:
            raise UnexpectedResponseError(status, body, "Only application/json request content is supported")
        if status != 202:
            raise UnexpectedResponseError(status, body, f"Webhook returned unrecognized status code {status}")

    async def terminate(self, instance_id: str, reason: str) -> None:
        """End an instance, whatever it is doing; its output becomes the reason. One that has ended is left alone.

        Raises:
            InstanceNotFoundError: No such instance.
        """
        await self._steer(instance_id, "terminate", reason)

    async def suspend(self, instance_id: str, reason: str) -> None:
        """Hold an instance until `resume`; errors as `terminate`."""
        await self._steer(instance_id, "suspend", reason)

    async def resume(self, instance_id: str, reason: str) -> None:
        """Let a suspended instance go on; errors as `terminate`."""
        await self._steer(instance_id, "resume", reason)

    async def restart(self, instance_id: str, restart_with_new_instance_id: bool = True) -> str:
        """Start the instance's function again with its input; return the id of the new run.

        Raises:
            InstanceNotFoundError: No such instance.
        """
        flag = "true" if restart_with_new_instance_id else "false"
        url = self._url(f"instances/{escaped(instance_id)}/restart") + f"?restartWithNewInstanceId={flag}"
        status, body = await self._post(url, None)
        if status in (202, 410):
            return str(body["id"] if isinstance(body, dict) and "id" in body else body or instance_id)
        if status == 404 or (status == 400 and "was not found" in str(body)):
            raise instance_not_found(instance_id, quoted=True)
        raise unexpected(status, body)

    async def rewind(
        self,
        instance_id: str,
        reason: str,
        task_hub_name: str | None = None,
        connection_name: str | None = None,
    ) -> None:
        """Run the failed steps of a failed instance again.

        Raises:
            InstanceNotFoundError: No such instance.
            InvalidInstanceStateError: It has not failed.
        """
        if not self._orchestration_bindings.rpc_base_url:
            raise ConfigurationError(
                "The Python SDK only supports RPC endpoints.Please remove the `localRpcEnabled` setting from host.json"
            )
        url = self._url(f"instances/{escaped(instance_id)}/rewind") + f"?reason={in_query('reason', reason)}"
        for name, value in (("taskHub", task_hub_name), ("connection", connection_name)):
            url += "" if value is None else f"&{name}={in_query(name, value)}"
        status, body = await self._post(url, None)
        if status in (200, 202):
            return
        if status == 404:
            raise instance_not_found(instance_id)
        if status == 410:
            raise not_rewindable(instance_id)
        if status == 412 and isinstance(body, str):
            raise InvalidInstanceStateError(instance_id, "", "rewind", body)
        text = body if isinstance(body, str) else f"Received unexpected payload from the durable-extension: {[status, body]}"
        raise UnexpectedResponseError(status, body, text)

    async def signal_entity(
        self,
        entityId: EntityId,
        operation_name: str,
        operation_input: Any = None,
        task_hub_name: str | None = None,
        connection_name: str | None = None,
    ) -> None:
        """Send an operation to an entity without waiting for it; `None` sends no input."""
        check_entity("signal_entity", entityId)
        url = self._entity_url(entityId, task_hub_name, connection_name, op=operation_name)
        trace_parent, trace_state = self._get_current_activity_context()
        status, body = await self._post_async_request(
            url, self._get_json_input(operation_input), trace_parent, trace_state, self._function_invocation_id
        )
        if status != 202:
            raise unexpected(status, body)

    async def read_entity_state(
        self, entityId: EntityId, task_hub_name: str | None = None, connection_name: str | None = None
    ) -> EntityStateResponse:
        """Return whether the entity exists, and its state as parsed JSON."""
        check_entity("read_entity_state", entityId)
        url = self._entity_url(entityId, task_hub_name, connection_name)
        status, body = await self._get_async_request(url)
        if status == 200:
            return EntityStateResponse(True, body)
        if status == 404:
            return EntityStateResponse(False)
        raise unexpected(status, body)

    def get_client_response_links(self, request: HttpRequest | None, instance_id: str) -> dict[str, str]:
        """Return the management links of an instance, under the origin of `request` if there is one."""
        return self._orchestration_bindings.links(instance_id, origin_of(request.url) if request is not None else None)

    async def _steer(self, instance_id: str, operation: str, reason: str) -> None:
        url = self._url(f"instances/{escaped(instance_id)}/{operation}") + f"?reason={in_query('reason', reason or '')}"
        status, body = await self._post(url, None)
        if status == 404:
            raise instance_not_found(instance_id, quoted=True)
        if status not in (202, 410):
            raise unexpected(status, body)

    async def _all_pages(self, url: str) -> list[DurableOrchestrationStatus]:
        found: list[DurableOrchestrationStatus] = []
        continuation: str | None = None
        while True:
            answer = await self._get_async_request(url, **({"continuation": continuation} if continuation else {}))
            status, body = answer
            if status != 200:
                raise unexpected(status, body)
            found.extend(map(DurableOrchestrationStatus.from_json, body or ()))
            continuation = getattr(answer, "continuation", None)
            if not continuation:
                return found

    def _url(self, path: str, **query: Any) -> str:
        return self._orchestration_bindings.url(path, **query)

    def _entity_url(self, entity: EntityId, task_hub: str | None, connection: str | None, **query: Any) -> str:
        # compat: 1.x names the connection as no host reads it (specs/sdk.md 7, row 23)
        name = "connectionName" if self._is_1x else "connection"
        return self._url(path_of_entity(entity), taskHub=task_hub, **{name: connection}, **query)

    async def _post(self, url: str, data: str | None) -> list[Any]:
        return await self._post_async_request(url, data, function_invocation_id=self._function_invocation_id)

    # The three verbs below and the names of the underscored helpers are part of what tests of 1.x replace or call.

    async def _post_async_request(
        self,
        url: str,
        data: str | None = None,
        trace_parent: str | None = None,
        trace_state: str | None = None,
        function_invocation_id: str | None = None,
    ) -> list[Any]:
        headers = {"X-Azure-Functions-InvocationId": function_invocation_id or ""}
        headers.update({"traceparent": trace_parent or "", "tracestate": trace_state or ""})
        return await call_endpoint("POST", url, data, {name: value for name, value in headers.items() if value})

    async def _get_async_request(self, url: str, continuation: str | None = None) -> list[Any]:
        headers = {"x-ms-continuation-token": continuation or "", "X-Azure-Functions-InvocationId": self._invocation}
        return await call_endpoint("GET", url, None, {name: value for name, value in headers.items() if value})

    async def _delete_async_request(self, url: str) -> list[Any]:
        headers = {"X-Azure-Functions-InvocationId": self._invocation} if self._invocation else {}
        return await call_endpoint("DELETE", url, None, headers)

    @property
    def _invocation(self) -> str:
        return self._function_invocation_id or ""

    def _get_start_new_url(self, instance_id: str | None, function_name: str, version: str | None = None) -> str:
        path = f"orchestrators/{escaped(function_name, 'function_name')}"
        path += "" if instance_id is None else f"/{escaped(instance_id)}"
        return self._url(path) + ("" if version is None else f"?version={in_query('version', version)}")

    def _get_raise_event_url(
        self, instance_id: str, event_name: str, task_hub_name: str | None, connection_name: str | None
    ) -> str:
        return self._url(
            f"instances/{escaped(instance_id)}/raiseEvent/{escaped(event_name, 'event_name')}",
            taskHub=task_hub_name,
            connection=connection_name,
        )

    @staticmethod
    def _get_json_input(client_input: Any) -> str | None:
        return None if client_input is None else _CONVERTER.to_text(client_input)

    @staticmethod
    def _get_current_activity_context() -> tuple[str | None, str | None]:
        trace_parent, trace_state = current_trace_context()
        return trace_parent or None, trace_state or None


def _require_event_name(event_name: str) -> None:
    if event_name == "":
        raise InvalidArgumentError("event_name", "event_name must be a non-empty string.")


def purged(status: int, body: Any) -> PurgeHistoryResult:
    """Return what an answer to a purge says was deleted."""
    if status == 200:
        return PurgeHistoryResult.from_json(body)
    if status == 404:
        return PurgeHistoryResult(instancesDeleted=0)
    raise unexpected(status, body)
