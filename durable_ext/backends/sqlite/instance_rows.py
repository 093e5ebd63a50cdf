"""Rows of the instances table ↔ `InstanceRow`, and what a checkpoint changes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from durable_ext.codec.compact import tags_from_text, tags_to_text
from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.instances import InstanceRow, InstanceUpdate

SMALL_TEXT: Final = 4096
"""Inputs and outputs with so many characters live in a table of their own."""


def storable(text: str | None) -> str | bytes | None:
    """Return a text as SQLite can hold it: lone surrogates, which UTF-8 forbids, make it bytes."""
    if text is None or text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def read_text(value: str | bytes | None) -> str | None:
    """Undo `storable`."""
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value


def row_from_columns(row: tuple[Any, ...]) -> InstanceRow:
    """Return the value of `queries.ROW_COLUMNS` + input + output."""
    (
        instance_id,
        execution_id,
        name,
        version,
        status,
        created_at,
        last_updated_at,
        completed_at,
        scheduled_start_at,
        generation,
        tags,
        custom_status,
        input_text,
        output,
    ) = row
    found: dict[str, Any] = {
        "instance_id": read_text(instance_id),
        "execution_id": read_text(execution_id),
        "name": read_text(name) or "",
        "version": read_text(version),
        "custom_status": read_text(custom_status),
        "input": read_text(input_text),
        "output": read_text(output),
    }
    return InstanceRow(
        status=OrchestrationStatus(status),
        created_at=last_updated_at if created_at is None else created_at,
        last_updated_at=last_updated_at,
        completed_at=completed_at,
        scheduled_start_at=scheduled_start_at,
        generation=generation,
        tags=tags_from_text(tags),
        **found,
    )


def update_columns(update: InstanceUpdate) -> list[Any]:
    """Return the values of `queries.UPDATE_ROW` up to `output`; large texts are `None` there."""
    return [
        storable(update.execution_id),
        update.last_updated_at,
        storable(update.custom_status),
        None if update.status is None else update.status.value,
        storable(update.name),
        storable(update.version),
        update.created_at,
        update.completed_at,
        update.scheduled_start_at,
        update.generation,
        tags_to_text(update.tags),
        small_text(update.input),
        small_text(update.output),
    ]


def large_texts(update: InstanceUpdate) -> list[tuple[str, str]]:
    """Return `(kind, text)` of what `update_columns` left out."""
    texts = (("input", update.input), ("output", update.output))
    return [(kind, text) for kind, text in texts if text is not None and len(text) >= SMALL_TEXT]


def small_text(text: str | None) -> str | bytes | None:
    """Return what the instances table holds of an input or output: `None` for a large one."""
    return None if text is None or len(text) >= SMALL_TEXT else storable(text)


def updated_row(row: InstanceRow, update: InstanceUpdate) -> InstanceRow:
    """Return the row as it is in the table after the update."""
    changes: dict[str, Any] = {
        "execution_id": update.execution_id,
        "last_updated_at": update.last_updated_at,
        "custom_status": update.custom_status,
    }
    for name in (
        "status",
        "name",
        "version",
        "created_at",
        "completed_at",
        "scheduled_start_at",
        "generation",
        "tags",
        "input",
        "output",
    ):
        value = getattr(update, name)
        if value is not None:
            changes[name] = value
    return replace(row, **changes)
