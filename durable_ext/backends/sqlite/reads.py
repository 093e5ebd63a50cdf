"""Queries on the reader thread: rows, pages, histories."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from durable_ext.backends.sqlite import queries
from durable_ext.backends.sqlite.connection import Connection, ReaderThread
from durable_ext.backends.sqlite.instance_rows import row_from_columns, storable
from durable_ext.codec.compact import events_from_texts
from durable_ext.core.events import HistoryEvent
from durable_ext.core.instances import InstanceFilter, InstancePage, InstanceRow
from durable_ext.errors import ContinuationTokenError

_TOKEN_MARK: Final = b"after:"
_MOST_ROWS: Final = 2**31 - 1
"""So many rows fit any page; larger numbers would not fit SQLite's integers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    """One page of `wanted`, after the instance id `after`."""

    wanted: InstanceFilter
    after: str
    size: int
    with_payloads: bool


class Reads:
    """Submits queries; every method returns a future of the event loop."""

    def __init__(self, reader: ReaderThread) -> None:
        self._reader = reader

    def rows(self, instance_ids: list[str]) -> asyncio.Future[list[InstanceRow | None]]:
        """The rows of these instances, `None` where there is none."""
        return self._reader.submit(_rows, instance_ids)

    def histories(self, n: int) -> asyncio.Future[tuple[HistoryEvent, ...]]:
        """The stored history of a locked instance."""
        return self._reader.submit(_histories, n)

    def history_of(self, instance_id: str) -> asyncio.Future[tuple[HistoryEvent, ...]]:
        """The current generation of an instance, empty if it has none yet."""
        return self._reader.submit(_histories_by_id, instance_id)

    def page(self, query: PageQuery) -> asyncio.Future[InstancePage]:
        return self._reader.submit(_pages, query)

    def hub_exists(self, task_hub: str) -> asyncio.Future[bool]:
        return self._reader.submit(_hub_names, task_hub)


def continuation_after(instance_id: str) -> str:
    """Return the token of the page that begins after this id."""
    return base64.urlsafe_b64encode(_TOKEN_MARK + instance_id.encode("utf-8", "surrogatepass")).decode()


def read_continuation(token: str | None) -> str:
    """Undo `continuation_after`; no token is the beginning.

    Raises:
        ContinuationTokenError: The text is no token of this store.
    """
    if token is None:
        return ""
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        if raw.startswith(_TOKEN_MARK):
            return raw[len(_TOKEN_MARK) :].decode("utf-8", "surrogatepass")
    except (ValueError, binascii.Error):
        pass
    raise ContinuationTokenError(token)


def _rows(connection: Connection, wanted: list[list[str]]) -> list[list[InstanceRow | None]]:
    found: dict[str, InstanceRow] = {}
    ids = list({instance_id for instance_ids in wanted for instance_id in instance_ids})
    for block in queries.in_blocks([storable(instance_id) for instance_id in ids]):
        for row in connection.execute(queries.read_rows(len(block)), tuple(block)):
            value = row_from_columns(row)
            found[value.instance_id] = value
    return [[found.get(instance_id) for instance_id in instance_ids] for instance_ids in wanted]


def _histories(connection: Connection, wanted: list[int]) -> list[Any]:
    """A damaged history is an error of its own instance only."""
    answers: list[Any] = []
    for n in wanted:
        texts = [events for (events,) in connection.execute(queries.READ_HISTORY, (n,))]
        try:
            answers.append(tuple(events_from_texts(texts)))
        except (ValueError, LookupError, TypeError) as error:
            answers.append(error)
    return answers


def _histories_by_id(connection: Connection, wanted: list[str]) -> list[Any]:
    answers: list[Any] = []
    for instance_id in wanted:
        found = connection.execute(queries.CURRENT_HISTORY, (storable(instance_id),)).fetchone()
        answers.extend(_histories(connection, [found[0]]) if found else [()])
    return answers


def _pages(connection: Connection, wanted: list[PageQuery]) -> list[InstancePage]:
    return [_page(connection, query) for query in wanted]


def _page(connection: Connection, query: PageQuery) -> InstancePage:
    wanted = query.wanted
    statuses = sorted(status.value for status in wanted.statuses)
    values: dict[str, Any] = {
        "after": storable(query.after),
        "first": storable(wanted.instance_id_prefix or ""),
        "beyond": _after_prefix(wanted.instance_id_prefix or ""),
        "created_from": wanted.created_from,
        "created_to": wanted.created_to,
        "entities": wanted.include_entities,
        "orchestrations": wanted.include_orchestrations,
        "limit": min(query.size, _MOST_ROWS) + 1,
    }
    values.update((f"s{index}", status) for index, status in enumerate(statuses))
    statement = queries.query_page(statuses=len(statuses), with_payloads=query.with_payloads)
    rows = [row_from_columns(row) for row in connection.execute(statement, values)]
    if len(rows) <= query.size:
        return InstancePage(rows=tuple(rows))
    rows.pop()
    return InstancePage(rows=tuple(rows), continuation=continuation_after(rows[-1].instance_id))


def _after_prefix(prefix: str) -> str | None:
    """Return the first text beyond all that begin with the prefix, in code point order; `None` if there is none."""
    while prefix:
        last = ord(prefix[-1]) + 1
        if last == 0xD800:
            last = 0xE000  # UTF-8 has no surrogates
        if last <= 0x10FFFF:
            return prefix[:-1] + chr(last)
        prefix = prefix[:-1]
    return None


def _hub_names(connection: Connection, wanted: Sequence[str]) -> list[bool]:
    names = {name for (name,) in connection.execute(queries.HUB_NAME)}
    return [name in names for name in wanted]
