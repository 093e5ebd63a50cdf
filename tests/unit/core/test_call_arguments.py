"""Wrong values in context calls are refused where they are made, inside user code."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from support.orchestration_bench import ME, START, OrchestrationBench, kinds

from durable_ext.core.context import OrchestrationContext
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.messages import OPERATION_EVENT
from durable_ext.core.events import (
    EventSent,
    ExecutionStarted,
    OrchestratorCompleted,
    OrchestratorStarted,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
)
from durable_ext.core.instance_ids import checked_entity_id, checked_instance_id
from durable_ext.core.orchestrators import ReplayOptions
from durable_ext.core.retry import RetryOptions, after_failure
from durable_ext.core.timestamps import MAX_TICKS
from durable_ext.errors import ArgumentTypeError, InvalidArgumentError

ACC = EntityId("Acc", "k")
Call = Callable[[Any], Any]

WRONG_TYPES: dict[str, tuple[Call, str, str]] = {
    "swapped": (lambda c: c.call_activity_with_retry("a", "input", RetryOptions(5, 3)), "retry_options", "'input'"),
    "number": (lambda c: c.call_activity_with_retry("a", 5), "retry_options", "5"),
    "class": (lambda c: c.call_activity_with_retry("a", RetryOptions), "retry_options", "RetryOptions"),
    "child": (lambda c: c.call_sub_orchestrator_with_retry("child", {"n": 1}), "retry_options", "{'n': 1}"),
    "entity text": (lambda c: c.call_entity("Acc", "get"), "entityId", "'Acc'"),
    "operation": (lambda c: c.call_entity(ACC, 5), "operationName", "5"),
    "signal text": (lambda c: c.signal_entity("Acc", "get"), "entityId", "'Acc'"),
    "signal operation": (lambda c: c.signal_entity(ACC, None), "operationName", "None"),
    "signal time": (lambda c: c.signal_entity(ACC, "add", signal_time=5), "signal_time", "5"),
    "lock": (lambda c: c.lock_entities(["Acc"]), "entities", "'Acc'"),
    "lock of one": (lambda c: c.lock_entities(ACC), "entities", "EntityId"),
    "event": (lambda c: c.wait_for_external_event(5), "name", "5"),
    "version": (lambda c: c.call_sub_orchestrator("child", version=5), "version", "5"),
    "child id": (lambda c: c.call_sub_orchestrator("child", None, 5), "instance_id", "5"),
}


def ended_by(call: Call, **fields: Any) -> list[BaseException]:
    """What user code could have caught."""
    caught: list[BaseException] = []

    def orchestrator(context: OrchestrationContext) -> Any:
        try:
            yield call(context)
        except Exception as error:
            caught.append(error)
            raise

    bench = OrchestrationBench(orchestrator, others=["child"], **fields)
    bench.start()
    assert bench.status == "Failed"
    return caught


@pytest.mark.parametrize("case", WRONG_TYPES)
@pytest.mark.parametrize("max_timer", [None, timedelta(days=6)])
def test_a_value_of_a_wrong_type_is_refused_at_the_call(case: str, max_timer: timedelta | None) -> None:
    call, argument, value = WRONG_TYPES[case]

    caught = ended_by(call, options=ReplayOptions(max_timer=max_timer))

    assert len(caught) == 1
    assert isinstance(caught[0], ArgumentTypeError)
    assert caught[0].argument == argument
    assert argument in str(caught[0])
    assert value in str(caught[0])
    assert f"{caught[0].call}()" in str(caught[0])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((timedelta(seconds=5), 3), {}),
        (("5", 3), {}),
        ((5, "3"), {}),
        ((True, 3), {}),
        ((5, 3), {"backoff_coefficient": "2"}),
        ((5, 3), {"max_retry_interval_in_milliseconds": timedelta(1)}),
        ((5, 3), {"retry_timeout_in_milliseconds": "1"}),
    ],
)
def test_retry_options_take_numbers_only(arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    with pytest.raises(ArgumentTypeError, match=r"RetryOptions\(\) got"):
        RetryOptions(*arguments, **named)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    "name",
    ["first", "attempts", "backoff_coefficient", "max_retry_interval_in_milliseconds", "retry_timeout_in_milliseconds"],
)
def test_retry_options_take_finite_numbers_only(name: str, value: float) -> None:
    first, attempts = value if name == "first" else 5, value if name == "attempts" else 5
    named: dict[str, Any] = {} if name in ("first", "attempts") else {name: value}

    with pytest.raises(ValueError, match=r"must be a finite number"):
        RetryOptions(first, attempts, **named)  # type: ignore[arg-type]


@pytest.mark.parametrize("coefficient", [1.0, 1e300])
def test_the_delay_of_a_retry_ends_where_time_does(coefficient: float) -> None:
    options = RetryOptions(10**18, 9, backoff_coefficient=coefficient, max_retry_interval_in_milliseconds=10**400)

    for attempt in range(1, 9):
        step = after_failure(options, attempt=attempt, first_attempt_at=MAX_TICKS, now=MAX_TICKS, non_retriable=False)
        assert step.fire_at == MAX_TICKS


BAD_IDS = ["k" * 300, "a/b", "a\\b", "a#b", "a?b", "a\x00b", "a\ud800b", "a\x9fb"]


@pytest.mark.parametrize("text", BAD_IDS)
@pytest.mark.parametrize(
    "call",
    [
        lambda context, text: context.call_sub_orchestrator("child", None, text),
        lambda context, text: context.call_entity(EntityId("Acc", text), "get"),
        lambda context, text: context.signal_entity(EntityId("Acc", text), "get"),
        lambda context, text: context.lock_entities([EntityId("Acc", text)]),
    ],
)
def test_ids_that_a_client_may_not_use_are_refused_at_the_call(call: Callable[[Any, str], Any], text: str) -> None:
    caught = ended_by(lambda context: call(context, text))

    assert len(caught) == 1
    assert isinstance(caught[0], InvalidArgumentError)


def test_ids_that_another_worker_has_recorded_are_replayed() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        child = yield context.call_sub_orchestrator("child", None, "a/b")
        context.signal_entity(EntityId("Acc", "a/b"), "get")
        yield context.lock_entities([EntityId("Acc", "a/b"), EntityId("Acc", "z/z")])
        return child

    history: list[Any] = [
        OrchestratorStarted(timestamp=START),
        ExecutionStarted(timestamp=START, instance=ME, name="orchestrator", version=""),
        SubOrchestrationInstanceCreated(timestamp=START, event_id=0, instance_id="a/b", name="child"),
        OrchestratorCompleted(timestamp=START),
        OrchestratorStarted(timestamp=START),
        SubOrchestrationInstanceCompleted(timestamp=START, task_scheduled_id=0, result="1"),
        EventSent(timestamp=START, event_id=1, instance_id="@acc@a/b", name=OPERATION_EVENT, input="{}"),
        EventSent(timestamp=START, event_id=2, instance_id="@acc@a/b", name=OPERATION_EVENT, input="{}"),
        OrchestratorCompleted(timestamp=START),
    ]
    bench = OrchestrationBench(orchestrator, others=["child"])
    bench.history = history
    bench.forget()

    episode = bench.raise_event("other")

    assert bench.status == "Running"
    assert kinds(episode) == []


def test_an_orchestrator_that_exits_fails_with_the_kind_of_its_exit() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        sys.exit(3)

    bench = OrchestrationBench(orchestrator)
    bench.start()

    assert bench.output == "Orchestrator function 'orchestrator' failed: it raised SystemExit: 3"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "must be texts"),
        (" ", "must not be empty"),
        ("@a", "must not start with @"),
        ("a\ud800", r"'a\\ud800' must not contain lone surrogates"),
        ("\udc00\ud800", r"'\\udc00\\ud800' must not contain lone surrogates"),
        ("a\ufffe", r"'a\\ufffe' must not contain U\+FFFE or U\+FFFF"),
        ("\uffff", r"'\\uffff' must not contain U\+FFFE or U\+FFFF"),
        ("x" * 257, "must not exceed 256 characters"),
        ("😀" * 129, "must not exceed 256 characters"),
    ],
)
def test_an_id_that_no_orchestration_can_have_is_refused(value: Any, text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=text):
        checked_instance_id(value)


@pytest.mark.parametrize(
    "value",
    [
        ".",
        "..",
        "x" * 256,
        "😀" * 128,
        "%2F",
        " a",
        "a'b",
        "^",
    ],
)
def test_an_id_with_unusual_characters_can_be_used(value: str) -> None:
    assert checked_instance_id(value) == value


def test_the_id_of_an_entity_is_an_entity_id() -> None:
    with pytest.raises(InvalidArgumentError, match="must be an EntityId, not 'Acc'"):
        checked_entity_id("Acc")  # type: ignore[arg-type]
