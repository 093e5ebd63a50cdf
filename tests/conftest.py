"""What every test has: assertion rewriting for the shipped contract, and a task hub name of its own."""

from __future__ import annotations

import uuid
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("busy", deadline=None)  # an example may meet a busy moment of the machine
hypothesis.settings.load_profile("busy")

CONTRACT_MODULES = sorted(
    f"durable_ext.testing.{path.stem}"
    for path in (Path(__file__).resolve().parents[1] / "durable_ext" / "testing").glob("contract*.py")
)
pytest.register_assert_rewrite(*CONTRACT_MODULES)

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture
def task_hub() -> str:
    """A task hub name that no other test uses: letters and digits, starting with a letter."""
    return f"Hub{uuid.uuid4().hex[:12]}"
