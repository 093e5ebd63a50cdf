"""How stored payloads and errors look in the bodies of the management API."""

from __future__ import annotations

import json

import pytest

from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.instances import InstanceRow
from durable_ext.core.messages import ExecutionId, InstanceId
from durable_ext.core.timestamps import ticks_from_iso
from durable_ext.errors import BackendUnavailableError
from durable_ext.http.payloads import (
    InvalidJsonError,
    UnknownCharsetError,
    body_text,
    check_json,
    double_text,
    encode,
    error_response,
    first_json_value,
    instance_body,
    token,
)


def _row(**changes: object) -> InstanceRow:
    values: dict[str, object] = {
        "instance_id": InstanceId("abc"),
        "execution_id": ExecutionId("e1"),
        "name": "hello",
        "status": OrchestrationStatus.COMPLETED,
        "created_at": ticks_from_iso("2024-05-01T10:00:00.9999999Z"),
        "last_updated_at": ticks_from_iso("2024-05-01T10:00:01.5Z"),
    }
    return InstanceRow(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (None, "null"),
        ("", '""'),
        (" \n", '""'),
        ('"Tokyo"', '"Tokyo"'),
        ('{"a": [1, 2]}', '{"a":[1,2]}'),
        ('{"a": 1, "a": 2}', '{"a":2}'),
        ("Orchestrator function 'x' failed: \"oh\"", '"Orchestrator function \'x\' failed: \\"oh\\""'),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("1.10", "1.1"),
        ("1.0", "1.0"),
        ("100000000000000000000.5", "1E+20"),
        ("NaN", '"NaN"'),
        ("1e400", '"Infinity"'),
        ("-1e400", '"-Infinity"'),
        ('"\\u00e9<>&"', '"é<>&"'),
        ('[1.5, {"b": 2.50, "c": null, "d": true}]', '[1.5,{"b":2.5,"c":null,"d":true}]'),
        ('"2024-05-01T00:00:00Z"', '"2024-05-01T00:00:00Z"'),
    ],
)
def test_a_stored_text_is_shown_as_the_json_it_holds_or_as_a_string(stored: str | None, shown: str) -> None:
    assert token(stored) == shown


def test_json_that_is_nested_too_deeply_is_shown_as_a_string() -> None:
    deep = "[" * 100_000

    assert json.loads(token(deep)) == deep


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (0.0001, "0.0001"),
        (0.00001, "1E-05"),
        (1.5e-7, "1.5E-07"),
        (123456789012345.0, "123456789012345.0"),
        (1e15, "1E+15"),
        (-2.5e100, "-2.5E+100"),
    ],
)
def test_doubles_are_written_as_dotnet_writes_them(value: float, text: str) -> None:
    assert double_text(value) == text


def test_a_status_object_has_its_properties_in_the_documented_order() -> None:
    body = instance_body(_row(input='"in"', output='"out"', custom_status='{"p":1}'))

    assert body == (
        '{"name":"hello","instanceId":"abc","runtimeStatus":"Completed","input":"in","customStatus":{"p":1},'
        '"output":"out","createdTime":"2024-05-01T10:00:00Z","lastUpdatedTime":"2024-05-01T10:00:01Z"}'
    )


def test_a_status_object_without_input_shows_null() -> None:
    assert json.loads(instance_body(_row(input='"in"'), show_input=False))["input"] is None


def test_history_events_are_left_out_unless_asked_for() -> None:
    assert "historyEvents" not in json.loads(instance_body(_row()))
    assert json.loads(instance_body(_row(), history="[]"))["historyEvents"] == []


def test_half_a_surrogate_pair_does_not_break_a_body() -> None:
    assert encode(token('"\\ud800"')) == '"�"'.encode()


def test_an_error_object_names_message_and_exception() -> None:
    body = json.loads(error_response(400, "Bad", ValueError("why")).body)

    assert (body["Message"], body["ExceptionMessage"], body["ExceptionType"]) == ("Bad", "why", "ValueError")


def test_a_store_that_is_away_is_an_error_of_its_own_kind_without_a_stack() -> None:
    try:
        raise BackendUnavailableError("Nobody answers.")
    except BackendUnavailableError as exc:
        body = json.loads(error_response(503, "Later", exc).body)

    assert body == {
        "Message": "Later",
        "ExceptionMessage": "Nobody answers.",
        "ExceptionType": "BackendUnavailableError",
        "StackTrace": None,
    }


def test_a_short_error_object_has_a_message_only() -> None:
    assert json.loads(error_response(409, "Taken").body) == {"Message": "Taken"}


def test_a_body_is_read_in_its_charset_without_a_byte_order_mark() -> None:
    assert body_text("\ufeff{}".encode(), "application/json") == "{}"
    assert body_text("é".encode("latin-1"), 'text/plain; charset="ISO-8859-1"') == "é"


def test_an_unknown_charset_is_named() -> None:
    with pytest.raises(UnknownCharsetError, match="klingon"):
        body_text(b"{}", "application/json; charset=klingon")


@pytest.mark.parametrize("text", ["{", "1 2", "{a}", "'", "[1,2"])
def test_text_that_is_not_one_json_value_is_refused(text: str) -> None:
    with pytest.raises(InvalidJsonError):
        check_json(text)


def test_an_event_takes_the_first_json_value_only() -> None:
    assert first_json_value(' {"a":  1} trailing') == '{"a":1}'


@pytest.mark.parametrize("text", ["", "  ", "{", "nope"])
def test_an_event_without_a_json_value_is_refused(text: str) -> None:
    with pytest.raises(InvalidJsonError):
        first_json_value(text)
