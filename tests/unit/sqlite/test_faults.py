"""What errors of SQLite become."""

from __future__ import annotations

import shutil
import sqlite3
from collections import namedtuple
from pathlib import Path

import pytest

from durable_ext.backends.sqlite.faults import translate
from durable_ext.errors import BackendUnavailableError

DiskUsage = namedtuple("DiskUsage", "total used free")


@pytest.mark.parametrize(("free", "expected"), [(0, "is full (0 bytes are free)"), (10**9, "Check the disk")])
def test_an_input_output_error_on_a_disk_without_space_is_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, expected: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: DiskUsage(10**9, 10**9 - free, free))

    error = translate(sqlite3.OperationalError("disk I/O error"), tmp_path / "hub.db")

    assert isinstance(error, BackendUnavailableError)
    assert expected in str(error)
