"""execute_entity: one operation of an entity, without a hub."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Optional

import azure.durable_functions as old  # type: ignore[import-untyped]
import pytest

import durable_ext as df
from durable_ext.errors import RegistrationError
from durable_ext.testing import EntitySignalAction, OrchestrationStartAction, execute_entity


@dataclass
class Entry:
    amount: int


class Account(df.EntityBase):
    balance: int = 0
    last: Optional[Entry] = None

    def book(self, entry: Entry) -> int:
        self.balance += entry.amount
        self.last = entry
        return self.balance

    def refuse(self) -> None:
        raise ValueError("no")


def counter(context: df.DurableEntityContext) -> Any:
    if context.operation_name == "delete":
        context.destruct_on_exit()
        return None
    state = context.get_state(lambda: 0) + context.get_input()
    context.set_state(state)
    return state


def test_an_operation_of_a_function_gives_result_and_state() -> None:
    done = execute_entity(counter, "add", 3, 4)

    assert (done.get_result(), done.get_state(), done.actions) == (7, 7, ())


def test_an_operation_of_a_class_gives_result_and_state() -> None:
    app = df.DFApp()
    registered = app.entity_trigger(context_name="context")(Account)

    done = execute_entity(registered, "book", Entry(5), {"balance": 2, "last": None})

    assert done.get_result() == 7
    assert done.get_state() == {"balance": 7, "last": {"amount": 5}}


def test_a_class_need_not_be_registered() -> None:
    assert execute_entity(Account, "book", {"amount": 1}).get_result() == 1


def test_results_and_states_come_in_the_types_that_are_asked_for() -> None:
    def keeps(context: df.DurableEntityContext) -> Any:
        context.set_state(context.get_input(Entry))
        return context.get_state(expected_type=Entry)

    done = execute_entity(keeps, "put", Entry(2))

    assert done.get_result(Entry) == done.get_state(Entry) == Entry(2)


def test_a_deleted_entity_has_no_state() -> None:
    assert execute_entity(counter, "delete", None, 4).get_state() is None


def test_what_an_operation_sends_is_told_in_order() -> None:
    due = datetime(2030, 1, 1, tzinfo=timezone.utc)

    def sends(context: df.DurableEntityContext) -> None:
        context.signal_entity(df.EntityId("Log", "k"), "write", {"a": 1}, signal_time=due)
        context.start_new_orchestration("audit", "x", "i1", start_at=due + timedelta(days=1))

    signal, start = execute_entity(sends, "go").actions

    assert isinstance(signal, EntitySignalAction)
    assert (signal.entity_id, signal.operation, signal.get_input()) == (df.EntityId("Log", "k"), "write", {"a": 1})
    assert signal.scheduled_time == due
    assert isinstance(start, OrchestrationStartAction)
    assert (start.name, start.instance_id, start.get_input()) == ("audit", "i1", "x")


def test_the_entity_has_a_name_and_a_key() -> None:
    def shows(context: df.DurableEntityContext) -> Any:
        return [context.entity_name, context.entity_key, context.is_newly_constructed]

    assert execute_entity(shows, "get").get_result() == ["shows", "test", True]
    assert execute_entity(shows, "get", state=1, entity_name="Name", entity_key="k").get_result() == ["name", "k", False]


async def test_a_coroutine_is_awaited_also_inside_an_event_loop() -> None:
    async def waits(context: df.DurableEntityContext) -> Any:
        await asyncio.sleep(0)
        return context.get_input()

    assert execute_entity(waits, "get", 5).get_result() == 5


def test_an_exception_of_the_operation_comes_out() -> None:
    with pytest.raises(ValueError, match="no"):
        execute_entity(Account, "refuse")


def test_an_entity_of_the_old_names_gives_what_it_set() -> None:
    app = old.DFApp()

    @app.entity_trigger(context_name="context")  # type: ignore[untyped-decorator]
    def keeps(context: old.DurableEntityContext) -> str:
        context.set_result(context.get_input(expected_type=Entry))
        return "ignored"

    assert execute_entity(keeps, "get", {"amount": 1}).get_result() == {"amount": 1}


@pytest.mark.parametrize("kind", [int, 5])
def test_what_is_no_entity_is_refused(kind: Any) -> None:
    with pytest.raises(RegistrationError):
        execute_entity(kind, "get")


def test_an_activity_is_no_entity() -> None:
    app = df.DFApp()

    @app.activity_trigger(input_name="x")
    def work(x: int) -> int:
        return x

    with pytest.raises(RegistrationError, match="is no entity"):
        execute_entity(work, "get")
