"""Who ends without the locks that it has asked for leaves no entity locked, on both stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure_hub import run_azure_hub, short_settings
from azurite import Azurite
from support.functions import registry_of

from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.messages import LOCK_GRANTED_RESULT, SentKind, sent_to_entity
from durable_ext.core.events import EventRaised, EventSent, OrchestrationStatus
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.testing.eventually import eventually
from durable_ext.testing.task_hub import RunningTaskHub, run_task_hub

BOTH = [EntityId("thing", "a"), EntityId("thing", "b")]


def functions() -> FunctionRegistry:
    def thing(context: Any) -> None:
        context.set_result(context.operation_name)

    def holds(context: Any) -> Any:
        with (yield context.lock_entities(BOTH[1:])):
            context.set_custom_status("held")
            yield context.wait_for_external_event("go")

    def waits(context: Any) -> Any:
        with (yield context.lock_entities(BOTH)):
            return "got it"

    def has_no_patience(context: Any) -> Any:
        lock = context.lock_entities(BOTH)
        timer = context.create_timer(context.current_utc_datetime + timedelta(milliseconds=300))
        winner = yield context.task_any([lock, timer])
        return "had to wait" if winner is timer else "got it"

    def fails_while_it_waits(context: Any) -> Any:
        lock = context.lock_entities(BOTH)
        timer = context.create_timer(context.current_utc_datetime + timedelta(milliseconds=300))
        yield context.task_any([lock, timer])
        yield context.call_activity("fails_once")
        with (yield lock):
            return (yield context.task_all([context.call_entity(entity, "asked") for entity in BOTH]))

    def fails_beside_a_child(context: Any) -> Any:
        lock = context.lock_entities(BOTH[1:])
        step = context.call_activity("fails_once")
        child = context.call_sub_orchestrator("waits_for_a_word", None, f"{context.instance_id}-child")
        yield context.task_any([lock, step, child])
        yield step
        with (yield lock):
            return (yield child)

    def waits_for_a_word(context: Any) -> Any:
        return (yield context.wait_for_external_event("go"))

    def fails_while_it_holds(context: Any) -> Any:
        with (yield context.lock_entities(BOTH)):
            return (yield context.call_activity("always_fails"))

    def asks_nobody(context: Any) -> Any:
        with (yield context.lock_entities([EntityId("nobody", "x")])):
            pass

    fails = [True]

    def fails_once(_: Any) -> None:
        if fails:
            raise ValueError(f"the first time: {fails.pop()}")

    def always_fails(_: Any) -> None:
        raise ValueError("each time")

    return registry_of(
        orchestrators=[
            *(holds, waits, has_no_patience, fails_while_it_waits, fails_beside_a_child, waits_for_a_word),
            *(fails_while_it_holds, asks_nobody),
        ],
        activities=[fails_once, always_fails],
        entities=[thing],
    )


@pytest.fixture(params=["embedded", pytest.param("azure", marks=pytest.mark.azurite)])
async def hub(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunningTaskHub]:
    if request.param == "embedded":
        async with run_task_hub(tmp_path / "hub.db", functions()) as running:
            yield running
        return
    azurite: Azurite = request.getfixturevalue("azurite")
    async with run_azure_hub(short_settings(azurite, request.getfixturevalue("task_hub")), functions()) as running:
        yield running


async def locked_by(hub: RunningTaskHub, entity: EntityId) -> str | None:
    row = await hub.client.get_status(entity.instance_id)
    status = row.custom_status if row is not None else None
    return status.get("lockedBy") if isinstance(status, dict) else None


async def ends(hub: RunningTaskHub, instance_id: str) -> tuple[OrchestrationStatus, Any]:
    status = await hub.client.wait_for_completion(instance_id)
    return status.runtime_status, status.output


async def both_are_free(hub: RunningTaskHub) -> None:
    for entity in BOTH:
        await eventually(lambda entity=entity: _is_locked_by(hub, entity, None), f"{entity} is still locked")


async def test_who_gives_up_waiting_for_a_lock_leaves_nothing_locked(hub: RunningTaskHub) -> None:
    holder = await hub.client.start("holds")
    await eventually(lambda: _is_held(hub, holder), "the lock was not granted")

    assert (await ends(hub, await hub.client.start("has_no_patience")))[1] == "had to wait"
    stopped = await hub.client.start("waits")
    await eventually(lambda: _is_locked_by(hub, BOTH[0], stopped), "the first lock of two was not granted")
    await hub.client.terminate(stopped, "enough")
    assert (await ends(hub, stopped))[0] is OrchestrationStatus.TERMINATED
    await hub.client.raise_event(holder, "go")
    await ends(hub, holder)

    assert await ends(hub, await hub.client.start("waits")) == (OrchestrationStatus.COMPLETED, "got it")
    await both_are_free(hub)


async def test_who_failed_while_it_waited_asks_for_the_lock_anew_when_it_is_rewound(hub: RunningTaskHub) -> None:
    holder = await hub.client.start("holds")
    await eventually(lambda: _is_held(hub, holder), "the lock was not granted")
    waiting = await hub.client.start("fails_while_it_waits")
    assert (await ends(hub, waiting))[0] is OrchestrationStatus.FAILED
    await eventually(lambda: _is_locked_by(hub, BOTH[0], None), "what was asked for was not given up")

    await hub.client.rewind(waiting, "again")
    await eventually(lambda: _is_locked_by(hub, BOTH[0], waiting), "the lock was not asked for again")
    await hub.client.raise_event(holder, "go")

    assert await ends(hub, waiting) == (OrchestrationStatus.COMPLETED, ["asked", "asked"])
    await both_are_free(hub)


async def test_a_grant_that_came_after_its_request_was_given_up_does_not_stop_a_rewind(hub: RunningTaskHub) -> None:
    """The code has ended without its lock, and the instance waits for its child, when the entity's answer comes."""
    holder = await hub.client.start("holds")
    await eventually(lambda: _is_held(hub, holder), "the lock was not granted")
    waiting = await hub.client.start("fails_beside_a_child")
    await eventually(lambda: _has(hub, waiting, EventSent, "release"), "the request was not given up")
    request_id = await _lock_request_of(hub, waiting)
    await hub.client.raise_event(waiting, request_id, {"result": LOCK_GRANTED_RESULT})
    await eventually(lambda: _has(hub, waiting, EventRaised, request_id), "the late grant was not stored")
    await hub.client.raise_event(f"{waiting}-child", "go", "told")
    assert (await ends(hub, waiting))[0] is OrchestrationStatus.FAILED

    await hub.client.rewind(waiting, "again")
    await hub.client.raise_event(holder, "go")

    assert await ends(hub, waiting) == (OrchestrationStatus.COMPLETED, "told")
    await eventually(lambda: _is_locked_by(hub, BOTH[1], None), "it is still locked")


