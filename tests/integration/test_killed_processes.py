"""A process gets SIGKILL before and after every single storage call: the next one reaches the same end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from azurite import Azurite
from support.crash_matrix import Scenario
from support.crash_scenarios import ALL, MORE, Purge
from support.killed_process import KillMatrix

from durable_ext.runtime.settings import LocalActivities
from durable_ext.testing.faults import When


# What is stored when a process dies before a call is what was stored when one died after the call before it.
@pytest.mark.azurite
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.parametrize("when", [When.AFTER, pytest.param(When.BEFORE, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "scenario", [pytest.param(kind, marks=() if kind is Purge else pytest.mark.slow) for kind in (*ALL, *MORE)]
)
@pytest.mark.parametrize(("first", "second"), [("on", "off"), pytest.param("off", "on", marks=pytest.mark.slow)])
async def test_a_sigkill_at_any_storage_call_changes_nothing(
    azurite_on_disk: Azurite,
    tmp_path: Path,
    scenario: type[Scenario],
    first: LocalActivities,
    second: LocalActivities,
    when: When,
) -> None:
    matrix = KillMatrix(
        connection=azurite_on_disk.connection_string, partitions=2, first=first, second=second, folder=tmp_path
    )

    assert await matrix.run(scenario, when) > 3
