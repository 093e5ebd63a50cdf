"""Where a hub lies in tests that run on both stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.azurite import running_azurite


@contextmanager
def place_of(store: str, folder: Path) -> Iterator[str]:
    """Give the path of a file in `folder` (store "sqlite"), or the connection string of an emulator of its own ("azure")."""
    if store == "sqlite":
        yield str(folder / "hub.db")
        return
    with running_azurite() as azurite:
        yield azurite.connection_string
