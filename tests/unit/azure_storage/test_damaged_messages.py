"""Messages with something wrong anywhere in them: refused with `WireFormatError`, or good enough to be stored."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from frozen_hub import INTEROP
from hypothesis import given, settings
from hypothesis import strategies as st

from durable_ext.backends.azure_storage.event_columns import event_from_columns, event_to_columns
from durable_ext.backends.azure_storage.message_codec import decode_envelope, encode_envelope, from_message_text
from durable_ext.backends.azure_storage.transport.edm import EdmDateTime, EdmOther, entity_to_json, row_from_json
from durable_ext.codec.event_members import Kind
from durable_ext.codec.wire import WireFormatError, column_text, column_value
from durable_ext.core.events import HistoryEvent
from durable_ext.core.timestamps import ticks_from_iso


def _recorded() -> tuple[list[str], list[dict[str, Any]]]:
    texts: dict[str, str] = {}
    rows: dict[str, dict[str, Any]] = {}
    for path in sorted(INTEROP.glob("*.json")):
        content = json.loads(path.read_text())
        for messages in content["queues"].values():
            for message in messages:
                plain = from_message_text(message["text"])
                text = plain if isinstance(plain, str) else plain.decode()
                envelope = json.loads(text)
                if envelope["TaskMessage"] is not None:
                    texts.setdefault(envelope["TaskMessage"]["Event"]["$type"], text)
        for table, found in content["tables"].items():
            if table.endswith("History"):
                for row in found:
                    rows.setdefault(row.get("EventType", "sentinel"), row)
    del rows["sentinel"]
    return list(texts.values()), list(rows.values())


TEXTS, ROWS = _recorded()
ODD: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**31, -(2**31) - 1, 10**30, 1e400, 0.5])
    | st.text()
    | st.sampled_from(["null", "", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "\ud800", "{", '{"a":1}']),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["$type", "InstanceId", "x"]), inner),
    max_leaves=4,
)


def _paths(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for name, member in value.items():
            found += _paths(member, (*path, name))
    return found


def _damage(value: Any, path: tuple[str, ...], odd: Any) -> Any:
    if not path:
        return odd
    return {**value, path[0]: _damage(value[path[0]], path[1:], odd)}


def _dates(event: HistoryEvent) -> list[int]:
    """Of those before 1601 a table keeps that year only."""
    others = (getattr(event, name, None) for name in ("fire_at", "scheduled_start_time"))
    return [event.timestamp, *(date for date in others if date is not None)]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_message_with_an_odd_member_is_refused_or_can_be_stored(data: st.DataObject) -> None:
    whole = json.loads(data.draw(st.sampled_from(TEXTS)))
    path = data.draw(st.sampled_from(_paths(whole)))
    text = json.dumps(_damage(whole, path, data.draw(ODD)))

    try:
        envelope = decode_envelope(text)
    except WireFormatError:
        return

    assert decode_envelope(encode_envelope(envelope)) == envelope
    assert isinstance(envelope.episode, int | None)
    assert isinstance(envelope.blob_name, str | None)
    if envelope.message is not None:
        columns = event_to_columns(envelope.message.event, "e")
        read = event_from_columns(row_from_json(json.loads(entity_to_json(columns))).entity)
        assert event_to_columns(read, "e") == columns
        if min(_dates(envelope.message.event)) > ticks_from_iso("1601-01-01T00:00:00Z"):
            assert read == envelope.message.event


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_history_row_with_an_odd_column_is_refused_or_read(data: st.DataObject) -> None:
    row = dict(data.draw(st.sampled_from(ROWS)))
    names = [name for name in row if "@" not in name and name not in ("PartitionKey", "RowKey")]
    columns = row_from_json(row).entity
    odd = data.draw(ODD.filter(lambda value: isinstance(value, (str, bool, int)) and value not in (2**31,)))
    columns[data.draw(st.sampled_from(names))] = data.draw(
        st.sampled_from([odd, EdmOther("Edm.Int64", str(odd)), EdmDateTime("2024-05-06T07:08:09Z")])
    )

    try:
        event_from_columns(columns)
    except WireFormatError:
        return


@pytest.mark.parametrize("opening", ['{"TaskMessage":' + "[" * 30_000, '{"TaskMessage":' * 30_000], ids=["lists", "objects"])
def test_a_message_nested_without_end_is_refused(opening: str) -> None:
    for text in (opening, base64.b64encode(opening.encode()).decode()):
        with pytest.raises(WireFormatError):
            decode_envelope(from_message_text(text))


def test_base64_in_lines_is_read() -> None:
    lines = base64.encodebytes(TEXTS[0].encode()).decode()

    assert decode_envelope(from_message_text(lines)) == decode_envelope(TEXTS[0])


def test_a_tag_without_a_value_is_left_out() -> None:
    assert column_value(Kind.TAGS, '{"a":null,"b":"x"}') == {"b": "x"}


def test_failure_properties_keep_their_digits_and_lose_their_types_in_a_column() -> None:
    stored = '{"$type":"D","large":18446744073709551615,"list":[{"$type":"E","a":[{"$type":"F","b":1.0}]}]}'
    text = f'{{"ErrorType":"a","ErrorMessage":"b","Properties":{stored}}}'

    written = column_text(Kind.FAILURE, column_value(Kind.FAILURE, text))

    assert '"Properties":{"large":18446744073709551615,"list":[{"a":[{"b":1.0}]}]}' in written
