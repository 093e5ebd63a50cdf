"""Filters of multi-instance queries as OData text (pure).

Source: specs/azure-storage.md 9.4; strings as the provider's unit tests have them.
"""

from __future__ import annotations

import sys
from typing import Final

from durable_ext.backends.azure_storage.event_columns import table_date
from durable_ext.backends.azure_storage.key_encoding import escape_key
from durable_ext.backends.azure_storage.transport.table import literal
from durable_ext.core.instances import InstanceFilter
from durable_ext.core.timestamps import Ticks

_FIRST_HALF: Final = 0xD800  # of characters beyond U+FFFF
_BEHIND_THE_HALVES: Final = 0xE000


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
    return f"datetime'{table_date(ticks)}'"


def _prefix(prefix: str) -> list[str]:
    start, rest = f"PartitionKey ge {literal(prefix)}", prefix.rstrip("\uffff")
    return [start, f"PartitionKey lt {literal(rest[:-1] + _following(rest[-1]))}"] if rest else [start]


def _following(char: str) -> str:
    """Return the next character in the order of UTF-16, which is that of keys; half of one cannot stand in a URL."""
    code = ord(char) + 1
    if code == _FIRST_HALF:
        return chr(0x10000)
    return chr(_BEHIND_THE_HALVES if code > sys.maxunicode else code)
