"""What a queue message says of workers that gave it back (specs/azure-storage.md 4.8 counts deliveries only)."""

from __future__ import annotations

import base64

from durable_ext.backends.azure_storage.message_codec import (
    MessageEncoding,
    decode_envelope,
    encode_envelope,
    from_message_text,
    returns_of,
    to_message_text,
    with_return,
    wrapper_of,
)

PLAIN = encode_envelope(wrapper_of("blob"))


def test_a_return_is_added_at_the_end_and_counted_up() -> None:
    once = with_return(PLAIN)
    twice = with_return(once or "")

    assert returns_of(PLAIN) == 0
    assert once == PLAIN[:-1] + ',"Returned":1}'
    assert twice == PLAIN[:-1] + ',"Returned":2}'
    assert returns_of(twice) == 2


def test_the_envelope_stays_what_it_was() -> None:
    assert decode_envelope(with_return(PLAIN) or "") == decode_envelope(PLAIN)


def test_a_base64_text_stays_one() -> None:
    text = with_return(to_message_text(PLAIN, MessageEncoding.BASE64))

    assert text is not None
    assert base64.b64decode(text).decode() == with_return(PLAIN)
    assert returns_of(text) == 1
    assert decode_envelope(from_message_text(text)) == decode_envelope(PLAIN)


def test_a_message_without_room_is_left_alone() -> None:
    assert with_return('{"x":"' + "x" * 61 * 1024 + '"}') is None
