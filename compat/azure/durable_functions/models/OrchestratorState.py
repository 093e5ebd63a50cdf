"""OrchestratorState: what an episode tells the host (specs/sdk.md 2.17, 5.3)."""

from __future__ import annotations

from typing import Any

from .actions.Action import Action
from .ReplaySchema import ReplaySchema
from .utils.df_serialization import df_dumps


class OrchestratorState:
    """The state of an orchestration after an episode."""

    def __init__(
        self,
        is_done: bool,
        actions: list[list[Action]],
        output: Any,
        replay_schema: ReplaySchema,
        error: str | None = None,
        custom_status: Any = None,
    ) -> None:
        self._is_done, self._actions, self._output = is_done, actions, output
        self._replay_schema, self._error, self._custom_status = replay_schema, error, custom_status

    @property
    def actions(self) -> list[list[Action]]:
        """The actions, an inner list for each yield (V1) or one (V2, V3)."""
        return self._actions

    @property
    def is_done(self) -> bool:
        """Whether the orchestrator has returned."""
        return self._is_done

    @property
    def output(self) -> Any:
        """What it returned."""
        return self._output

    @property
    def error(self) -> str | None:
        """Why it failed."""
        return self._error

    @property
    def custom_status(self) -> Any:
        """The custom status."""
        return self._custom_status

    @property
    def schema_version(self) -> int:
        """Number of the schema.

        Raises:
            AttributeError: The schema was given as a number.
        """
        return self._replay_schema.value

    def to_json(self) -> dict[str, Any]:
        """Return the dictionary of the state, keys in order; what is not set is left out."""
        written: dict[str, Any] = {"isDone": self._is_done}
        # compat: a schema given as an int leaves the version out, as tests of 1.x rely on (specs/sdk.md 2.17)
        if self._replay_schema != ReplaySchema.V1 and hasattr(self, "schema_version"):
            written["schemaVersion"] = self.schema_version
        written["actions"] = [[action.to_json() for action in group] for group in self._actions]
        if self._output is not None:
            written["output"] = self._output
        if self._error:
            written["error"] = self._error
        if self._custom_status:
            written["customStatus"] = self._custom_status
        return written

    def to_json_string(self) -> str:
        """Return the JSON text of the state."""
        return df_dumps(self.to_json())


__all__ = ["OrchestratorState"]
