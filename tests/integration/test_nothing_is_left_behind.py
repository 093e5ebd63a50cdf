"""What an ended orchestration leaves in memory: nothing, and nothing that only the cycle collector could free."""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path

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
