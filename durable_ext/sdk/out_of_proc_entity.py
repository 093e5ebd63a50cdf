"""OutOfProcEntityContext: the context of an entity that the Durable extension runs (specs/sdk.md 2.6, 4.13, 5.6)."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.operation import EntityOperation
from durable_ext.core.entities.state import EntityState
from durable_ext.core.payloads import PayloadConverter
from durable_ext.errors import OrchestrationError
from durable_ext.sdk.typing_mode import current_converter


class InternalEntityError(OrchestrationError):
    """The host sent a batch that cannot be run."""


class OutOfProcEntityContext(EntityOperation):
    """An entity and the operation of a batch that runs.

    As in 1.x one context serves the whole batch, and what an operation did before it failed stays.
    Name and key are taken as they are: tests of apps leave them empty.
    """

    def __init__(
        self,
        name: str,
        key: str,
        exists: bool,
        state: Any,
        *,
        converter: PayloadConverter | None = None,
        **others: Any,
    ) -> None:
        converter = self.default_converter() if converter is None else converter
        super().__init__(EntityState(exists=exists, text=state, converter=converter), converter)
        self._name, self._key = name, key
        self._operation: str | None = None
        self._input: str | None = None
        self._is_signal = False
        self._signals: list[dict[str, Any]] = []

    @classmethod
    def from_json(
        cls, json_str: str | bytes, *, converter: PayloadConverter | None = None
    ) -> tuple[OutOfProcEntityContext, list[dict[str, Any]]]:
        """Return the context and the operations of the host's request."""
        members = json.loads(json_str)
        target, batch = members.pop("self"), members.pop("batch")
        return cls(name=target["name"], key=target["key"], **members, converter=converter), batch

    @classmethod
    def default_converter(cls) -> PayloadConverter:
        """Return the converter of contexts that are given none."""
        return current_converter()

    @property
    def recorded_input(self) -> str | None:
        """JSON text of the operation's input as it was sent."""
        return self._input

    @property
    def entity_id(self) -> EntityId:
        """Name (in lower case) and key of this entity.

        Raises:
            ValueError: One of them is empty.
        """
        return EntityId(self._name, self._key)

    @property
    def entity_name(self) -> str:
        """Name of this entity, in lower case."""
        return self._name

    @property
    def entity_key(self) -> str:
        """Key of this entity."""
        return self._key

    @property
    def operation_name(self) -> str:
        """Name of the operation as the caller gave it.

        Raises:
            InternalEntityError: No operation runs.
        """
        if self._operation is None:
            raise InternalEntityError("Entity operation is unassigned")
        return self._operation

    @property
    def is_signal(self) -> bool:
        """Whether nobody waits for the result."""
        return self._is_signal

    @property
    def caller_instance_id(self) -> None:
        """Not told by the host."""
        return None

    def signal_entity(
        self,
        entity_id: EntityId,
        operation_name: str,
        operation_input: Any = None,
        *,
        signal_time: datetime | None = None,
    ) -> None:
        """Signal an entity when the batch is stored.

        Raises:
            NotImplementedError: With `signal_time`, for which the host's protocol has no place.
        """
        if signal_time is not None:
            self._refuse("A signal at a later time")
        text = None if operation_input is None else self._converter.wrap_text(self._converter.to_text(operation_input))
        target = {"name": entity_id.name, "key": entity_id.key}
        self._signals.append({"target": target, "name": operation_name, "input": text})

    def start_new_orchestration(
        self, name: str, input_: Any = None, instance_id: str | None = None, *, start_at: datetime | None = None
    ) -> NoReturn:
        """Refuse: the host's protocol has no place for it."""
        self._refuse("Starting an orchestration")

    def _refuse(self, what: str) -> NoReturn:
        raise NotImplementedError(
            f"{what} from an entity needs the durable_ext engine; the Durable extension does not take it from a Python "
            f"function. Run the app natively (DURABLE_EXT_HOSTING=native), or let an orchestration do it."
        )

    def begin(self, operation: Mapping[str, Any]) -> None:
        """Make an operation of the batch the current one.

        Raises:
            InternalEntityError: It has no name.
            KeyError: `name` or `input` is missing.
        """
        self._input, self._operation = None, None
        self._begin_operation()
        name = operation["name"]
        if name is None:
            raise InternalEntityError("Durable Functions Internal Error:Entity operation was missing a name field")
        self._operation, self._is_signal = name, bool(operation.get("isSignal"))
        self._input = operation["input"]

    def result_text(self, returned: Any) -> str:
        """Return the JSON text of what the operation set, else of what it returned."""
        return self._converter.to_text(self.take_result(returned))

    def response(self, results: Sequence[Mapping[str, Any]]) -> str:
        """Return the response JSON of a batch with these results."""
        self._state.settle()
        text = "null" if self._state.text is None else self._state.text
        members = {
            "entityExists": self._state.exists,
            "entityState": text,
            "results": results,
            "signals": self._signals,
        }
        return json.dumps(members)


def run_batch(function: Callable[[Any], Any], context: OutOfProcEntityContext, batch: Sequence[Mapping[str, Any]]) -> str:
    """Run the operations of a batch one after the other and return the response JSON.

    Raises:
        InternalEntityError: An operation has no name: the whole batch is given up.
        TypeError: The state cannot be serialized.
    """
    results: list[dict[str, Any]] = []
    for operation in batch:
        began, started = time.time(), time.monotonic()
        try:
            context.begin(operation)
            text, is_error = context.result_text(_returned(function, context)), False
        except InternalEntityError:
            raise
        except Exception as error:  # user code: the operation fails, the batch goes on
            text, is_error = json.dumps(str(error)), True
        results.append(
            {
                "isError": is_error,
                "duration": int((time.monotonic() - started) * 1000),
                "startTime": int(began * 1000),
                "result": text,
            }
        )
    return context.response(results)


def _returned(function: Callable[[Any], Any], context: OutOfProcEntityContext) -> Any:
    returned = function(context)
    if inspect.iscoroutine(returned):
        # The worker calls entities on pool threads, which have no loop of their own.
        return asyncio.run(returned)
    return returned
