"""EntityContext: what an entity function sees of the operation it runs (specs/sdk.md 2.6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.messages import EntityRequest
from durable_ext.core.entities.operation import EntityOperation
from durable_ext.core.entities.state import EntityState
from durable_ext.core.payloads import PayloadConverter
from durable_ext.core.timestamps import Ticks, ticks_from_datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingSignal:
    """A signal that an operation sends; `input` is the request's input text, `due` delays it."""

    target: EntityId
    operation: str
    input: str | None = None
    due: Ticks | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingStart:
    """An orchestration that an operation starts; `input` is the recorded input text."""

    name: str
    instance_id: str
    input: str | None = None
    due: Ticks | None = None


class EntityContext(EntityOperation):
    """One operation on one entity.

    Nothing leaves before the whole batch is stored: state, results, signals and starts become durable together.
    Valid until the function returns (or its awaitable ends); use it from that function only.
    """

    __slots__ = ("_entity_id", "_outgoing", "_request", "_start_id")

    def __init__(
        self,
        *,
        entity_id: EntityId,
        request: EntityRequest,
        state: EntityState,
        converter: PayloadConverter,
        start_id: Callable[[int], str],
        state_type: Any = None,
        input_type: Any = None,
    ) -> None:
        super().__init__(state, converter, state_type=state_type, input_type=input_type)
        self._entity_id, self._request, self._start_id = entity_id, request, start_id
        self._outgoing: list[OutgoingSignal | OutgoingStart] = []

    @property
    def recorded_input(self) -> str | None:
        """JSON text of the operation's input as it was sent."""
        return self._request.input

    @property
    def entity_id(self) -> EntityId:
        """Name (in lower case) and key of this entity."""
        return self._entity_id

    @property
    def entity_name(self) -> str:
        """Name of this entity, in lower case."""
        return self._entity_id.name

    @property
    def entity_key(self) -> str:
        """Key of this entity."""
        return self._entity_id.key

    @property
    def operation_name(self) -> str:
        """Name of the operation as the caller gave it."""
        return self._request.operation or ""

    @property
    def is_signal(self) -> bool:
        """Whether nobody waits for the result."""
        return self._request.is_signal

    @property
    def caller_instance_id(self) -> str | None:
        """Instance id of the orchestration or entity that asks, `None` for a client."""
        return self._request.parent

    def signal_entity(
        self,
        entity_id: EntityId,
        operation_name: str,
        operation_input: Any = None,
        *,
        signal_time: datetime | None = None,
    ) -> None:
        """Signal an entity (this one too) when the batch is stored, or at `signal_time` (naive = UTC).

        Raises:
            TypeError: The input cannot be serialized.
        """
        text = None if operation_input is None else self._converter.wrap_text(self._converter.to_text(operation_input))
        due = None if signal_time is None else ticks_from_datetime(signal_time)
        self._outgoing.append(OutgoingSignal(target=entity_id, operation=operation_name, input=text, due=due))

    def start_new_orchestration(
        self,
        name: str,
        input_: Any = None,
        instance_id: str | None = None,
        *,
        start_at: datetime | None = None,
    ) -> str:
        """Start an orchestration when the batch is stored, or at `start_at` (naive = UTC), and return its instance id.

        Nobody waits for it and its end is not reported here. The generated id is the same if the batch has to run again.

        Raises:
            TypeError: The input cannot be serialized.
        """
        chosen = instance_id or self._start_id(len(self._outgoing))
        text = None if input_ is None else self._converter.wrap_text(self._converter.to_text(input_))
        due = None if start_at is None else ticks_from_datetime(start_at)
        self._outgoing.append(OutgoingStart(name=name, instance_id=chosen, input=text, due=due))
        return chosen

    def take_outgoing(self) -> list[OutgoingSignal | OutgoingStart]:
        """Return what the operation sends, in order (for the batch)."""
        return self._outgoing
