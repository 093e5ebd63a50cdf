"""One history event as the columns of a row, and back; knows no table.

Source: specs/azure-storage.md 5.2, 5.3.
"""

from __future__ import annotations

from typing import Any, Final

from durable_ext.backends.azure_storage.large_payloads import check_plain_column
from durable_ext.backends.azure_storage.transport.edm import EdmDateTime, EdmOther, EdmValue
from durable_ext.codec.event_members import EVENT_CLASS_BY_NAME, EVENT_MEMBERS, EVENT_NAMES, NESTED_KINDS, Kind
from durable_ext.codec.wire import build_event, column_text, column_value, dump_json
from durable_ext.core.events import HistoryEvent, OrchestrationStatus, UnknownEvent
from durable_ext.core.timestamps import Ticks, ticks_from_iso, ticks_to_round_trip_iso

_FIRST_DATE: Final = ticks_from_iso("1601-01-01T00:00:00Z")  # the service refuses earlier ones, and the whole batch
_PLAIN_TEXT_COLUMNS: Final = frozenset({"Data", "Version"})


def event_to_columns(event: HistoryEvent, execution_id: str) -> dict[str, EdmValue]:
    """Return the columns of an event, keys excluded; null members have no column."""
    cls = type(event)
    out: dict[str, EdmValue] = {}
    for member in EVENT_MEMBERS[cls]:
        kind = member.kind
        if kind is Kind.EVENT_TYPE:
            out["EventType"] = EVENT_NAMES[cls]
            continue
        value = getattr(event, member.attribute)
        if kind in NESTED_KINDS:
            out[member.name] = column_text(kind, value)
        elif value is None:
            continue
        elif kind is Kind.DATE:
            name = "_Timestamp" if member.name == "Timestamp" else member.name
            out[name] = EdmDateTime(table_date(value))
        elif kind is Kind.STATUS:
            out[member.name] = value.value
        else:
            if member.name in _PLAIN_TEXT_COLUMNS:
                check_plain_column(f"{cls.__name__}.{member.attribute}", value)
            out[member.name] = value
    out["ExecutionId"] = execution_id
    return out


def table_date(ticks: Ticks) -> str:
    """Return an instant as the provider writes it into a column: always seven digits and `Z`; none before 1601."""
    return ticks_to_round_trip_iso(ticks if ticks > _FIRST_DATE else _FIRST_DATE)


def date_column(value: Any) -> Ticks:
    return ticks_from_iso(value.text if isinstance(value, (EdmDateTime, EdmOther)) else _text_column(value))


def _text_column(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


def _nested(kind: Kind) -> Any:
    return lambda text: column_value(kind, _text_column(text))


def _int_column(value: Any) -> int:
    number = int(value.text) if isinstance(value, EdmOther) else value
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"{value!r} is not an integer")
    return number


def _bool_column(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is not a boolean")
    return value


_COLUMN_DECODERS: Final[dict[Kind, Any]] = {
    Kind.TEXT: _text_column,
    Kind.BOOL: _bool_column,
    Kind.DATE: date_column,
    Kind.STATUS: OrchestrationStatus,
    Kind.INT: _int_column,
    **{kind: _nested(kind) for kind in NESTED_KINDS},
}


def event_from_columns(columns: dict[str, EdmValue]) -> HistoryEvent:
    """Return the event of a row; a type that is not known becomes an `UnknownEvent` with the row as JSON.

    Raises:
        WireFormatError: A column cannot be read.
    """
    name = columns.get("EventType")
    values: dict[str, Any] = dict(columns)
    values["Timestamp"] = values.pop("_Timestamp", None)
    cls = EVENT_CLASS_BY_NAME.get(name) if isinstance(name, str) else None
    if cls is None:
        plain = {key: value.text if isinstance(value, (EdmDateTime, EdmOther)) else value for key, value in columns.items()}
        timestamp = values["Timestamp"]
        return UnknownEvent(
            timestamp=date_column(timestamp) if isinstance(timestamp, EdmDateTime) else Ticks(0),
            kind=str(name),
            raw=dump_json(plain),
        )
    return build_event(cls, values, _COLUMN_DECODERS)
