"""What orchestrations leave in memory: an ended one nothing, a long one nothing of its former generations."""

from __future__ import annotations

import gc
from collections import Counter, deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from azure_hub import run_azure_hub, short_settings
from azurite import Azurite

from durable_ext.backends.azure_storage.session import AzureSession
from durable_ext.backends.sqlite.session import SqliteSession
from durable_ext.client.client import DurableClient
from durable_ext.core.entities.ids import EntityId
from durable_ext.testing.eventually import eventually
from durable_ext.testing.task_hub import RunningTaskHub, run_task_hub
from tests.bench.functions import GREETINGS, bench_registry

OURS = "durable_ext."


async def run_hello5(hub: RunningTaskHub) -> None:
    instance_id = await hub.client.start("hello5")
    assert (await hub.client.wait_for_completion(instance_id)).output == GREETINGS


def living() -> Counter[str]:
    """Count the objects of our classes that the collector knows."""
    return Counter(type(each).__qualname__ for each in gc.get_objects() if str(type(each).__module__).startswith(OURS))


async def test_an_ended_orchestration_is_freed_without_the_cycle_collector(tmp_path: Path) -> None:
    async with run_task_hub(tmp_path / "hub.db", bench_registry()) as hub:
        await run_hello5(hub)
        gc.collect()
        gc.disable()
        try:
            before = living()
            for _ in range(5):
                await run_hello5(hub)
            await eventually(lambda: sum((living() - before).values()) < 5, "objects of ended orchestrations are left")
        finally:
            gc.enable()


HOT = EntityId("Counter", "hot")
CONTAINERS = (dict, list, tuple, set, frozenset, deque)


def texts_of(session: object) -> int:
    """Count the texts in the containers that a session owns."""
    names = [name for each in type(session).__mro__ for name in getattr(each, "__slots__", ())]
    own = [getattr(session, name, None) for name in names] + list(getattr(session, "__dict__", {}).values())
    return sum(1 for value in own for _ in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, CONTAINERS):
        for inner in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _texts(inner)


def living_session(kind: type) -> Any:
    """Return the session of the counter; what other tests of this process have left behind is none of it."""
    gc.collect()
    (session,) = [
        each for each in gc.get_objects() if isinstance(each, kind) and each.instance.instance_id == HOT.instance_id
    ]
    return session


async def count_to(client: DurableClient, last: int) -> None:
    """Signal a counter one time after the other; what it does for each signal is a generation of its own."""

    async def is_at(expected: int) -> bool:
        return (await client.read_entity(HOT)).state == expected

    first = (await client.read_entity(HOT)).state or 0
    for number in range(first, last):
        await client.signal_entity(HOT, "add", 1)
        await eventually(partial(is_at, number + 1), "the signal did nothing")


async def texts_after(client: DurableClient, kind: type) -> tuple[int, int]:
    """Return how many texts the session of the counter holds after 15 and after 60 generations."""
    await count_to(client, 15)
    early = texts_of(living_session(kind))
    await count_to(client, 60)
    return early, texts_of(living_session(kind))


async def test_a_session_on_sqlite_forgets_former_generations(tmp_path: Path) -> None:
    async with run_task_hub(tmp_path / "hub.db", bench_registry()) as hub:
        early, late = await texts_after(hub.client, SqliteSession)

    assert late <= early + 5


@pytest.mark.azurite
async def test_a_session_on_azure_storage_forgets_former_generations(azurite: Azurite, task_hub: str) -> None:
    async with run_azure_hub(short_settings(azurite, task_hub), bench_registry()) as hub:
        early, late = await texts_after(hub.client, AzureSession)

    assert late <= early + 5
