"""A process gets SIGKILL before and after every single storage call: the next one reaches the same end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azurite import Azurite
from support.crash_matrix import Scenario
from support.crash_scenarios import ALL, MORE, Purge
from support.killed_process import KillMatrix

from durable_ext.runtime.settings import LocalActivities
from durable_ext.testing.faults import When


def _cases() -> Iterator[Any]:
    """All modes and sides of the plain scenarios, one of those that the crash matrix plays in all modes, too.

    What is stored when a process dies before a call is what was stored when one died after the call before it.
    """
    for scenario in ALL:
        for modes in (("on", "off"), ("off", "on")):
            for when in When:
                by_default = (scenario, modes, when) == (Purge, ("on", "off"), When.AFTER)
                yield pytest.param(scenario, *modes, when, marks=() if by_default else pytest.mark.slow)
    for scenario in MORE:
        yield pytest.param(scenario, "on", "off", When.AFTER, marks=pytest.mark.slow)


@pytest.mark.azurite
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.parametrize(("scenario", "first", "second", "when"), list(_cases()))
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
