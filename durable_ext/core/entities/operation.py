"""EntityOperation: state, input and result of a running operation, wherever the batch comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from durable_ext.core.entities.state import EntityState
from durable_ext.core.payloads import PayloadConverter

_NO_RESULT = object()


class EntityOperation(ABC):
    """What every entity context does with the payloads of its operation (specs/sdk.md 2.6)."""

    __slots__ = ("_converter", "_input_type", "_is_new", "_result", "_state", "_state_type")

    def __init__(
        self, state: EntityState, converter: PayloadConverter, *, state_type: Any = None, input_type: Any = None
    ) -> None:
        self._state, self._converter = state, converter
        self._state_type, self._input_type = state_type, input_type
        self._begin_operation()

    def _begin_operation(self) -> None:
        self._is_new = not self._state.exists
        self._result: Any = _NO_RESULT

    @property
    @abstractmethod
    def recorded_input(self) -> str | None:
        """JSON text of the operation's input as it was sent."""

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
        if value is not None or not initializer:
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
        text = self._converter.unwrap_input(self.recorded_input)
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

    def take_result(self, returned: Any) -> Any:
        """Return what `set_result` was given, else `returned` (for the batch)."""
        return returned if self._result is _NO_RESULT else self._result
