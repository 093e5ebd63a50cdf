"""DataConverter: texts, the 1.x envelope, and what cannot be serialized (specs/sdk.md 6)."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_ext.codec.serialization import DataConverter

CONVERTER = DataConverter()
STRICT = DataConverter(strict=True)
AS_1X = DataConverter(native=False)
STRICT_1X = DataConverter(strict=True, native=False)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Money:
    def __init__(self, amount: object) -> None:
        self.amount = amount

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and other.amount == self.amount

    __hash__ = None  # type: ignore[assignment]

    @staticmethod
    def to_json(money: Money) -> Any:
        return {"amount": money.amount}

    @staticmethod
    def from_json(data: Any) -> Money:
        return Money(data["amount"])


@dataclass
class Order:
    item: str


class Colour(Enum):
    RED = "red"


def envelope(data: object) -> str:
    return json.dumps({"__class__": "Money", "__module__": __name__, "__data__": data})


# Texts.


@given(JSON_VALUES)
def test_json_values_have_the_text_of_json_dumps_and_come_back(value: object) -> None:
    text = CONVERTER.to_text(value)

    assert text == json.dumps(value)
    assert CONVERTER.from_text(text) == value


@given(JSON_VALUES)
def test_outputs_are_compact_json_that_can_be_stored_as_utf8(value: object) -> None:
    text = CONVERTER.output_text(value)

    assert text.encode("utf-8")
    assert json.loads(text) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("h\u00e5j", '"h\u00e5j"'),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (None, "null"),
        (True, "true"),
        ("\u2028", '"\\u2028"'),
        ("\ud800", '"\\ud800"'),
        (["\ud800"], '["\\ud800"]'),
    ],
)
def test_an_output_is_what_the_host_records(value: object, text: str) -> None:
    assert CONVERTER.output_text(value) == text


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), 1e22, 0.1, 10**40, -0.0, 1e-7])
def test_special_numbers_come_back(value: float) -> None:
    assert CONVERTER.from_text(CONVERTER.to_text(value)) == value


def test_not_a_number_is_written_as_python_writes_it_and_comes_back() -> None:
    assert CONVERTER.to_text([math.nan]) == "[NaN]"
    assert math.isnan(CONVERTER.from_text("[NaN]")[0])


@pytest.mark.parametrize("value", ["\ud800", "a\udfffb"])
def test_a_lone_surrogate_comes_back(value: str) -> None:
    assert CONVERTER.from_text(CONVERTER.to_text(value)) == value
    assert CONVERTER.from_text(CONVERTER.output_text(value)) == value


def test_keys_that_json_has_no_form_for_become_texts() -> None:
    assert CONVERTER.to_text({2: "a", None: "b", True: "c", 1.5: "d"}) == '{"2": "a", "null": "b", "true": "c", "1.5": "d"}'


def cycle() -> object:
    value: list[object] = []
    value.append(value)
    return value


def deep() -> object:
    value: object = 1
    for _ in range(200_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "make",
    [
        lambda: {1},
        lambda: b"x",
        lambda: {(1, 2): 3},
        object,
        cycle,
        deep,
        lambda: 10**5000,
        lambda: print,
        lambda: (number for number in [1]),
    ],
    ids=["set", "bytes", "tuple key", "object", "cycle", "deep", "huge", "function", "generator"],
)
@pytest.mark.parametrize("encode", [CONVERTER.to_text, CONVERTER.output_text], ids=["text", "output"])
def test_what_cannot_be_serialized_is_a_type_error(make: Callable[[], object], encode: Callable[[object], str]) -> None:
    value = make()
    if isinstance(value, int) and not hasattr(sys, "set_int_max_str_digits"):
        pytest.skip("this interpreter converts any number of digits")

    with pytest.raises(TypeError):
        encode(value)


def test_the_text_for_an_object_without_to_json_is_that_of_1x() -> None:
    with pytest.raises(TypeError, match=r"^class <class 'set'> does not expose a `to_json` function$"):
        CONVERTER.to_text([{1}])


@pytest.mark.parametrize("text", ["", "{", "nul", "'x'", '"\n"'])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        CONVERTER.from_text(text)


def test_nesting_beyond_the_recursion_limit_is_refused() -> None:
    with pytest.raises(RecursionError):
        CONVERTER.from_text("[" * 200_000 + "]" * 200_000)


# Native types.


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Order("x"), '{"item": "x"}'),
        (Colour.RED, '"red"'),
        (datetime(2024, 5, 6, 7, 8, 9, 10, timezone.utc), '"2024-05-06T07:08:09.000010+00:00"'),
        (date(2024, 5, 6), '"2024-05-06"'),
        (time(7, 8, 9), '"07:08:09"'),
        (timedelta(days=1, seconds=2), '"1.00:00:02"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Decimal("1.50"), '"1.50"'),
        ([Order("x"), (1, 2)], '[{"item": "x"}, [1, 2]]'),
    ],
)
def test_values_of_known_types_are_plain_json(value: object, text: str) -> None:
    assert CONVERTER.to_text(value) == text


@pytest.mark.parametrize("value", [Order("x"), Colour.RED, UUID(int=1), Decimal(1), timedelta(1), date(2024, 1, 1)])
@pytest.mark.parametrize("converter", [AS_1X, STRICT_1X])
def test_1x_knows_none_of_these_types(value: object, converter: DataConverter) -> None:
    with pytest.raises(TypeError):
        converter.to_text(value)


# The envelope.


def test_an_object_with_to_json_is_written_as_envelope_with_its_keys_in_order() -> None:
    assert CONVERTER.to_text(Money(5)) == envelope({"amount": 5})
    assert CONVERTER.to_text({"m": [Money(5)]}) == json.dumps({"m": [json.loads(envelope({"amount": 5}))]})


@pytest.mark.parametrize("converter", [CONVERTER, AS_1X, DataConverter(envelope="plain")])
def test_an_envelope_is_opened_at_any_depth_whatever_the_settings(converter: DataConverter) -> None:
    inner = json.loads(envelope({"amount": json.loads(envelope({"amount": 1}))}))

    assert converter.from_text(json.dumps({"m": [inner]})) == {"m": [Money(Money(1))]}


def test_a_plain_envelope_is_just_the_data_and_comes_back_by_its_declared_type() -> None:
    plain = DataConverter(envelope="plain")

    assert plain.to_text(Money(5)) == '{"amount": 5}'
    assert plain.from_text('{"amount": 5}', Money) == Money(5)


def test_the_payloads_class_wins_over_another_expected_type_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert AS_1X.from_text(envelope({"amount": 5}), Order) == Money(5)

    assert "payload declares class" in caplog.text


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ('{"__class__":"X","__module__":"no.such","__data__":1}', ValueError, "module 'no.such' is not loaded"),
        ('{"__class__":"X","__module__":"json","__data__":1}', AttributeError, "class 'X' not found in module 'json'"),
        (
            '{"__class__":"JSONDecoder","__module__":"json","__data__":1}',
            TypeError,
            "class <class 'dict'> does not expose a `from_json` function",
        ),
    ],
)
def test_an_envelope_that_cannot_be_opened_says_why(text: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        CONVERTER.from_text(text)


# Strict typing.


def test_strict_opens_an_envelope_only_into_the_expected_type() -> None:
    assert STRICT_1X.from_text(envelope({"amount": 5}), Money) == Money(5)
    with pytest.raises(TypeError, match="strict mode requires expected_type"):
        STRICT_1X.from_text(envelope({"amount": 5}))
    with pytest.raises(TypeError, match="but expected"):
        STRICT_1X.from_text(envelope({"amount": 5}), Order)


def test_strict_refuses_nested_custom_objects() -> None:
    assert STRICT_1X.to_text(Money(5)) == envelope({"amount": 5})
    with pytest.raises(TypeError):
        STRICT_1X.to_text([Money(5)])
    with pytest.raises(TypeError):
        STRICT_1X.to_text(Money(Money(1)))


def test_strict_refuses_a_plain_value_of_another_type() -> None:
    with pytest.raises(TypeError, match="is not compatible with expected type"):
        STRICT.from_text("5", str)


def test_a_plain_value_of_another_type_is_returned_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert CONVERTER.from_text("5", str) == 5

    assert "deserialized value (int) is not compatible" in caplog.text


# Wrapping.


@given(st.text(st.characters()))
def test_an_argument_survives_wrapping(text: str) -> None:
    wrapped = CONVERTER.wrap_argument(text)

    assert wrapped.encode("utf-8")
    assert CONVERTER.unwrap_argument(wrapped) == text


def test_an_argument_is_an_array_with_one_string() -> None:
    assert CONVERTER.wrap_argument('"Tokyo"') == '["\\"Tokyo\\""]'


@pytest.mark.parametrize(
    ("payload", "text"), [('[{"a": 1.50}]', '{"a": 1.50}'), ("[5]", "5"), ("[null]", "null"), (None, None)]
)
def test_an_argument_of_another_language_is_its_json_text(payload: str | None, text: str | None) -> None:
    assert CONVERTER.unwrap_argument(payload) == text


@pytest.mark.parametrize("payload", ["[]", "[1,2]", "5", "{}", "nonsense", ""])
def test_a_payload_with_another_number_of_arguments_is_refused(payload: str) -> None:
    with pytest.raises(ValueError, match="expected to be an object array with one element"):
        CONVERTER.unwrap_argument(payload)


@pytest.mark.parametrize(
    ("recorded", "text"),
    [
        ('"5"', "5"),
        ('"\\"x\\""', '"x"'),
        ('"x"', '"x"'),
        ('""', '""'),
        ('{"a":1}', '{"a":1}'),
        ("5", "5"),
        ('"NaN"', "NaN"),
        ('"2024-02-03T04:05:06Z"', '"2024-02-03T04:05:06Z"'),
        (None, None),
        ('"broken', '"broken'),
    ],
)
def test_a_recorded_input_loses_one_string_level_if_json_is_left(recorded: str | None, text: str | None) -> None:
    assert CONVERTER.unwrap_input(recorded) == text


@given(JSON_VALUES)
def test_an_input_survives_wrapping(value: object) -> None:
    text = CONVERTER.to_text(value)

    assert CONVERTER.unwrap_input(CONVERTER.wrap_text(text)) == text


@pytest.mark.parametrize(
    "value", ["a\x85\u2028\u2029\x7f\xe9", {"text": "a\x85\u2028\u2029\x7f\xe9"}, ["\x85"]], ids=["text", "object", "list"]
)
def test_an_output_has_the_three_escapes_of_newtonsoft_wherever_its_texts_stand(value: Any) -> None:
    text = DataConverter().output_text(value)

    assert not set("\x85\u2028\u2029") & set(text)
    assert json.loads(text) == value
