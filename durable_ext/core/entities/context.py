"""EntityContext: what an entity function sees of the operation it runs (specs/sdk.md 2.6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.messages import EntityRequest
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


_NO_RESULT = object()


class EntityContext:
    """One operation on one entity.

    Nothing leaves before the whole batch is stored: state, results, signals and starts become durable together.
    Valid until the function returns (or its awaitable ends); use it from that function only.
    """

    __slots__ = (
        "_converter",
        "_entity_id",
        "_input_type",
        "_is_new",
        "_outgoing",
        "_request",
        "_result",
        "_start_id",
        "_state",
        "_state_type",
    )

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
        self._entity_id, self._request, self._state, self._converter = entity_id, request, state, converter
        self._start_id, self._state_type, self._input_type = start_id, state_type, input_type
        self._is_new = not state.exists
        self._result: Any = _NO_RESULT
        self._outgoing: list[OutgoingSignal | OutgoingStart] = []

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

    @property
    def is_newly_constructed(self) -> bool:
        """Whether the entity did not exist when this operation began."""
        return self._is_new

    def get_state(self, initializer: Callable[[], Any] | None = None, expected_type: Any = None) -> Any:
        """Return the state, or what `initializer` makes if there is none; that is not stored by itself.

        The value is decoded once for each batch and may be changed in place.

        Raises:
            TypeError: `initializer` cannot be called, or the state does not fit the expected type.
        """
        value = self._state.get(expected_type if expected_type is not None else self._state_type)
        if value is not None or initializer is None:
            return value
        if not callable(initializer):
            raise TypeError("initializer argument needs to be a callable function")
        return initializer()

    def set_state(self, state: Any) -> None:
        """Replace the state; the entity exists from now on."""
        self._state.set(state)

    def get_input(self, expected_type: Any = None) -> Any:
        """Return the operation's input, `None` if there is none.

        Inputs arrive as JSON text in a JSON string from SDK callers and as plain JSON from HTTP; both are read.
        """
        text = self._converter.unwrap_input(self._request.input)
        if text is None:
            return None
        return self._converter.from_text(text, expected_type if expected_type is not None else self._input_type)

    def set_result(self, result: Any) -> None:
        """Set the operation's result; the entity exists from now on, as in 1.x."""
        self._result = result
        self._state.exists = True

    def destruct_on_exit(self) -> None:
        """Delete the entity's state; a later `set_state` in the same batch makes a new one."""
        self._state.delete()

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

    def take_result(self, returned: Any) -> Any:
        """Return what `set_result` was given, else `returned` (for the batch)."""
        return returned if self._result is _NO_RESULT else self._result

    def take_outgoing(self) -> list[OutgoingSignal | OutgoingStart]:
        """Return what the operation sends, in order (for the batch)."""
        return self._outgoing
