"""Typed table values and their JSON; texts of dates keep their seventh digit.

Source: specs/azure-storage.md 5.2, 13 (16 to 18).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Union

import orjson

_TYPE: Final = "@odata.type"
_SYSTEM: Final = frozenset({"odata.etag", "odata.metadata", "odata.type", "odata.id", "odata.editLink", "Timestamp"})


@dataclass(frozen=True, slots=True)
class EdmDateTime:
    """An Edm.DateTime as text, e.g. `2024-05-06T07:08:09.1234567Z`."""

    text: str


@dataclass(frozen=True, slots=True)
class EdmOther:
    """A value of a type we never write (Int64, Guid, Binary, Double as text): kept as it is."""

    edm_type: str
    text: str


EdmValue = Union[str, bool, int, float, EdmDateTime, EdmOther]
"""A column value; `int` is Edm.Int32. A null column is an absent one."""

Entity = Mapping[str, EdmValue]
"""Columns by name, `PartitionKey` and `RowKey` among them."""


@dataclass(frozen=True, slots=True)
class Row:
    """A stored entity and its ETag."""

    entity: dict[str, EdmValue]
    etag: str


def entity_to_json(entity: Entity, *, ascii_only: bool = False) -> bytes:
    """Return the JSON of an entity, with type annotations where JSON alone would not tell.

    `ascii_only` escapes all else: the emulator breaks characters that lie across two network reads, and answers 500 to
    a batch with a literal line separator.
    """
    out: dict[str, Any] = {}
    for name, value in entity.items():
        if isinstance(value, EdmDateTime):
            out[name + _TYPE] = "Edm.DateTime"
            out[name] = value.text
        elif isinstance(value, EdmOther):
            out[name + _TYPE] = value.edm_type
            out[name] = value.text
        else:
            out[name] = value
    try:
        text = orjson.dumps(out)
    except TypeError:  # a lone surrogate; .NET strings may hold one
        return json.dumps(out, separators=(",", ":")).encode()
    if ascii_only and not text.isascii():
        return json.dumps(out, separators=(",", ":")).encode()
    return text


def load_json(body: bytes) -> Any:
    """Parse an answer; lone surrogates are accepted."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return json.loads(body)


def row_from_json(value: Mapping[str, Any], etag: str = "") -> Row:
    """Return the row of a JSON object with minimal metadata; null columns are dropped."""
    entity: dict[str, EdmValue] = {}
    for name, column in value.items():
        if column is None or name in _SYSTEM or name.endswith(_TYPE):
            continue
        edm_type = value.get(name + _TYPE)
        if edm_type is None or edm_type in ("Edm.String", "Edm.Int32", "Edm.Boolean"):
            entity[name] = column
        elif edm_type == "Edm.DateTime":
            entity[name] = EdmDateTime(column)
        else:
            entity[name] = EdmOther(edm_type, column)
    return Row(entity, value.get("odata.etag") or etag)


def rows_from_json(body: bytes) -> list[Row]:
    """Return the rows of a query's answer."""
    values: Iterable[Mapping[str, Any]] = load_json(body)["value"]
    return [row_from_json(value) for value in values]
