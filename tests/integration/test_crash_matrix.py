"""A process is killed before and after every single storage call: the next one reaches the same end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from azurite import Azurite, running_azurite
from support.crash_matrix import CrashMatrix, Scenario, azure_processes
from support.crash_scenarios import ALL, EVERYTHING, MORE, FanOut, Hello5, LongChain
from support.mortal_sqlite import every_write, sqlite_processes

from durable_ext.runtime.settings import LocalActivities
from durable_ext.testing.faults import When


@pytest.fixture
def azurite() -> Iterator[Azurite]:
    with running_azurite() as running:  # fresh for each test: after a minute in memory it stops to collect garbage
        yield running


# What the process that dies and the one that goes on do with activities. "on", "off" is invariant I1 of design.md 5.
MODES = [("on", "off"), ("on", "on"), ("off", "off")]


# Before a call as much is stored as after the call before it: with many calls that side is left to the slow run.
SIDES = [pytest.param(When.BEFORE, marks=pytest.mark.slow), When.AFTER]


@pytest.mark.azurite
@pytest.mark.parametrize(
    ("scenario", "first", "second", "when"),
    [
        (Hello5, "on", "off", When.BEFORE),
        (Hello5, "on", "off", When.AFTER),
        (FanOut, "on", "off", When.BEFORE),
        (FanOut, "on", "off", When.AFTER),
        (FanOut, "off", "off", When.AFTER),
        pytest.param(LongChain, "on", "off", When.AFTER, marks=pytest.mark.slow),
        pytest.param(LongChain, "batched", "off", When.AFTER, marks=pytest.mark.slow),
        pytest.param(LongChain, "batched", "batched", When.AFTER, marks=pytest.mark.slow),
        pytest.param(Hello5, "off", "off", When.AFTER, marks=pytest.mark.slow),
        pytest.param(Hello5, "off", "off", When.BEFORE, marks=pytest.mark.slow),
        pytest.param(FanOut, "off", "off", When.BEFORE, marks=pytest.mark.slow),
    ],
)
async def test_a_crash_at_any_storage_call_changes_nothing(
    azurite: Azurite, scenario: type[Scenario], first: LocalActivities, second: LocalActivities, when: When
) -> None:
    matrix = CrashMatrix(open_backend=azure_processes(azurite.connection_string, 1), first=first, second=second)

    assert await matrix.run(scenario, when) > 5


@pytest.mark.azurite
@pytest.mark.slow
@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize(("first", "second"), [("on", "on"), ("off", "off")])
@pytest.mark.parametrize("scenario", EVERYTHING)
async def test_a_crash_at_any_storage_call_changes_nothing_on_two_partitions(
    azurite_on_disk: Azurite, scenario: type[Scenario], first: LocalActivities, second: LocalActivities, when: When
) -> None:
    matrix = CrashMatrix(open_backend=azure_processes(azurite_on_disk.connection_string, 2), first=first, second=second)

    assert await matrix.run(scenario, when) > 3


@pytest.mark.parametrize("when", SIDES)
@pytest.mark.parametrize(
    ("first", "second"), [("on", "on"), *(pytest.param(*modes, marks=pytest.mark.slow) for modes in MODES[::2])]
)
@pytest.mark.parametrize("scenario", [*ALL, *(pytest.param(kind, marks=pytest.mark.slow) for kind in (LongChain, *MORE))])
async def test_a_crash_at_any_write_to_the_embedded_store_changes_nothing(
    tmp_path: Path, scenario: type[Scenario], first: LocalActivities, second: LocalActivities, when: When
) -> None:
    matrix = CrashMatrix(open_backend=sqlite_processes(tmp_path), first=first, second=second, counts=every_write)

    assert await matrix.run(scenario, when) > 1
