"""InstanceQuery and StatusPage: which instances a client asks for, and a page of answers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from durable_ext.client.status import InstanceStatus
from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.instance_ids import check_whole_characters
from durable_ext.core.instances import InstanceFilter
from durable_ext.core.timestamps import Ticks, ticks_from_datetime
from durable_ext.errors import ArgumentTypeError

CONTINUATION_HEADER: Final = "x-ms-continuation-token"
"""The header of the management API that asks for the page after another, and names the next one."""

TERMINAL_STATUSES = frozenset(status for status in OrchestrationStatus if status.is_terminal)
ACTIVE_STATUSES = frozenset(OrchestrationStatus) - TERMINAL_STATUSES


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceQuery:
    """Restrictions that are all met; an empty one does not restrict.

    Times are inclusive bounds on the creation time; a naive one is read as UTC. `page_size` is what one request to the
    store returns at most. `with_payloads=False` leaves inputs and outputs out, which is much cheaper.

    Raises:
        ArgumentTypeError: `runtime_status` holds something else than statuses, a bound is no time, the prefix no text.
        InvalidArgumentError: The prefix holds half a character.
    """

    runtime_status: Collection[OrchestrationStatus] = ()
    created_from: datetime | None = None
    created_to: datetime | None = None
    instance_id_prefix: str | None = None
    include_entities: bool = True
    page_size: int = 100
    with_payloads: bool = True

    def __post_init__(self) -> None:
        statuses = self.runtime_status
        if not isinstance(statuses, Collection) or not all(isinstance(each, OrchestrationStatus) for each in statuses):
            wanted = "a collection of OrchestrationStatus, as [OrchestrationStatus.RUNNING]"
            raise ArgumentTypeError("InstanceQuery", "runtime_status", statuses, wanted)
        for label, moment in (("created_from", self.created_from), ("created_to", self.created_to)):
            if moment is not None and not isinstance(moment, datetime):
                raise ArgumentTypeError("InstanceQuery", label, moment, "a datetime, or None")
        check_prefix("InstanceQuery", "instance_id_prefix", self.instance_id_prefix)

    def to_filter(self) -> InstanceFilter:
        """Return the same restrictions as a store wants them."""
        return InstanceFilter(
            statuses=frozenset(self.runtime_status),
            created_from=optional_ticks(self.created_from),
            created_to=optional_ticks(self.created_to),
            instance_id_prefix=self.instance_id_prefix or None,
            include_entities=self.include_entities,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPage:
    """Ordered by instance id. A page may be empty and still have a `continuation`; `None` = no more pages."""

    statuses: tuple[InstanceStatus, ...]
    continuation: str | None = None


def check_prefix(query: str, label: str, prefix: str | None) -> None:
    """Refuse a beginning of ids that is no text, or one with which none can begin.

    Raises:
        ArgumentTypeError, InvalidArgumentError: See above.
    """
    if prefix is None:
        return
    if not isinstance(prefix, str):
        raise ArgumentTypeError(query, label, prefix, "a text, or None")
    check_whole_characters(label, f"{label} of {query}", prefix)


def optional_ticks(moment: datetime | None) -> Ticks | None:
    """Return the ticks of a time, `None` of none."""
    return None if moment is None else ticks_from_datetime(moment)
