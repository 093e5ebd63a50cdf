"""The instance row: what a query returns, and what a checkpoint changes of it; knows no table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.messages import ExecutionId, InstanceId
from durable_ext.core.timestamps import Ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRow:
    """One instance as a store knows it. Payloads are JSON text (`output` of a failure: plain text), `None` = none."""

    instance_id: InstanceId
    execution_id: ExecutionId | None
    name: str
    status: OrchestrationStatus
    created_at: Ticks
    last_updated_at: Ticks
    version: str | None = None
    input: str | None = None
    output: str | None = None
    custom_status: str | None = None
    completed_at: Ticks | None = None
    scheduled_start_at: Ticks | None = None
    generation: int | None = None
    tags: Mapping[str, str] | None = None

    @property
    def was_rewound(self) -> bool:
        """Whether it is Pending because of a rewind: it keeps the time of its end then, and a start has none (6.3)."""
        return self.status is OrchestrationStatus.PENDING and self.completed_at is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceUpdate:
    """What a checkpoint merges into the row (specs/azure-storage.md 6.3); `None` leaves a column as it is.

    `custom_status` alone is always written: `None` clears it. `execution_id` and `last_updated_at` are always written.
    """

    execution_id: ExecutionId
    last_updated_at: Ticks
    custom_status: str | None
    status: OrchestrationStatus | None = None
    name: str | None = None
    version: str | None = None
    input: str | None = None
    output: str | None = None
    created_at: Ticks | None = None
    completed_at: Ticks | None = None
    scheduled_start_at: Ticks | None = None
    generation: int | None = None
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFilter:
    """Which instances a query wants; empty fields do not restrict. Prefix and ids are case-sensitive."""

    statuses: frozenset[OrchestrationStatus] = frozenset()
    created_from: Ticks | None = None
    created_to: Ticks | None = None
    instance_id_prefix: str | None = None
    include_entities: bool = True
    include_orchestrations: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class InstancePage:
    """One page of a query, ordered by instance id; `continuation` is opaque text, `None` on the last page."""

    rows: tuple[InstanceRow, ...]
    continuation: str | None = None
