"""EntityState: what an entity tells the host after a batch (specs/sdk.md 5.6)."""

from __future__ import annotations

import json
from typing import Any

from ..utils.df_serialization import df_dumps
from .OperationResult import OperationResult
from .Signal import Signal


class EntityState:
    """Results, signals and state after a batch; `state_is_raw` = the state is JSON text already."""

    def __init__(
        self,
        results: list[OperationResult],
        signals: list[Signal],
        entity_exists: bool = False,
        state: Any = None,
        state_is_raw: bool = False,
    ) -> None:
        self.entity_exists, self.state, self.state_is_raw = entity_exists, state, state_is_raw
        self._results, self._signals = results, signals

    @property
    def results(self) -> list[OperationResult]:
        """One for each operation, in order."""
        return self._results

    @property
    def signals(self) -> list[Signal]:
        """What the operations sent."""
        return self._signals

    def to_json(self) -> dict[str, Any]:
        """Return the dictionary of the response."""
        state = self.state if self.state_is_raw and self.state is not None else df_dumps(self.state)
        return {
            "entityExists": self.entity_exists,
            "entityState": state,
            "results": [result.to_json() for result in self._results],
            "signals": self._signals,
        }

    def to_json_string(self) -> str:
        """Return the JSON text of the response."""
        return json.dumps(self.to_json())


__all__ = ["EntityState", "OperationResult"]
