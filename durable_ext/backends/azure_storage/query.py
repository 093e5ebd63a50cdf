"""Filters of multi-instance queries as OData text (pure).

Source: specs/azure-storage.md 9.4; strings as the provider's unit tests have them.
"""

from __future__ import annotations

from durable_ext.backends.azure_storage.key_encoding import escape_key
from durable_ext.backends.azure_storage.transport.table import literal
from durable_ext.core.instances import InstanceFilter
from durable_ext.core.timestamps import Ticks, ticks_to_round_trip_iso


def instance_filter_text(wanted: InstanceFilter) -> str:
    """Return the filter of a query; the empty text selects all rows."""
    conditions: list[str] = []
    if wanted.created_from is not None:
        conditions.append(f"CreatedTime ge {_date(wanted.created_from)}")
    if wanted.created_to is not None:
        conditions.append(f"CreatedTime le {_date(wanted.created_to)}")
    if wanted.statuses:
        statuses = sorted(wanted.statuses, key=lambda status: status.value)
        conditions.append(" or ".join(f"RuntimeStatus eq {literal(status.value)}" for status in statuses))
    if wanted.instance_id_prefix:
        conditions += _prefix(escape_key(wanted.instance_id_prefix))
    if not wanted.include_entities and not (wanted.instance_id_prefix or "").startswith("@"):
        conditions.append("PartitionKey lt '@' or PartitionKey ge 'A'")
    if not wanted.include_orchestrations:
        conditions += _prefix("@")
    if len(conditions) == 1:
        return conditions[0]
    return " and ".join(f"({condition})" for condition in conditions)


def _date(ticks: Ticks) -> str:
    return f"datetime'{ticks_to_round_trip_iso(ticks)}'"


def _prefix(prefix: str) -> list[str]:
    units = prefix.encode("utf-16-be", "surrogatepass")
    last = int.from_bytes(units[-2:], "big")
    if last == 0xFFFF:
        return [f"PartitionKey ge {literal(prefix)}"]
    end = (units[:-2] + (last + 1).to_bytes(2, "big")).decode("utf-16-be", "surrogatepass")
    return [f"PartitionKey ge {literal(prefix)}", f"PartitionKey lt {literal(end)}"]
