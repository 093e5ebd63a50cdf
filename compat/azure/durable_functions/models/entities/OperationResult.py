"""OperationResult: what became of one operation."""

from __future__ import annotations

from typing import Any

from ..utils.df_serialization import df_dumps


class OperationResult:
    """Result of one operation, or the text of its error; times in milliseconds."""

    def __init__(self, is_error: bool, duration: int, execution_start_time_ms: int, result: Any = None) -> None:
        self._is_error, self._duration, self._result = is_error, duration, result
        self._execution_start_time_ms = execution_start_time_ms

    @property
    def result(self) -> Any:
        """The value that the operation set, or the error's message."""
        return self._result

    @property
    def is_error(self) -> bool:
        """Whether the operation raised."""
        return self._is_error

    @property
    def duration(self) -> int:
        """How long it took."""
        return self._duration

    @property
    def execution_start_time_ms(self) -> int:
        """When it began, milliseconds since 1970."""
        return self._execution_start_time_ms

    def to_json(self) -> dict[str, Any]:
        """Return the dictionary of the result; the value is JSON text in it."""
        return {
            "isError": self._is_error,
            "duration": self._duration,
            "startTime": self._execution_start_time_ms,
            "result": df_dumps(self._result),
        }


__all__ = ["OperationResult"]
