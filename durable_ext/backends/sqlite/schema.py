"""Brings a hub file to the version of this package: schema.sql for a new file, migrations/*.sql for an older one."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Final

from durable_ext.backends.sqlite import queries
from durable_ext.backends.sqlite.connection import Connection
from durable_ext.core.timestamps import Ticks
from durable_ext.errors import ConfigurationError

APPLICATION_ID: Final = 0x64757261  # "dura"
SCHEMA_VERSION: Final = 2
_PACKAGE: Final = "durable_ext.backends.sqlite"


def bundled_schema() -> str:
    """Return schema.sql."""
    return files(_PACKAGE).joinpath("schema.sql").read_text(encoding="utf-8")


def bundled_migrations() -> dict[int, str]:
    """Return the SQL of migrations/NNNN_name.sql by the version it leads to."""
    found = {}
    for entry in files(_PACKAGE).joinpath("migrations").iterdir():
        match = re.match(r"(\d{4})_\w+\.sql$", entry.name)
        if match:
            found[int(match.group(1))] = entry.read_text(encoding="utf-8")
    return found


def prepare_schema(
    connection: Connection,
    path: Path,
    *,
    version: int = SCHEMA_VERSION,
    schema: str | None = None,
    migrations: dict[int, str] | None = None,
) -> None:
    """Create or upgrade the tables in one transaction; several processes may do it at once.

    Raises:
        ConfigurationError: The file is some other program's database, or of a newer version; it is left as it is.
    """
    if _check(connection, path, version) == version:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = _check(connection, path, version)  # another process may have been faster
        if found == 0:
            _run(connection, schema if schema is not None else bundled_schema())
        else:
            steps = migrations if migrations is not None else bundled_migrations()
            for step in range(found + 1, version + 1):
                _run(connection, steps[step])
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def check_hub_name(connection: Connection, path: Path, task_hub: str, now: Ticks) -> None:
    """Write the hub's name into a new file.

    Raises:
        ConfigurationError: The file holds another task hub.
    """
    names = [name for (name,) in connection.execute(queries.HUB_NAME)]
    if not names:
        connection.execute(queries.CREATE_HUB, (task_hub, now))
    elif task_hub not in names:
        raise ConfigurationError(
            f"The file '{path}' holds the task hub '{names[0]}', not '{task_hub}'. Use that name (hubName in host.json), or "
            f"another file for the new hub."
        )


def _check(connection: Connection, path: Path, version: int) -> int:
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    tables: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and application != APPLICATION_ID:
        raise ConfigurationError(
            f"The file '{path}' is a database of another program, not a task hub. Choose another place for the hub."
        )
    if found > version:
        raise ConfigurationError(
            f"The task hub file '{path}' has schema version {found}; this durable_ext knows versions up to {version}. It "
            f"was not changed. Upgrade durable_ext, or use another file."
        )
    return found


def _run(connection: Connection, script: str) -> None:
    """Execute a script inside the open transaction (`executescript` would commit it first)."""
    without_comments = re.sub(r"--[^\n]*", "", script)
    for statement in without_comments.split(";"):
        if statement.strip():
            connection.execute(statement)
