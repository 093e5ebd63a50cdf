"""InstanceStatus: what a client learns of one instance; knows no store and no HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.instances import InstanceRow
from durable_ext.core.payloads import PayloadConverter
from durable_ext.core.timestamps import Ticks, ticks_to_datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStatus:
    """One instance as it was when the row was read; decoding happens when a property is read.

    `row` holds the recorded texts. `input`, `output` and `custom_status` are their JSON values one level deep, as the
    management API shows them: the input given through the 1.x client is a string that holds JSON, and the output of a
    failed instance is its plain text. Typed values come from `output_as()` and `input_as()`.

    Source: specs/http-api.md 5.1; specs/sdk.md 2.14.
    """

    row: InstanceRow
    converter: PayloadConverter

    @property
    def instance_id(self) -> str:
        return self.row.instance_id

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def execution_id(self) -> str | None:
        return self.row.execution_id

    @property
    def version(self) -> str | None:
        return self.row.version

    @property
    def tags(self) -> Mapping[str, str]:
        return self.row.tags or {}

    @property
    def runtime_status(self) -> OrchestrationStatus:
        return self.row.status

    @property
    def is_terminal(self) -> bool:
        """Whether the instance is Completed, Failed, Canceled or Terminated."""
        return self.row.status.is_terminal

    @property
    def created_at(self) -> datetime:
        """Aware UTC; for an entity the time of its last batch."""
        return ticks_to_datetime(self.row.created_at)

    @property
    def last_updated_at(self) -> datetime:
        """Aware UTC."""
        return ticks_to_datetime(self.row.last_updated_at)

    @property
    def completed_at(self) -> datetime | None:
        """Aware UTC."""
        return _optional_datetime(self.row.completed_at)

    @property
    def scheduled_start_at(self) -> datetime | None:
        """Aware UTC; set if the start was asked for a later time."""
        return _optional_datetime(self.row.scheduled_start_at)

    @property
    def input(self) -> Any:
        return decode_recorded(self.row.input)

    @property
    def output(self) -> Any:
        return decode_recorded(self.row.output)

    @property
    def custom_status(self) -> Any:
        return decode_recorded(self.row.custom_status)

    def input_as(self, expected_type: Any = None) -> Any:
        """Return the input as the orchestrator's `get_input(expected_type)` would."""
        text = self.converter.unwrap_input(self.row.input)
        return None if text is None else self.converter.from_text(text, expected_type)

    def output_as(self, expected_type: Any = None) -> Any:
        """Return the output decoded to a type.

        Raises:
            ValueError: The instance has not completed, so its output is a reason or an error text.
        """
        if self.row.status is not OrchestrationStatus.COMPLETED:
            raise ValueError(
                f"Instance '{self.instance_id}' is {self.row.status.value}: it has no output value. Wait until it is "
                f"Completed, or read `output` for the reason."
            )
        return None if self.row.output is None else self.converter.from_text(self.row.output, expected_type)


def decode_recorded(text: str | None) -> Any:
    """Return the JSON value of a recorded text; blank text is `""`, text that is not JSON is itself (http-api.md 5.1)."""
    if text is None:
        return None
    if not text.strip():
        return ""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _optional_datetime(ticks: Ticks | None) -> datetime | None:
    return None if ticks is None else ticks_to_datetime(ticks)
