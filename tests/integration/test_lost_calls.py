"""Every single storage call fails once, or its answer is lost: the worker lives on and reaches the same end."""

from __future__ import annotations

import pytest
from azurite import Azurite
from support.crash_matrix import Scenario, azure_processes
from support.crash_scenarios import ALL, MORE, Hello5
from support.lost_calls import LossMatrix

from durable_ext.runtime.settings import LocalActivities
from durable_ext.testing.faults import When

BY_DEFAULT = (Hello5, "on", When.AFTER)


@pytest.mark.azurite
# Calls that are not sent are played by test_failed_calls.py, too.
@pytest.mark.parametrize(
    ("scenario", "local", "when"),
    [
        pytest.param(scenario, local, when, marks=() if (scenario, local, when) == BY_DEFAULT else pytest.mark.slow)
        for scenario in (*ALL, *MORE)
        for local in ("on", "off")
        for when in When
    ],
)
async def test_a_storage_call_that_fails_changes_nothing(
    azurite_on_disk: Azurite, scenario: type[Scenario], local: LocalActivities, when: When
) -> None:
    matrix = LossMatrix(open_backend=azure_processes(azurite_on_disk.connection_string, 2), local=local)

    assert await matrix.run(scenario, when) > 3
