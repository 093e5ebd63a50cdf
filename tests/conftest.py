"""What every test has: assertion rewriting for the shipped contract, and a task hub name of its own."""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
from azurite import Azurite, AzuriteInTurns, running_azurite

hypothesis.settings.register_profile("busy", deadline=None)  # an example may meet a busy moment of the machine
hypothesis.settings.load_profile("busy")

CONTRACT_MODULES = sorted(
    f"durable_ext.testing.{path.stem}"
    for path in (Path(__file__).resolve().parents[1] / "durable_ext" / "testing").glob("contract*.py")
)
pytest.register_assert_rewrite(*CONTRACT_MODULES)

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape halves of characters in captured output: what one process of the tests reports travels to another as UTF-8."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    return report


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture
def task_hub() -> str:
    """A task hub name that no other test uses: letters and digits, starting with a letter."""
    return f"Hub{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def azurite_in_turns() -> Iterator[AzuriteInTurns]:
    with AzuriteInTurns() as in_turns:
        yield in_turns


@pytest.fixture(scope="module")
def azurite(azurite_in_turns: AzuriteInTurns) -> Azurite:
    """An emulator in memory for the tests of one module, which use hubs, tables and queues with names of their own.

    Tests that stop or freeze one run their own, and what uses it heavily for a minute takes `azurite_on_disk`.
    """
    return azurite_in_turns.next()


@pytest.fixture
def azurite_on_disk(tmp_path: Path) -> Iterator[Azurite]:
    """Run an emulator for one test that stores its messages in files: it never stops to collect garbage."""
    with running_azurite(location=tmp_path / "azurite") as running:
        yield running
