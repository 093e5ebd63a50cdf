"""What an insert leaves in memory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from durable_ext.backends.sqlite import queries
from durable_ext.backends.sqlite.connection import connect
from durable_ext.backends.sqlite.inserts import insert
from durable_ext.backends.sqlite.schema import prepare_schema

LARGE = 80_000_000


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_large_value_is_not_kept_by_the_connection(tmp_path: Path) -> None:
    connection = connect(tmp_path / "hub.db", "NORMAL")
    prepare_schema(connection, tmp_path / "hub.db")
    text = "x" * LARGE
    before = resident_bytes()

    last = insert(connection, queries.insert_messages(2), (1, 0, "EventRaised", 0, text, 2, 0, "EventRaised", 0, "small"))
    after = resident_bytes()
    following = insert(connection, queries.insert_messages(1), (3, 0, "EventRaised", 0, "small"))
    found = connection.execute("SELECT message_id, n, length(body) FROM messages ORDER BY message_id").fetchall()
    connection.close()

    assert after - before < LARGE // 2
    assert (last, following) == (2, 3)
    assert found == [(1, 1, LARGE), (2, 2, 5), (3, 3, 5)]
