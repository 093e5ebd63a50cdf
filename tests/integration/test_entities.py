"""Entities, locks and signals on the engine and a real SQLite hub: counts are exact, critical sections exclusive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from durable_ext.core.context import OrchestrationContext
from durable_ext.core.entities.context import EntityContext
from durable_ext.core.entities.definitions import EntityDefinition
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.orchestrators import OrchestratorDefinition
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.testing.eventually import eventually
from durable_ext.testing.task_hub import RunningTaskHub, run_task_hub

ACCOUNTS = [EntityId("Account", str(number)) for number in range(4)]


def account(context: EntityContext) -> Any:
    """deposit, withdraw (raises when the balance is too low), balance, tell (passes a deposit on)."""
    balance = context.get_state(lambda: 0)
    amount = context.get_input()
    if context.operation_name == "deposit":
        context.set_state(balance + amount)
    elif context.operation_name == "withdraw":
        context.set_state(balance - amount)
        if balance < amount:
            raise ValueError(f"only {balance} left")
    elif context.operation_name == "tell":
        context.signal_entity(EntityId("Account", amount["to"]), "deposit", amount["amount"])
    elif context.operation_name == "begin":
        return context.start_new_orchestration("echo", amount, "started-by-entity")
    return context.get_state(lambda: 0)


async def slow_counter(context: EntityContext) -> None:
    before = context.get_state(lambda: 0)
    await asyncio.sleep(0)
    context.set_state(before + 1)


def transfer(context: OrchestrationContext) -> Generator[Any, Any, Any]:
    order = context.get_input()
    source, target = EntityId("Account", order["from"]), EntityId("Account", order["to"])
    with (yield context.lock_entities([source, target])):
        balance = yield context.call_entity(source, "balance")
        if balance < order["amount"]:
            return False
        yield context.task_all(
            [
                context.call_entity(source, "deposit", -order["amount"]),
                context.call_entity(target, "deposit", order["amount"]),
            ]
        )
    return True


def overdraw(context: OrchestrationContext) -> Generator[Any, Any, Any]:
    entity = EntityId("Account", "poor")
    yield context.call_entity(entity, "deposit", 5)
    try:
        yield context.call_entity(entity, "withdraw", 50)
    except Exception as error:
        text = str(error)
    return [text, (yield context.call_entity(entity, "balance"))]


def unknown(context: OrchestrationContext) -> Generator[Any, Any, Any]:
    try:
        yield context.call_entity(EntityId("Nobody", "x"), "get")
    except Exception as error:
        return str(error)


def ordered(context: OrchestrationContext) -> Generator[Any, Any, Any]:
    for number in range(1, 51):
        context.signal_entity(EntityId("Account", "ordered"), "deposit", number)
    return (yield context.call_entity(EntityId("Account", "ordered"), "balance"))


def keeps_its_lock(context: OrchestrationContext) -> Generator[Any, Any, Any]:
    yield context.lock_entities([EntityId("Account", "kept")])
    raise ValueError("forgot to release")


def echo(context: OrchestrationContext) -> Any:
    return [context.get_input(), context.parent_instance_id]


def registry() -> FunctionRegistry:
    functions = FunctionRegistry()
    functions.add_entity(EntityDefinition(name="Account", function=account))
    functions.add_entity(EntityDefinition(name="Slow", function=slow_counter))
    orchestrators: tuple[Callable[[OrchestrationContext], Any], ...] = (
        transfer,
        overdraw,
        unknown,
        ordered,
        keeps_its_lock,
        echo,
    )
    for function in orchestrators:
        functions.add_orchestrator(OrchestratorDefinition(name=function.__name__, function=function))
    return functions


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[RunningTaskHub]:
    async with run_task_hub(tmp_path / "hub.db", registry()) as running:
        yield running


async def balance_is(hub: RunningTaskHub, key: str, expected: int, name: str = "Account") -> None:
    async def reached() -> bool:
        return bool((await hub.client.read_entity(EntityId(name, key))).state == expected)

    await eventually(reached, f"the balance of {key} did not become {expected}")


async def balance_stays(hub: RunningTaskHub, key: str, expected: int, name: str = "Account") -> None:
    """The balance is reached, and what the worker still had in hand does not move it: a duplicate would."""
    await balance_is(hub, key, expected, name)
    await hub.worker.drain(timedelta(seconds=10))
    await balance_is(hub, key, expected, name)


async def output(hub: RunningTaskHub, name: str, value: Any = None) -> Any:
    instance_id = await hub.client.start(name, value)
    status = await hub.client.wait_for_completion(instance_id, timeout=timedelta(seconds=20))
    return status.output


async def test_every_signal_of_many_senders_counts_once(hub: RunningTaskHub) -> None:
    entity = EntityId("Account", "busy")

    await asyncio.gather(*(hub.client.signal_entity(entity, "deposit", 1) for _ in range(200)))

    await balance_stays(hub, "busy", 200)


async def test_async_entities_run_one_operation_at_a_time(hub: RunningTaskHub) -> None:
    entity = EntityId("Slow", "x")

    await asyncio.gather(*(hub.client.signal_entity(entity, "tick") for _ in range(50)))

    await balance_stays(hub, "x", 50, "Slow")


async def test_transfers_under_locks_neither_lose_nor_make_money(hub: RunningTaskHub) -> None:
    for entity in ACCOUNTS:
        await hub.client.signal_entity(entity, "deposit", 100)
    orders = [{"from": str(n % 4), "to": str((n + 1 + n // 4) % 4), "amount": 10 + n} for n in range(24)]
    orders = [order for order in orders if order["from"] != order["to"]]

    done = await asyncio.gather(*(output(hub, "transfer", order) for order in orders))

    assert set(done) <= {True, False}
    snapshots = [await hub.client.read_entity(entity) for entity in ACCOUNTS]
    assert sum(snapshot.state for snapshot in snapshots) == 400
    assert all(snapshot.state >= 0 for snapshot in snapshots)


async def test_locks_are_released_when_the_orchestrator_ends_without_doing_so(hub: RunningTaskHub) -> None:
    instance_id = await hub.client.start("keeps_its_lock")
    await hub.client.wait_for_completion(instance_id, timeout=timedelta(seconds=20))

    await hub.client.signal_entity(EntityId("Account", "kept"), "deposit", 7)

    await balance_is(hub, "kept", 7)


async def test_a_failed_operation_can_be_caught_and_leaves_no_trace(hub: RunningTaskHub) -> None:
    assert await output(hub, "overdraw") == ["only 5 left", 5]


async def test_a_call_to_an_entity_that_nobody_wrote_fails_with_the_known_names(hub: RunningTaskHub) -> None:
    text = await output(hub, "unknown")

    assert "nobody" in text.lower()
    assert "Account" in text


async def test_a_call_comes_after_the_signals_sent_before_it(hub: RunningTaskHub) -> None:
    assert await output(hub, "ordered") == sum(range(1, 51))


async def test_a_signal_from_an_entity_arrives(hub: RunningTaskHub) -> None:
    await hub.client.signal_entity(EntityId("Account", "sender"), "tell", {"to": "receiver", "amount": 9})

    await balance_is(hub, "receiver", 9)


async def test_an_orchestration_started_by_an_entity_runs_and_does_not_disturb_it(hub: RunningTaskHub) -> None:
    await hub.client.signal_entity(EntityId("Account", "starter"), "begin", {"n": 1})

    async def finished() -> Any:
        status = await hub.client.get_status("started-by-entity")
        return status is not None and status.output

    assert await eventually(finished) == [{"n": 1}, "@account@starter"]
    await hub.client.signal_entity(EntityId("Account", "starter"), "deposit", 3)
    await balance_is(hub, "starter", 3)


async def test_a_signal_at_a_later_time_waits_for_it(hub: RunningTaskHub) -> None:
    entity, at = EntityId("Account", "later"), datetime.now(timezone.utc) + timedelta(seconds=1)

    await hub.client.signal_entity(entity, "deposit", 5, due=at)

    await balance_is(hub, "later", 5)
    assert datetime.now(timezone.utc) >= at


async def test_an_entity_goes_on_after_the_worker_was_restarted(tmp_path: Path) -> None:
    async with run_task_hub(tmp_path / "hub.db", registry()) as hub:
        await hub.client.signal_entity(EntityId("Account", "r"), "deposit", 1)
        await balance_is(hub, "r", 1)

    async with run_task_hub(tmp_path / "hub.db", registry()) as hub:
        await hub.client.signal_entity(EntityId("Account", "r"), "deposit", 2)
        await balance_is(hub, "r", 3)
