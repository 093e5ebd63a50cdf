"""Every single storage call fails once, or its answer is lost: the worker lives on and reaches the same end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from durable_ext.runtime.settings import LocalActivities
from durable_ext.testing.faults import When
from tests.azurite import Azurite, running_azurite
from tests.support.crash_matrix import Scenario, azure_processes
from tests.support.crash_scenarios import ALL, Hello5
from tests.support.lost_calls import LossMatrix


@pytest.fixture
def azurite(tmp_path: Path) -> Iterator[Azurite]:
    with running_azurite(location=tmp_path / "azurite") as running:  # in memory it stops to collect garbage
        yield running


@pytest.mark.azurite
@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize(
    ("scenario", "local"),
    [
        pytest.param(scenario, local, marks=() if (scenario, local) == (Hello5, "on") else pytest.mark.slow)
        for scenario in ALL
        for local in ("on", "off")
    ],
)
async def test_a_storage_call_that_fails_changes_nothing(
    azurite: Azurite, scenario: type[Scenario], local: LocalActivities, when: When
) -> None:
    matrix = LossMatrix(open_backend=azure_processes(azurite.connection_string, 2), local=local)

    assert await matrix.run(scenario, when) > 3
