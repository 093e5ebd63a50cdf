"""What the message of an activity says of runs that began (specs/azure-storage.md 4.8 counts deliveries only)."""

from __future__ import annotations

import base64

from durable_ext.backends.azure_storage.message_codec import (
    MessageEncoding,
    begun_runs,
    decode_envelope,
    encode_envelope,
    from_message_text,
    to_message_text,
    with_begun_runs,
    wrapper_of,
)

PLAIN = encode_envelope(wrapper_of("blob"))


def test_the_mark_is_added_at_the_end_and_replaced() -> None:
    once = with_begun_runs(PLAIN, 1)
    twice = with_begun_runs(once or "", 12)

    assert begun_runs(PLAIN) == 0
    assert once == PLAIN[:-1] + ',"Begun":1}'
    assert twice == PLAIN[:-1] + ',"Begun":12}'
    assert begun_runs(twice) == 12


def test_a_mark_is_taken_back() -> None:
    twice = with_begun_runs(PLAIN, 2) or ""

    assert begun_runs(with_begun_runs(twice, 1) or "") == 1
    assert begun_runs(with_begun_runs(twice, 0) or "") == 0


def test_the_envelope_stays_what_it_was() -> None:
    assert decode_envelope(with_begun_runs(PLAIN, 1) or "") == decode_envelope(PLAIN)


def test_a_base64_text_stays_one() -> None:
    text = with_begun_runs(to_message_text(PLAIN, MessageEncoding.BASE64), 1)

    assert text is not None
    assert base64.b64decode(text).decode() == with_begun_runs(PLAIN, 1)
    assert begun_runs(text) == 1
    assert decode_envelope(from_message_text(text)) == decode_envelope(PLAIN)


def test_a_message_without_room_is_left_alone() -> None:
    assert with_begun_runs('{"x":"' + "x" * 61 * 1024 + '"}', 1) is None
