"""What tests on real storage share."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.store_place import STORES, HubPlace


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, tmp_path: Path, task_hub: str) -> HubPlace:
    """A hub in a file, and once more in the emulator of the module."""
    if request.param == "sqlite":
        return HubPlace(store="sqlite", address=str(tmp_path / "hub.db"), task_hub=task_hub)
    return HubPlace(store="azure", address=request.getfixturevalue("azurite").connection_string, task_hub=task_hub)
