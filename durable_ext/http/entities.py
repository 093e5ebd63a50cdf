"""The entity half of the management API (specs/http-api.md 6); no framework."""

from __future__ import annotations

from durable_ext.client.client import DurableClient
from durable_ext.client.entities import EntityQuery, EntitySnapshot
from durable_ext.client.query import CONTINUATION_HEADER
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.timestamps import ticks_from_datetime, ticks_to_iso
from durable_ext.errors import FunctionNotFoundError, InvalidArgumentError
from durable_ext.http.messages import HttpRequestValue, HttpResponseValue, QueryParameters
from durable_ext.http.payloads import (
    InvalidJsonError,
    body_text,
    empty_response,
    error_response,
    first_json_value,
    json_response,
    quote,
    token,
)
from durable_ext.http.queries import parse_moment


class EntityRoutes:
    """One method per route; argument errors are 400 with a short error object."""

    def __init__(self, client: DurableClient) -> None:
        self._client = client

    async def read(self, name: str, key: str) -> HttpResponseValue:
        """Return an entity's state as raw JSON; `$` in the URL stands for the empty key."""
        instance_key = "" if key == "$" else key
        try:
            snapshot = await self._client.read_entity(EntityId(name, instance_key))
        except ValueError:
            return empty_response(404)
        return json_response(200, token(snapshot.state_text)) if snapshot.exists else empty_response(404)

    async def list(self, name: str | None, request: HttpRequestValue, query: QueryParameters) -> HttpResponseValue:
        """Return one page of entities that have a state."""
        top = query.integer("top", 100)
        with_state = query.flag("fetchState", False)
        page = await self._client.list_entities(
            EntityQuery(
                name=name,
                last_operation_from=parse_moment(query.get("lastOperationTimeFrom")),
                last_operation_to=parse_moment(query.get("lastOperationTimeTo")),
                with_state=with_state,
                page_size=top if top > 0 else 100,
            ),
            request.headers.get(CONTINUATION_HEADER) or None,
        )
        body = ",".join(_entity_body(snapshot, with_state) for snapshot in page.entities)
        headers = ((CONTINUATION_HEADER, page.continuation),) if page.continuation else ()
        return json_response(200, f"[{body}]", *headers)

    async def signal(self, name: str, key: str, operation: str, request: HttpRequestValue) -> HttpResponseValue:
        """Send an operation; JSON bodies are its input, other bodies become a JSON string."""
        if not name:
            text = "Invalid entity id: entity name must not be a null or empty string. (Parameter 'entityName')"
            return error_response(400, text)
        recorded = None
        if request.body is not None:
            content_type = request.headers.get("content-type", "")
            try:
                recorded = body_text(request.body, content_type)
                is_json = content_type.partition(";")[0].strip().lower() == "application/json"
                recorded = first_json_value(recorded) if is_json else quote(recorded)
            except InvalidJsonError as exc:
                return error_response(400, f"Could not parse JSON content: {exc}")
        try:
            await self._client.signal_entity_recorded(EntityId(name.lower(), key), operation, recorded)
        except (FunctionNotFoundError, ValueError) as exc:
            if isinstance(exc, InvalidArgumentError) and exc.argument == "operation":
                return error_response(400, "The query parameter op is missing: it names the operation, as in ?op=add.")
            return error_response(400, str(exc))
        return empty_response(202)


def _entity_body(snapshot: EntitySnapshot, with_state: bool) -> str:
    moment = snapshot.last_operation_at
    when = "null" if moment is None else quote(ticks_to_iso(ticks_from_datetime(moment)))
    entity_id = f'{{"name":{quote(snapshot.entity_id.name)},"key":{quote(snapshot.entity_id.key)}}}'
    state = token(snapshot.state_text) if with_state else "null"
    return f'{{"entityId":{entity_id},"lastOperationTime":{when},"state":{state}}}'