async def test_who_failed_inside_a_critical_section_is_told_that_a_rewind_cannot_help(hub: RunningTaskHub) -> None:
    failed = await hub.client.start("fails_while_it_holds")
    assert (await ends(hub, failed))[0] is OrchestrationStatus.FAILED

    await hub.client.rewind(failed, "again")

    status, output = await ends(hub, failed)
    assert status is OrchestrationStatus.FAILED
    assert "This instance was rewound" in output
    assert "Was a change made" not in output
    await both_are_free(hub)


async def test_who_is_refused_a_lock_leaves_none(hub: RunningTaskHub) -> None:
    status, output = await ends(hub, await hub.client.start("asks_nobody"))

    assert status is OrchestrationStatus.FAILED
    assert "The function 'nobody' doesn't exist" in output
    await eventually(lambda: _is_there(hub, "@nobody@x"), "its request and its release were not sent")
    await eventually(lambda: _is_locked_by(hub, EntityId("nobody", "x"), None), "it is locked")


async def _has(hub: RunningTaskHub, instance_id: str, kind: type[EventSent | EventRaised], name: str) -> bool:
    history = await hub.client.get_history(instance_id)
    return any(isinstance(event, kind) and event.name == name for event in history)


async def _lock_request_of(hub: RunningTaskHub, instance_id: str) -> str:
    history = await hub.client.get_history(instance_id)
    sent = [sent_to_entity(event.name, event.input) for event in history if isinstance(event, EventSent)]
    return next(each.request_id for each in sent if each is not None and each.kind is SentKind.LOCK)


async def _is_there(hub: RunningTaskHub, instance_id: str) -> bool:
    return await hub.client.get_status(instance_id) is not None


async def _is_held(hub: RunningTaskHub, holder: str) -> bool:
    status = await hub.client.get_status(holder)
    return status is not None and status.custom_status == "held"


async def _is_locked_by(hub: RunningTaskHub, entity: EntityId, owner: str | None) -> bool:
    return await locked_by(hub, entity) == owner
