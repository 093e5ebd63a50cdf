"""Orchestrations of seven kinds that say in their outputs whatever they were told, for tests that kill their workers.

Run as a program it is a worker process: `python -m support.chaos_app LOG WORKER CONNECTION HUB LOCAL_ACTIVITIES`; it
stops at the end of its input.
"""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from typing import Any

from azure_hub import run_azure_hub

from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.core.entities.ids import EntityId
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.settings import LocalActivities, WorkerSettings
from support.functions import registry_of

FIRST = "-"
COUNTERS = 5
KINDS = ("hello5", "fan_out", "parent", "timer", "event", "eternal", "counting")


def chaos_settings(connection: str, task_hub: str, worker_id: str) -> AzureStorageSettings:
    """Leases and messages that are soon forgotten, and still outlive a busy moment of the emulator."""
    return AzureStorageSettings(
        connection=connection,
        task_hub=task_hub,
        worker_id=worker_id,
        control_queue_visibility=timedelta(seconds=5),
        work_item_queue_visibility=timedelta(seconds=5),
        max_queue_polling_interval=timedelta(milliseconds=500),
        lease_interval=timedelta(seconds=5),
        lease_acquire_interval=timedelta(seconds=1),
        use_app_lease=False,
    )


def chaos_registry(log: Path) -> FunctionRegistry:
    """Return the functions; each activity appends `INSTANCE LABEL GIVEN TOKEN PID` to the log before it returns."""

    async def mint(order: list[str]) -> str:
        instance_id, label, given = order
        token = uuid.uuid4().hex
        file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{instance_id} {label} {given} {token} {os.getpid()}\n".encode())
        os.close(file)
        await asyncio.sleep(0.02)
        return token

    orchestrators = [hello5, fan_out, parent, child, timer, event, eternal, counting]
    return registry_of(orchestrators=orchestrators, activities=[mint], entities=[counter])


def _mint(context: Any, label: str, given: str) -> Any:
    return context.call_activity("mint", [context.instance_id, label, given])


def hello5(context: Any) -> Generator[Any, Any, list[str]]:
    tokens = [FIRST]
    for step in range(5):
        tokens.append((yield _mint(context, f"step{step}", tokens[-1])))
    return tokens[1:]


def fan_out(context: Any) -> Generator[Any, Any, list[str]]:
    seed = yield _mint(context, "seed", FIRST)
    wave = yield context.task_all([_mint(context, f"leaf{number}", seed) for number in range(8)])
    last = yield _mint(context, "last", wave[3])
    return [seed, *wave, last]


def parent(context: Any) -> Generator[Any, Any, list[str]]:
    first = yield _mint(context, "first", FIRST)
    one = yield context.call_sub_orchestrator("child", first, f"{context.instance_id}-child")
    two = yield context.call_sub_orchestrator("child", one[-1])
    last = yield _mint(context, "last", two[-1])
    return [first, *one, *two, last]


def child(context: Any) -> Generator[Any, Any, list[str]]:
    one = yield _mint(context, "one", context.get_input())
    two = yield _mint(context, "two", one)
    return [one, two]


def timer(context: Any) -> Generator[Any, Any, list[str]]:
    before = yield _mint(context, "before", FIRST)
    yield context.create_timer(context.current_utc_datetime + timedelta(seconds=1))
    after = yield _mint(context, "after", before)
    return [before, after]


def event(context: Any) -> Generator[Any, Any, list[str]]:
    before = yield _mint(context, "before", FIRST)
    value = yield context.wait_for_external_event("go")
    after = yield _mint(context, f"after{value}", before)
    return [before, after]


def eternal(context: Any) -> Generator[Any, Any, list[str]]:
    tokens: list[str] = context.get_input() or []
    tokens.append((yield _mint(context, f"round{len(tokens)}", tokens[-1] if tokens else FIRST)))
    if len(tokens) < 3:
        context.continue_as_new(tokens)
    return tokens


def counting(context: Any) -> Generator[Any, Any, list[str]]:
    """Three operations on one counter, each with a key of its own: called, signalled, called."""
    entity = EntityId("counter", str(sum(context.instance_id.encode()) % COUNTERS))
    token = yield _mint(context, "before", FIRST)
    yield context.call_entity(entity, "count", f"{context.instance_id} called")
    context.signal_entity(entity, "count", f"{context.instance_id} signalled")
    after = yield _mint(context, "after", token)
    yield context.call_entity(entity, "count", f"{context.instance_id} again")
    return [token, after]


def counter(context: Any) -> None:
    """The state is how often each key was counted."""
    counts = context.get_state(dict)
    counts[context.get_input()] = counts.get(context.get_input(), 0) + 1
    context.set_state(counts)
    context.set_result(len(counts))


async def main(log: Path, worker_id: str, connection: str, task_hub: str, local_activities: LocalActivities) -> None:
    """Work until the other end of the input is closed."""
    worker = WorkerSettings(local_activities=local_activities, session_idle_timeout=timedelta(seconds=2))
    settings = chaos_settings(connection, task_hub, worker_id)
    async with run_azure_hub(settings, chaos_registry(log), worker_settings=worker):
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5]))  # type: ignore[arg-type]
