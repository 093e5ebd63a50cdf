"""Inserts that leave no large values behind: a cached statement keeps what was bound last until it is used again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from durable_ext.backends.sqlite.connection import Connection

_LARGE: Final = 1_000_000


def insert(connection: Connection, statement: str, values: Sequence[Any]) -> int:
    """Execute `INSERT ... VALUES ...` and return the id of its last row.

    With a text of a million characters or more it has a condition, and is executed once more with the condition false and
    nothing bound: that inserts no row and frees what was bound.
    """
    for value in values:
        if (value.__class__ is str or value.__class__ is bytes) and len(value) >= _LARGE:
            break
    else:
        return connection.execute(statement, values).lastrowid or 0
    conditional = statement.replace("VALUES", "SELECT * FROM (VALUES", 1) + ") WHERE ?"
    try:
        return connection.execute(conditional, (*values, 1)).lastrowid or 0
    finally:
        connection.execute(conditional, (*[None] * len(values), 0))
