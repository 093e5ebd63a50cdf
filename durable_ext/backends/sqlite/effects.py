"""What a transaction means for the event loop: values collected on the writer thread, applied once it is durable."""

from __future__ import annotations

from dataclasses import dataclass, field

from durable_ext.backends.protocol import ActivityWorkItem
from durable_ext.core.instances import InstanceRow, InstanceUpdate
from durable_ext.core.messages import ReceivedMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message for an instance that is locked here; `due` = 0 or the instant before which it must not be seen."""

    n: int
    message: ReceivedMessage
    due: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedInstance:
    """An instance that has just been locked for this process, with the messages waiting for it.

    `lock` is the worker id under which it is locked. `row` is known only of an instance that this process has just created.
    `is_live`: the stored history is that of the current generation, which has not ended.
    """

    n: int
    lock: int
    token: int
    instance_id: str
    is_entity: bool
    execution_id: str | None
    history_execution_id: str | None
    custom_status: str | None
    recovered: int
    is_live: bool
    deliveries: tuple[Delivery, ...]
    row: InstanceRow | None = None


@dataclass(slots=True)
class Effects:
    """Filled by one transaction on the writer thread, then read by the event loop only."""

    deliveries: list[Delivery] = field(default_factory=list)
    locked: list[LockedInstance] = field(default_factory=list)
    activities: list[ActivityWorkItem] = field(default_factory=list)
    updates: list[tuple[str, InstanceUpdate]] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    """Ids whose row was replaced, removed or changed in a way that `updates` does not say."""
    lost: list[int] = field(default_factory=list)
    """Instances (n) whose lock this process no longer has."""
    wakes: list[int] = field(default_factory=list)
    """Instants at which unlocked instances or activities will be ready; 0 = now."""
    foreign: bool = False
    """Other processes have written."""

    @property
    def is_empty(self) -> bool:
        return not (
            self.deliveries
            or self.locked
            or self.activities
            or self.updates
            or self.replaced
            or self.lost
            or self.wakes
            or self.foreign
        )
