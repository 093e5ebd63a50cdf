"""EntityContext: the surface of one operation (specs/sdk.md 2.6)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from support.entity_bench import EntityBench, call, signal

from durable_ext.core.entities.context import EntityContext
from durable_ext.core.entities.ids import EntityId


@dataclass
class Order:
    item: str
    count: int


def seen(operation: str = "get", **changes: object) -> EntityContext:
    contexts: list[EntityContext] = []
    EntityBench(contexts.append).run(signal(operation, **changes))
    return contexts[0]


def test_name_key_operation_and_caller_are_those_of_the_request() -> None:
    contexts: list[EntityContext] = []

    EntityBench(contexts.append, instance_id="@counter@Key").run(call("Add", parent="asker"))

    context = contexts[0]
    assert (context.entity_name, context.entity_key, context.operation_name) == ("counter", "Key", "Add")
    assert context.entity_id == EntityId("counter", "Key")
    assert (context.caller_instance_id, context.is_signal) == ("asker", False)


def test_a_client_has_no_instance_id() -> None:
    assert seen().caller_instance_id is None


@pytest.mark.parametrize(("text", "value"), [('"5"', 5), ("5", 5), ('"\\"x\\""', "x"), ('"x"', "x"), ('{"a":1}', {"a": 1})])
def test_an_input_is_read_in_the_form_of_the_sdk_and_in_plain_json(text: str, value: object) -> None:
    assert seen(input=text).get_input() == value


def test_no_input_is_none() -> None:
    assert seen().get_input() is None


def test_an_input_is_shaped_into_the_type_asked_for() -> None:
    assert seen(input='{"item":"x","count":2}').get_input(Order) == Order("x", 2)


def test_an_initializer_gives_a_value_without_storing_it() -> None:
    bench = EntityBench(lambda context: context.get_state(lambda: 7))

    bench.run(signal("get"))

    assert bench.state is None
    assert not bench.status.exists


def test_falsy_states_are_states() -> None:
    values: list[object] = []

    def touch(context: EntityContext) -> None:
        if context.operation_name == "set":
            context.set_state(0)
        else:
            values.append(context.get_state(lambda: 7))

    EntityBench(touch).run(signal("set"), signal("get"))

    assert values == [0]


def test_an_initializer_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="initializer argument needs to be a callable function"):
        seen().get_state(5)  # type: ignore[arg-type]


def test_a_state_is_shaped_into_the_type_asked_for_in_a_later_batch() -> None:
    values: list[object] = []

    def order(context: EntityContext) -> None:
        if context.operation_name == "set":
            context.set_state(Order("x", 1))
        else:
            values.append(context.get_state(expected_type=Order))

    bench = EntityBench(order)
    bench.run(signal("set"))
    bench.run(signal("get"))

    assert bench.state == '{"item": "x", "count": 1}'
    assert values == [Order("x", 1)]


def test_changes_in_place_are_stored() -> None:
    def collect(context: EntityContext) -> None:
        if context.operation_name == "set":
            context.set_state([])
        else:
            context.get_state().append(1)

    bench = EntityBench(collect)

    bench.run(signal("set"), signal("append"))
    bench.run(signal("append"))

    assert bench.state == "[1, 1]"


def test_a_state_that_nobody_touches_keeps_its_text() -> None:
    bench = EntityBench(lambda context: context.set_state({"a": 1}) if context.operation_name == "set" else None)
    bench.run(signal("set"))
    text = bench.state

    bench.run(signal("nothing"))

    assert bench.state == text


def test_a_result_alone_makes_the_entity_exist() -> None:
    bench = EntityBench(lambda context: context.set_result(1))

    bench.run(signal("get"))

    assert bench.status.exists
    assert bench.state == "null"


def test_an_entity_is_new_until_it_exists() -> None:
    news: list[bool] = []

    def remember(context: EntityContext) -> None:
        news.append(context.is_newly_constructed)
        context.set_state(1)

    EntityBench(remember).run(signal("a"), signal("b"))

    assert news == [True, False]
