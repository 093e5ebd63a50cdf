"""AZURE_FUNCTIONS_DURABLE_STRICT_TYPING, read at every call as 1.x does (specs/sdk.md 6.2)."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import azure.durable_functions as df
import pytest
from azure.durable_functions.models import DurableEntityContext, DurableOrchestrationContext
from support.request_builder import RequestBuilder

import durable_ext

SWITCH = "AZURE_FUNCTIONS_DURABLE_STRICT_TYPING"


class Order:
    def __init__(self, amount: int) -> None:
        self.amount = amount

    @staticmethod
    def to_json(order: Order) -> Any:
        return order.amount

    @staticmethod
    def from_json(data: Any) -> Order:
        return Order(data)


@dataclass
class Plain:
    a: int


ENVELOPE = json.dumps({"__class__": "Order", "__module__": __name__, "__data__": 5})


def _context(text: str) -> DurableOrchestrationContext:
    return DurableOrchestrationContext.from_json(RequestBuilder(input=text).text())


@pytest.mark.parametrize("value", ["1", " TRUE ", "yes"])
def test_strict_mode_wants_a_type_for_objects(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(SWITCH, value)

    with pytest.raises(TypeError, match="strict mode requires expected_type"):
        _context(ENVELOPE).get_input()
    assert _context(ENVELOPE).get_input(Order).amount == 5


def test_strict_mode_refuses_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "1")

    with pytest.raises(TypeError, match="is not compatible with expected type"):
        _context("5").get_input(str)


@pytest.mark.parametrize("value", ["", "0", "no"])
def test_the_loose_mode_only_warns(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, value: str) -> None:
    monkeypatch.setenv(SWITCH, value)

    assert _context("5").get_input(str) == 5
    assert "is not compatible with expected type" in caplog.text
    assert _context(ENVELOPE).get_input().amount == 5


def test_values_are_not_shaped_into_the_expected_type(caplog: pytest.LogCaptureFixture) -> None:
    assert _context('{"a": 1}').get_input(Plain) == {"a": 1}


def test_a_dataclass_without_to_json_is_refused() -> None:
    def sends(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
        yield context.call_activity("A", Plain(1))

    with pytest.raises(Exception, match="does not expose a `to_json` function"):
        df.Orchestrator.create(sends)(RequestBuilder().text())


def test_entities_follow_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "1")
    context = DurableEntityContext("counter", "k", True, ENVELOPE)

    with pytest.raises(TypeError, match="strict mode requires expected_type"):
        context.get_state()


@pytest.mark.parametrize(("switch", "refused"), [("0", False), ("1", True)])
def test_orchestrators_of_the_new_name_follow_the_switch_under_the_extension(
    monkeypatch: pytest.MonkeyPatch, switch: str, refused: bool
) -> None:
    monkeypatch.setenv(SWITCH, switch)

    def reads(context: df.DurableOrchestrationContext) -> Any:
        return str(context.get_input())

    try:
        answer = durable_ext.Orchestrator.create(reads)(RequestBuilder(input=ENVELOPE).text())
    except Exception as error:  # the whole state travels in its text
        answer = str(error)

    assert ("strict mode requires expected_type" in answer) is refused
