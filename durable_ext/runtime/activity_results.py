"""What an activity returned, as the JSON text that history records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from durable_ext.core.payloads import PayloadConverter, not_json
from durable_ext.failure import refusal

if TYPE_CHECKING:
    from durable_ext.runtime.registry import ActivityDefinition


@dataclass(frozen=True, slots=True)
class EncodedResult:
    """A return value that whoever called the activity has turned into text already; `None` for `None`."""

    text: str | None


def result_text(definition: ActivityDefinition, value: Any, converter: PayloadConverter) -> str | None:
    """Return the text of what an activity returned, `None` for `None`.

    Raises:
        TypeError: JSON cannot hold it; the text names the activity.
        ValueError: The same under the old import names, with the text that the Functions worker has for it.
        Exception: Whatever the value's own `to_json` raises.
    """
    if value.__class__ is EncodedResult:
        text: str | None = value.text
        return text
    if value is None:
        return None
    try:
        return (definition.converter or converter).output_text(value)
    except TypeError as error:
        if definition.keeps_1x:
            raise refusal(ValueError(f"activity trigger output must be json serializable ({value})")) from error
        raise not_json("activity", definition.name, value, error) from error
