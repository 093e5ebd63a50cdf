"""What the 1.x client returns: statuses, purge results, entity states (specs/sdk.md 2.14 - 2.16)."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any, Final

from durable_ext.core.timestamps import ticks_from_iso, ticks_to_datetime

DATETIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


class OrchestrationRuntimeStatus(Enum):
    """Runtime status of an instance, as the management API spells it."""

    Running = "Running"
    Completed = "Completed"
    ContinuedAsNew = "ContinuedAsNew"
    Failed = "Failed"
    Canceled = "Canceled"
    Terminated = "Terminated"
    Pending = "Pending"
    Suspended = "Suspended"


class DurableOrchestrationStatus:
    """Status of one instance; false if the instance does not exist.

    `input_`, `output` and `custom_status` are parsed JSON, one level deep; `history` is a list of dictionaries with the
    keys of specs/http-api.md 9, `None` unless asked for. Keyword arguments it does not know become attributes.
    """

    def __init__(
        self,
        name: str | None = None,
        instanceId: str | None = None,
        createdTime: str | None = None,
        lastUpdatedTime: str | None = None,
        input: Any = None,
        output: Any = None,
        runtimeStatus: str | None = None,
        customStatus: Any = None,
        history: list[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._name = name
        self._instance_id = instanceId
        self._created_time = _parsed_time(createdTime)
        self._last_updated_time = _parsed_time(lastUpdatedTime)
        self._input = input
        self._output = output
        self._runtime_status = None if runtimeStatus is None else OrchestrationRuntimeStatus(runtimeStatus)
        self._custom_status = customStatus
        self._history = history if history is not None else kwargs.get("historyEvents")
        for key, value in kwargs.items():
            setattr(self, key, value)

    def __bool__(self) -> bool:
        return self._created_time is not None

    def __repr__(self) -> str:
        status = self._runtime_status.value if self._runtime_status else None
        return f"<DurableOrchestrationStatus {self._name!r} {self._instance_id!r} {status}>"

    @classmethod
    def from_json(cls, json_obj: Any) -> DurableOrchestrationStatus:
        """Return the status of a parsed response body; a text becomes the attribute `message` of a false status."""
        if isinstance(json_obj, str):
            return cls(message=json_obj)
        return cls(**json_obj)

    def to_json(self) -> dict[str, Any]:
        """Return a dictionary that `json.dumps` can write; `None`s are in it.

        Raises:
            AttributeError: The instance does not exist, so it has no times.
        """
        written: dict[str, Any] = {"name": self._name, "instanceId": self._instance_id}
        written["createdTime"] = _formatted_time(self._created_time)
        written["lastUpdatedTime"] = _formatted_time(self._last_updated_time)
        written["output"], written["input"] = self._output, self._input
        if self._runtime_status is not None:
            written["runtimeStatus"] = self._runtime_status.name
        written["customStatus"], written["history"] = self._custom_status, self._history
        return written

    @property
    def name(self) -> str | None:
        """Name of the orchestrator."""
        return self._name

    @property
    def instance_id(self) -> str | None:
        return self._instance_id

    @property
    def created_time(self) -> datetime | None:
        """Aware UTC."""
        return self._created_time

    @property
    def last_updated_time(self) -> datetime | None:
        """Aware UTC."""
        return self._last_updated_time

    @property
    def input_(self) -> Any:
        return self._input

    @property
    def output(self) -> Any:
        return self._output

    @property
    def runtime_status(self) -> OrchestrationRuntimeStatus | None:
        return self._runtime_status

    @property
    def custom_status(self) -> Any:
        return self._custom_status

    @property
    def history(self) -> list[Any] | None:
        return self._history


class PurgeHistoryResult:
    """How many instances were deleted."""

    def __init__(self, instancesDeleted: int, **kwargs: Any) -> None:
        self._instances_deleted = instancesDeleted
        for key, value in kwargs.items():
            setattr(self, key, value)

    @classmethod
    def from_json(cls, json_obj: dict[str, Any]) -> PurgeHistoryResult:
        """Return the result of a parsed response body."""
        return cls(**json_obj)

    @property
    def instances_deleted(self) -> int:
        return self._instances_deleted


class EntityStateResponse:
    """Whether an entity exists, and its state as parsed JSON."""

    def __init__(self, entity_exists: bool, entity_state: Any = None) -> None:
        self._entity_exists, self._entity_state = entity_exists, entity_state

    @property
    def entity_exists(self) -> bool:
        return self._entity_exists

    @property
    def entity_state(self) -> Any:
        return self._entity_state


def _parsed_time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return ticks_to_datetime(ticks_from_iso(text))
    except ValueError:
        return datetime.fromisoformat(text)


def _formatted_time(moment: datetime | None) -> str:
    if moment is None:  # compat: the class is that of upstream's to_json
        raise AttributeError("The instance does not exist, so its status has no times. Ask `if status` before to_json().")
    return moment.strftime(DATETIME_FORMAT)
