"""A process is killed at any storage call; one that does otherwise with activities goes on where it stopped."""

from __future__ import annotations

import pytest
from azurite import Azurite
from support.crash_matrix import CrashMatrix, Scenario, azure_processes
from support.crash_scenarios import ALL

from durable_ext.runtime.settings import LocalActivities
from durable_ext.testing.faults import When


@pytest.mark.azurite
@pytest.mark.slow
@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize(("first", "second"), [("on", "off"), ("off", "on"), ("batched", "off")])
@pytest.mark.parametrize("scenario", ALL)
async def test_a_worker_with_other_settings_goes_on_after_a_crash_at_any_storage_call(
    azurite_on_disk: Azurite, scenario: type[Scenario], first: LocalActivities, second: LocalActivities, when: When
) -> None:
    matrix = CrashMatrix(open_backend=azure_processes(azurite_on_disk.connection_string, 2), first=first, second=second)

    assert await matrix.run(scenario, when) > 3
