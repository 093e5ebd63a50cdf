"""execute_entity: one operation of an entity in a test, without a hub.

By its name and with its parameters of azure-functions-durable 2.x (specs/sdk.md 8).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Union

from durable_ext.codec.serialization import DataConverter
from durable_ext.core.entities.batch import sent_id
from durable_ext.core.entities.context import EntityContext, OutgoingSignal, OutgoingStart
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.messages import EntityRequest
from durable_ext.core.entities.state import EntityState
from durable_ext.core.timestamps import Ticks, ticks_to_datetime
from durable_ext.sdk.discovery import entity_of
from durable_ext.sdk.typing_mode import current_converter

_REQUEST_ID = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntitySignalAction:
    """A signal that the operation sent; `serialized_input` is JSON text, `scheduled_time` aware, UTC."""

    entity_id: EntityId
    operation: str
    serialized_input: str | None
    scheduled_time: datetime | None

    def get_input(self, expected_type: Any = None) -> Any:
        """Return the input as the receiver gets it."""
        return _decoded(self.serialized_input, expected_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestrationStartAction:
    """An orchestration that the operation started; `serialized_input` is JSON text, `scheduled_time` aware, UTC."""

    name: str
    instance_id: str
    serialized_input: str | None
    scheduled_time: datetime | None

    def get_input(self, expected_type: Any = None) -> Any:
        """Return the input as the orchestration gets it."""
        return _decoded(self.serialized_input, expected_type)


EntityAction = Union[EntitySignalAction, OrchestrationStartAction]


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityTestResult:
    """What an operation led to.

    Attributes:
        serialized_result, serialized_state: JSON texts, `None` = no result, no state.
        actions: What it sent, in order.
    """

    serialized_result: str | None
    serialized_state: str | None
    actions: tuple[EntityAction, ...]

    def get_result(self, expected_type: Any = None) -> Any:
        """Return the result as the caller gets it."""
        return _decoded(self.serialized_result, expected_type)

    def get_state(self, expected_type: Any = None) -> Any:
        """Return the state as it is stored, `None` if the entity does not exist."""
        return _decoded(self.serialized_state, expected_type)


def execute_entity(
    entity: Any,
    operation: str,
    input: Any = None,
    state: Any = None,
    *,
    entity_name: str | None = None,
    entity_key: str = "test",
) -> EntityTestResult:
    """Run one operation of an entity and return its result, its state and what it sent; nothing is stored.

    Payloads take the way through JSON that they take in a hub.

    Args:
        entity: The decorated function or class, or the undecorated one; an `async def` runs on an event loop of its own.
        operation: Name of the operation.
        input: Its input, `None` = none.
        state: State before it, `None` = the entity does not exist.
        entity_name: Name in the entity's id; default is the function's.
        entity_key: Key in the entity's id.

    Raises:
        RegistrationError: `entity` is no entity.
        TypeError: A payload cannot be serialized.
        Exception: What the operation raises.
    """
    function, is_1x = entity_of(entity)
    converter = current_converter(native=not is_1x)
    live = EntityState(exists=state is not None, text=_text(state, converter), converter=converter)
    text = _text(input, converter)
    request = EntityRequest(
        request_id=_REQUEST_ID, operation=operation, input=None if text is None else converter.wrap_text(text)
    )
    context = EntityContext(
        entity_id=EntityId((entity_name or function.__name__).lower(), entity_key),
        request=request,
        state=live,
        converter=converter,
        start_id=lambda index: sent_id(_REQUEST_ID, index),
    )
    returned = _finished(function(context))
    result = context.take_result(None if is_1x else returned)
    live.settle()
    return EntityTestResult(
        serialized_result=_text(result, converter),
        serialized_state=live.text if live.exists else None,
        actions=tuple(_action(sent, converter) for sent in context.take_outgoing()),
    )


def _finished(returned: Any) -> Any:
    if not inspect.isawaitable(returned):
        return returned
    with ThreadPoolExecutor(1) as pool:  # the test may have an event loop of its own
        return pool.submit(asyncio.run, _awaited(returned)).result()


async def _awaited(pending: Awaitable[Any]) -> Any:
    return await pending


def _action(sent: OutgoingSignal | OutgoingStart, converter: DataConverter) -> EntityAction:
    text = converter.unwrap_input(sent.input)
    if isinstance(sent, OutgoingSignal):
        return EntitySignalAction(
            entity_id=sent.target, operation=sent.operation, serialized_input=text, scheduled_time=_time(sent.due)
        )
    return OrchestrationStartAction(
        name=sent.name, instance_id=sent.instance_id, serialized_input=text, scheduled_time=_time(sent.due)
    )


def _text(value: Any, converter: DataConverter) -> str | None:
    return None if value is None else converter.to_text(value)


def _time(due: Ticks | None) -> datetime | None:
    return None if due is None else ticks_to_datetime(due)


def _decoded(text: str | None, expected_type: Any) -> Any:
    return None if text is None else current_converter().from_text(text, expected_type)
