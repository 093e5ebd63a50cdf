"""Wrong values in client calls: each is refused by one error that names the argument and what to pass."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from support.client_hub import Hub

from durable_ext.client import DurableClient, EntityQuery, InstanceQuery
from durable_ext.client.known_functions import KnownFunctions
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import OrchestrationStatus
from durable_ext.errors import ArgumentTypeError, FunctionNotFoundError, InvalidArgumentError, InvalidInstanceStateError

ACC = EntityId("Acc", "k")
KNOWN = KnownFunctions({"orchestrator": ["plain"], "entity": ["Acc"]})

CALLS: dict[str, tuple[Callable[[Any], Coroutine[Any, Any, Any]], str]] = {
    "no name": (lambda c: c.start(None, None, "none1"), "name"),
    "a number as name": (lambda c: c.start(5), "name"),
    "empty name": (lambda c: c.start(""), "name"),
    "input as id": (lambda c: c.start("plain", None, {"a": 1}), "instance_id"),
    "a number as id": (lambda c: c.start("plain", None, 5), "instance_id"),
    "a uuid as id": (lambda c: c.start("plain", None, uuid.uuid4()), "instance_id"),
    "half a character": (lambda c: c.start("plain", None, "\ud800"), "instance_id"),
    "version": (lambda c: c.start("plain", version=5), "version"),
    "entity": (lambda c: c.signal_entity("Acc", "add"), "entity_id"),
    "operation": (lambda c: c.signal_entity(ACC, 5), "operation"),
    "read": (lambda c: c.read_entity("Acc"), "entity_id"),
    "event name": (lambda c: c.raise_event("x", 5), "event_name"),
}


@pytest.mark.parametrize("case", CALLS)
@pytest.mark.parametrize("known", [None, KNOWN])
async def test_a_value_of_a_wrong_type_is_refused_at_the_call(hub: Hub, case: str, known: KnownFunctions | None) -> None:
    call, argument = CALLS[case]
    client: DurableClient = hub.new_client(known=known)

    with pytest.raises(InvalidArgumentError) as refused:
        await call(client)

    assert refused.value.argument == argument
    assert (await client.query()).statuses == ()


CALLS_WITH_AN_ID: dict[str, Callable[[DurableClient, Any], Coroutine[Any, Any, Any]]] = {
    "get_status": lambda c, value: c.get_status(value),
    "wait_for_completion": lambda c, value: c.wait_for_completion(value),
    "get_history": lambda c, value: c.get_history(value),
    "raise_event": lambda c, value: c.raise_event(value, "Go"),
    "terminate": lambda c, value: c.terminate(value),
    "suspend": lambda c, value: c.suspend(value),
    "resume": lambda c, value: c.resume(value),
    "rewind": lambda c, value: c.rewind(value),
    "restart": lambda c, value: c.restart(value),
    "purge": lambda c, value: c.purge(value),
}


@pytest.mark.parametrize("value", [5, None, uuid.UUID(int=1)])
@pytest.mark.parametrize("call", CALLS_WITH_AN_ID)
async def test_an_id_that_is_no_text_is_refused_with_the_name_of_the_call(hub: Hub, call: str, value: Any) -> None:
    with pytest.raises(ArgumentTypeError) as refused:
        await CALLS_WITH_AN_ID[call](hub.client, value)

    assert (refused.value.call, refused.value.argument) == (call, "instance_id")


HALF = "a\ud800"


async def _called_with_half(call: Callable[[DurableClient, Any], Coroutine[Any, Any, Any]], client: DurableClient) -> None:
    await call(client, HALF)


CALLS_WITH_HALF_A_CHARACTER: dict[str, tuple[Callable[[DurableClient], Coroutine[Any, Any, Any]], str]] = {
    **{name: (partial(_called_with_half, call), "instance_id") for name, call in CALLS_WITH_AN_ID.items()},
    "start": (lambda c: c.start("plain", None, HALF), "instance_id"),
    "query": (lambda c: c.query(InstanceQuery(instance_id_prefix=HALF)), "instance_id_prefix"),
    "list_entities": (lambda c: c.list_entities(EntityQuery(name=HALF)), "name"),
    "signal_entity, key": (lambda c: c.signal_entity(EntityId("Acc", HALF), "add"), "entity_id"),
    "signal_entity, name": (lambda c: c.signal_entity(EntityId(HALF, "k"), "add"), "entity_id"),
    "read_entity, key": (lambda c: c.read_entity(EntityId("Acc", HALF)), "entity_id"),
    "read_entity, name": (lambda c: c.read_entity(EntityId(HALF, "k")), "entity_id"),
}


@pytest.mark.parametrize("case", CALLS_WITH_HALF_A_CHARACTER)
async def test_an_address_with_half_a_character_is_refused_with_what_is_wrong_and_where(hub: Hub, case: str) -> None:
    call, argument = CALLS_WITH_HALF_A_CHARACTER[case]

    with pytest.raises(InvalidArgumentError, match=r"a\\ud800.* must not contain lone surrogates.* Pass ") as refused:
        await call(hub.client)

    assert refused.value.argument == argument
    assert str(refused.value).isascii(), "it can be printed anywhere"


async def test_the_name_of_an_unknown_function_is_printable(hub: Hub) -> None:
    with pytest.raises(FunctionNotFoundError, match=r"'a\\ud800' doesn't exist"):
        await hub.new_client(known=KNOWN).start(HALF)


async def test_the_name_of_an_event_that_comes_too_late_is_printable(hub: Hub) -> None:
    await hub.client.start("plain", None, "late")
    await hub.put("late", OrchestrationStatus.COMPLETED)

    with pytest.raises(InvalidInstanceStateError, match=r"raise event a\\ud800 for"):
        await hub.client.raise_event("late", HALF)


async def test_a_token_that_is_none_is_printable(hub: Hub) -> None:
    with pytest.raises(ValueError, match=r"'a\\ud800' is not a continuation token"):
        await hub.client.query(continuation=HALF)


@pytest.mark.parametrize("moment", ["tomorrow", 5, timedelta(1)])
async def test_a_time_in_the_future_is_a_time(hub: Hub, moment: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"start\(\) got .* as start_at\. Pass a datetime"):
        await hub.client.start("echo", 1, start_at=moment)
    with pytest.raises(ArgumentTypeError, match=r"signal_entity\(\) got .* as due\. Pass a datetime"):
        await hub.client.signal_entity(ACC, "add", due=moment)


async def test_what_json_cannot_hold_is_refused_with_the_name_of_call_and_argument(hub: Hub) -> None:
    with pytest.raises(ArgumentTypeError, match=r"start\(\) got \{1, 2\} \(set\) as input\. Pass .*dict, list"):
        await hub.client.start("echo", {1, 2})
    with pytest.raises(ArgumentTypeError, match=r"raise_event\(\) got \{1, 2\} \(set\) as data\. Pass .*dict, list"):
        await hub.client.raise_event("x", "Go", {1, 2})
    with pytest.raises(ArgumentTypeError, match=r"signal_entity\(\) got \{1, 2\} \(set\) as input\. Pass .*dict, list"):
        await hub.client.signal_entity(ACC, "add", {1, 2})


async def test_a_timeout_is_a_time_span(hub: Hub) -> None:
    with pytest.raises(ArgumentTypeError, match=r"wait_for_completion\(\) got 5 \(int\) as timeout"):
        await hub.client.wait_for_completion("x", timeout=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["Running", ["Running"], None, 5])
def test_a_query_takes_statuses(value: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"InstanceQuery\(\) got .* as runtime_status"):
        InstanceQuery(runtime_status=value)


@pytest.mark.parametrize("value", ["2024-01-01", 5, timedelta(1)])
@pytest.mark.parametrize("name", ["created_from", "created_to"])
def test_a_query_takes_times(name: str, value: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=name):
        InstanceQuery(**{name: value})
    assert InstanceQuery(created_from=datetime(2024, 1, 1)).created_from is not None
