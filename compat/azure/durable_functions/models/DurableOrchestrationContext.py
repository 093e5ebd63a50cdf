"""DurableOrchestrationContext: an orchestration as the host's request describes it."""

from __future__ import annotations

from typing import Any

from durable_ext.sdk.out_of_proc_context import OutOfProcContext

from .ReplaySchema import ReplaySchema


class DurableOrchestrationContext(OutOfProcContext):
    """The context of 1.x: further attributes may be set on it."""

    @property
    def _replay_schema(self) -> ReplaySchema:
        return ReplaySchema(self._schema)

    @property
    def _input_expected_type(self) -> Any:
        return self._expected_type

    @_input_expected_type.setter
    def _input_expected_type(self, expected_type: Any) -> None:
        self.expect_input(expected_type)

    def _set_is_replaying(self, is_replaying: bool) -> None:
        self._replay.is_replaying = is_replaying


__all__ = ["DurableOrchestrationContext"]
