"""Message texts, polling delays, query filters and offload limits: the small pure parts."""

from __future__ import annotations

import base64
from datetime import datetime, timezone

import pytest

from durable_ext.backends.azure_storage.backoff import PollingBackoff, redelivery_delay
from durable_ext.backends.azure_storage.large_payloads import (
    MAX_COLUMN_UNITS,
    check_plain_column,
    exceeds_column,
    utf16_units,
)
from durable_ext.backends.azure_storage.message_codec import (
    MessageEncoding,
    decode_envelope,
    encode_envelope,
    from_message_text,
    to_message_text,
    wrapper_of,
)
from durable_ext.backends.azure_storage.query import instance_filter_text
from durable_ext.codec.wire import WireFormatError
from durable_ext.core.events import OrchestrationStatus
from durable_ext.core.instances import InstanceFilter
from durable_ext.core.timestamps import MIN_TICKS, ticks_from_datetime
from durable_ext.errors import PayloadTooLargeError

DAY = ticks_from_datetime(datetime(2018, 1, 10, 10, 10, 10, tzinfo=timezone.utc))


def test_the_wrapper_of_an_offloaded_message_is_the_providers() -> None:
    text = encode_envelope(wrapper_of("abc123/message-0f0e-ExecutionStarted.json.gz"))

    assert text == (
        '{"$type":"DurableTask.AzureStorage.MessageData","ActivityId":"00000000-0000-0000-0000-000000000000",'
        '"TaskMessage":null,"CompressedBlobName":"abc123/message-0f0e-ExecutionStarted.json.gz","SequenceNumber":0,'
        '"Sender":null,"SerializableTraceContext":null}'
    )
    assert decode_envelope(text).blob_name == "abc123/message-0f0e-ExecutionStarted.json.gz"


@pytest.mark.parametrize("encoding", list(MessageEncoding))
def test_a_message_text_is_read_in_either_form(encoding: MessageEncoding) -> None:
    text = to_message_text('{"a":"é"}', encoding)

    found = from_message_text(text)

    assert (found if isinstance(found, bytes) else found.encode()) == '{"a":"é"}'.encode()
    assert text.startswith("{") is (encoding is MessageEncoding.UTF8)


@pytest.mark.parametrize("text", ["nonsense!", "", base64.b64encode(b"nonsense").decode(), "[]", "{}", '{"TaskMessage":5}'])
def test_what_is_no_message_is_refused(text: str) -> None:
    with pytest.raises(WireFormatError):
        decode_envelope(from_message_text(text))


def test_empty_polls_wait_longer_and_longer_up_to_the_limit() -> None:
    backoff = PollingBackoff(maximum=1.0)

    waits = [round(backoff.after_empty(0.5), 3) for _ in range(8)]

    assert waits == [0.05, 0.1, 0.15, 0.25, 0.45, 0.85, 1.0, 1.0]


def test_waits_do_not_grow_beyond_the_limit_while_there_is_one() -> None:
    limit: list[float | None] = [0.2]
    backoff = PollingBackoff(maximum=30.0, limit=lambda: limit[0])

    limited = [round(backoff.after_empty(0.5), 3) for _ in range(6)]
    limit[0] = None

    assert limited == [0.05, 0.1, 0.15, 0.2, 0.2, 0.2]
    assert [round(backoff.after_empty(0.5), 3) for _ in range(3)] == [0.25, 0.45, 0.85]


def test_a_found_message_starts_the_waits_again() -> None:
    backoff = PollingBackoff(maximum=30.0)
    for _ in range(5):
        backoff.after_empty(0.5)

    backoff.reset()

    assert backoff.after_empty(0.5) == 0.05


def test_an_abandoned_message_stays_away_for_at_most_ten_minutes() -> None:
    assert [redelivery_delay(count) for count in (1, 2, 9, 10, 31)] == [2, 4, 512, 600, 600]


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (InstanceFilter(), ""),
        (InstanceFilter(created_from=DAY), "CreatedTime ge datetime'2018-01-10T10:10:10.0000000Z'"),
        (InstanceFilter(created_from=MIN_TICKS), "CreatedTime ge datetime'1601-01-01T00:00:00.0000000Z'"),
        (
            InstanceFilter(statuses=frozenset({OrchestrationStatus.RUNNING, OrchestrationStatus.COMPLETED})),
            "RuntimeStatus eq 'Completed' or RuntimeStatus eq 'Running'",
        ),
        (InstanceFilter(instance_id_prefix="abc"), "(PartitionKey ge 'abc') and (PartitionKey lt 'abd')"),
        (InstanceFilter(instance_id_prefix="it's/"), "(PartitionKey ge 'it''s^0') and (PartitionKey lt 'it''s^1')"),
        (InstanceFilter(include_entities=False), "PartitionKey lt '@' or PartitionKey ge 'A'"),
        (InstanceFilter(include_orchestrations=False), "(PartitionKey ge '@') and (PartitionKey lt 'A')"),
        (
            InstanceFilter(created_from=DAY, created_to=DAY, statuses=frozenset({OrchestrationStatus.RUNNING})),
            "(CreatedTime ge datetime'2018-01-10T10:10:10.0000000Z') and "
            "(CreatedTime le datetime'2018-01-10T10:10:10.0000000Z') and (RuntimeStatus eq 'Running')",
        ),
    ],
)
def test_a_query_becomes_the_filter_that_the_provider_sends(wanted: InstanceFilter, text: str) -> None:
    assert instance_filter_text(wanted) == text


@pytest.mark.parametrize(
    ("last", "following"),
    [
        ("a", "b"),
        ("\ud7ff", "\U00010000"),
        ("\ue000", "\ue001"),
        ("😀", "😁"),
        ("\U0001f3ff", "\U0001f400"),
        ("\U0010ffff", "\ue000"),
    ],
)
def test_a_prefix_ends_before_the_next_character_in_the_order_of_utf_16(last: str, following: str) -> None:
    wanted = InstanceFilter(instance_id_prefix=f"a{last}")

    assert instance_filter_text(wanted) == f"(PartitionKey ge 'a{last}') and (PartitionKey lt 'a{following}')"
    assert last.encode("utf-16-be") < following.encode("utf-16-be")


def test_a_prefix_that_ends_with_the_last_character_ends_with_the_one_before() -> None:
    wanted = InstanceFilter(instance_id_prefix="a\uffff")

    assert instance_filter_text(wanted) == "(PartitionKey ge 'a\uffff') and (PartitionKey lt 'b')"
    assert instance_filter_text(InstanceFilter(instance_id_prefix="\uffff")) == "PartitionKey ge '\uffff'"


@pytest.mark.parametrize(
    ("text", "large"),
    [
        ("x" * MAX_COLUMN_UNITS, False),
        ("x" * (MAX_COLUMN_UNITS + 1), True),
        ("😀" * (MAX_COLUMN_UNITS // 2), False),
        ("😀" * (MAX_COLUMN_UNITS // 2 + 1), True),
    ],
)
def test_columns_are_measured_in_utf_16_units(text: str, large: bool) -> None:
    assert exceeds_column(text) is large


def test_a_custom_status_over_the_column_limit_is_refused_with_its_size() -> None:
    with pytest.raises(PayloadTooLargeError) as caught:
        check_plain_column("the custom status", "😀" * 16_385)

    assert caught.value.size_bytes == utf16_units("😀" * 16_385) * 2
