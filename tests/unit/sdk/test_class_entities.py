"""Entities as classes: methods are operations, annotated attributes the state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar

import pytest

import durable_ext as df
from durable_ext.codec.serialization import DataConverter
from durable_ext.core.entities.context import EntityContext
from durable_ext.core.entities.messages import EntityRequest
from durable_ext.core.entities.state import EntityState
from durable_ext.errors import EntityOperationError, RegistrationError
from durable_ext.sdk.class_entities import entity_function

CONVERTER = DataConverter()


@dataclass
class Entry:
    amount: int
    booked_on: date


class Account(df.EntityBase):
    currency: ClassVar[str] = "EUR"
    balance: int = 0
    entries: list[Entry] = []  # noqa: RUF012 - a default that every instance gets a copy of is what this tests
    owner: str
    _cache: int = 0

    def deposit(self, entry: Entry) -> int:
        self.balance += entry.amount
        self.entries.append(entry)
        return self.balance

    def last_day(self) -> date:
        return self.entries[-1].booked_on

    def rename(self, owner: str = "nobody") -> None:
        self.owner = owner

    async def wait(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    def key(self) -> str:
        return self.context.entity_key

    def close(self) -> None:
        self.destruct_on_exit()

    def refuse(self) -> None:
        self.balance = -1
        raise ValueError("no")

    def _hidden(self) -> None: ...


class Hub:
    """Runs operations on one entity, as a batch does."""

    def __init__(self, kind: type[df.EntityBase]) -> None:
        self.run: Any = entity_function(kind)
        self.state = EntityState(exists=False, text=None, converter=CONVERTER)

    def call(self, operation: str, value: Any = None) -> Any:
        text = None if value is None else CONVERTER.wrap_text(CONVERTER.to_text(value))
        context = EntityContext(
            entity_id=df.EntityId("account", "a1"),
            request=EntityRequest(request_id="r", operation=operation, input=text),
            state=self.state,
            converter=CONVERTER,
            start_id=lambda index: f"s{index}",
        )
        try:
            return self.run(context)
        finally:
            self.state.settle()


@pytest.fixture
def account() -> Hub:
    return Hub(Account)


def test_an_operation_receives_its_input_decoded_by_the_annotation(account: Hub) -> None:
    assert account.call("deposit", Entry(5, date(2024, 5, 6))) == 5
    assert account.call("last_day") == date(2024, 5, 6)


def test_the_state_is_an_object_of_the_annotated_attributes(account: Hub) -> None:
    account.call("deposit", Entry(5, date(2024, 5, 6)))

    assert account.state.text == ('{"balance": 5, "entries": [{"amount": 5, "booked_on": "2024-05-06"}], "owner": null}')


def test_the_state_comes_back_with_its_types(account: Hub) -> None:
    text = '{"balance": 7, "entries": [{"amount": 7, "booked_on": "2024-05-06"}], "owner": "me"}'
    account.state = EntityState(exists=True, text=text, converter=CONVERTER)

    assert account.call("last_day") == date(2024, 5, 6)


def test_entities_do_not_share_defaults(account: Hub) -> None:
    account.call("deposit", Entry(5, date(2024, 5, 6)))

    assert Hub(Account).call("deposit", Entry(1, date(2024, 5, 6))) == 1
    assert Account.entries == []


def test_a_missing_input_leaves_the_parameter_at_its_default(account: Hub) -> None:
    account.call("rename")

    assert '"owner": "nobody"' in str(account.state.text)


async def test_an_operation_may_be_async(account: Hub) -> None:
    assert await account.call("wait", 3) == 3
    account.state.settle()
    assert '"balance": 3' in str(account.state.text)


def test_operation_names_match_in_any_case(account: Hub) -> None:
    assert account.call("Deposit", Entry(5, date(2024, 5, 6))) == 5


def test_an_operation_knows_its_entity(account: Hub) -> None:
    assert account.call("key") == "a1"


def test_an_operation_can_delete_the_entity(account: Hub) -> None:
    account.call("deposit", Entry(5, date(2024, 5, 6)))
    account.call("close")

    assert (account.state.exists, account.state.text) == (False, None)


def test_delete_exists_without_being_written(account: Hub) -> None:
    account.call("deposit", Entry(5, date(2024, 5, 6)))
    account.call("delete")

    assert account.state.exists is False


def test_an_operation_that_raises_stores_nothing(account: Hub) -> None:
    account.call("deposit", Entry(5, date(2024, 5, 6)))

    with pytest.raises(ValueError, match="no"):
        account.call("refuse")

    assert '"balance": 5' in str(account.state.text)


@pytest.mark.parametrize("name", ["withdraw", "_hidden", "destruct_on_exit", "context", "balance"])
def test_what_is_no_operation_is_refused_by_name(account: Hub, name: str) -> None:
    with pytest.raises(EntityOperationError) as refused:
        account.call(name)

    assert refused.value.operation == name
    assert "deposit" in refused.value.known


def test_an_operation_with_two_arguments_is_refused_when_it_is_registered() -> None:
    class Bad(df.EntityBase):
        def move(self, a: int, b: int) -> None: ...

    with pytest.raises(RegistrationError, match="'move'"):
        entity_function(Bad)


def test_a_class_that_is_no_entity_is_refused() -> None:
    class Plain: ...

    with pytest.raises(RegistrationError, match="EntityBase"):
        entity_function(Plain)


def test_a_function_is_an_entity_as_it_is() -> None:
    def plain(context: Any) -> None: ...

    assert entity_function(plain) is plain
