"""What client calls accept: a wrong value is refused where it is passed, with the names of call and argument.

Knows no store.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from durable_ext.core.instance_ids import check_whole_characters
from durable_ext.core.messages import InstanceId
from durable_ext.core.payloads import PayloadConverter
from durable_ext.core.timestamps import Ticks, ticks_from_datetime
from durable_ext.errors import ArgumentTypeError

_WHAT_JSON_HOLDS: Final = (
    "dict, list, str, int, float, bool or None, a dataclass, or an object of a class with to_json and from_json"
)


def existing_id(call: str, instance_id: str) -> InstanceId:
    """Return the id of an instance that is asked for; other workers may have made ids that this client would not.

    Raises:
        ArgumentTypeError: It is no text.
        InvalidArgumentError: It is no text that can be stored.
    """
    if not isinstance(instance_id, str):
        raise ArgumentTypeError(call, "instance_id", instance_id, "the instance id as a string")
    check_whole_characters("instance_id", "The instance id", instance_id)
    return InstanceId(instance_id)


def due_ticks(call: str, argument: str, moment: datetime | None) -> Ticks | None:
    """Return the ticks of a time at which something is due, `None` of none.

    Raises:
        ArgumentTypeError: It is something else.
    """
    if moment is None:
        return None
    if not isinstance(moment, datetime):
        raise ArgumentTypeError(call, argument, moment, "a datetime, as datetime(2030, 1, 31, tzinfo=timezone.utc)")
    return ticks_from_datetime(moment)


def value_text(converter: PayloadConverter, call: str, argument: str, value: Any) -> str:
    """Return the text of a value.

    Raises:
        ArgumentTypeError: JSON cannot hold it, or something in it.
        Exception: Whatever its own `to_json` raises.
    """
    try:
        return converter.to_text(value)
    except TypeError as error:
        raise ArgumentTypeError(call, argument, value, f"{_WHAT_JSON_HOLDS}: {error}") from error


def wrapped_text(converter: PayloadConverter, call: str, argument: str, value: Any) -> str | None:
    """Return the text of an input as a JSON string, which is how inputs are recorded; `None` of `None`.

    Raises:
        ArgumentTypeError: As `value_text`.
    """
    return None if value is None else converter.wrap_text(value_text(converter, call, argument, value))
