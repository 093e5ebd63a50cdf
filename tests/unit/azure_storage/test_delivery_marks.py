"""What our workers note in a message of its deliveries (specs/azure-storage.md 4.8: the service counts them only)."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from durable_ext.backends.azure_storage.message_codec import (
    DeliveryMarks,
    MessageEncoding,
    decode_envelope,
    encode_envelope,
    from_message_text,
    marks_of,
    to_message_text,
    with_marks,
    without_marks,
    wrapper_of,
)

PLAIN = encode_envelope(wrapper_of("blob"))
ONE_RUN = DeliveryMarks(begun=1)


def marked(marks: DeliveryMarks, text: str = PLAIN) -> str:
    found = with_marks(text, marks)
    assert found is not None
    return found


def test_a_message_of_others_has_none() -> None:
    assert marks_of(PLAIN) == DeliveryMarks()


@pytest.mark.parametrize(
    ("marks", "members"),
    [
        (ONE_RUN, ',"Begun":1'),
        (DeliveryMarks(returned=12), ',"Returned":12'),
        (DeliveryMarks(begun=3, returned=2), ',"Begun":3,"Returned":2'),
    ],
)
def test_marks_stand_at_the_end(marks: DeliveryMarks, members: str) -> None:
    assert marked(marks) == PLAIN[:-1] + members + "}"
    assert marks_of(marked(marks)) == marks


def test_marks_are_replaced_and_taken_back_byte_by_byte() -> None:
    both = marked(DeliveryMarks(begun=12, returned=7), marked(ONE_RUN))

    assert marks_of(marked(replace(marks_of(both), begun=11), both)) == DeliveryMarks(begun=11, returned=7)
    assert marked(DeliveryMarks(), both) == PLAIN


def test_a_mark_of_zero_is_read() -> None:
    assert marks_of(PLAIN[:-1] + ',"Begun":0}') == DeliveryMarks()


def test_the_envelope_stays_what_it_was() -> None:
    assert decode_envelope(marked(DeliveryMarks(begun=1, returned=1))) == decode_envelope(PLAIN)


def test_members_that_nobody_knows_stay() -> None:
    foreign = PLAIN[:-1] + ',"Later":{"Begun":5}}'

    assert marked(ONE_RUN, foreign) == foreign[:-1] + ',"Begun":1}'
    assert marked(DeliveryMarks(), marked(ONE_RUN, foreign)) == foreign


def test_a_base64_text_stays_one() -> None:
    text = marked(ONE_RUN, to_message_text(PLAIN, MessageEncoding.BASE64))

    assert base64.b64decode(text).decode() == marked(ONE_RUN)
    assert marks_of(text) == ONE_RUN
    assert decode_envelope(from_message_text(text)) == decode_envelope(PLAIN)


def test_a_message_without_room_is_left_alone() -> None:
    assert with_marks('{"x":"' + "x" * 61 * 1024 + '"}', ONE_RUN) is None


def test_words_like_marks_inside_say_nothing() -> None:
    foreign = '{"x":"' + ',\\"Begun\\":1' * 30 + '","y":[{"z":1,"Begun":2,"Returned":3}],"Begun":"4"}'

    assert marks_of(foreign) == DeliveryMarks()
    assert marked(ONE_RUN, foreign) == foreign[:-1] + ',"Begun":1}'


def test_numbers_that_no_worker_writes_are_no_marks() -> None:
    assert marks_of(PLAIN[:-1] + ',"Begun":' + "9" * 5_000 + "}") == DeliveryMarks()


@pytest.mark.parametrize("encoding", list(MessageEncoding))
@pytest.mark.parametrize("space", ["", "\n", " \r\n" * 400])
@pytest.mark.parametrize("filling", ["", "x" * 255, "x" * 256, "x" * 257, "\u00e9\u4e16\U0001f600" * 900])
def test_all_but_the_marks_stays_as_it_is(filling: str, space: str, encoding: MessageEncoding) -> None:
    plain = f'{{"x":"{filling}"}}{space}'
    marks = DeliveryMarks(begun=4_294_967_295, returned=4_294_967_295)

    text = marked(marks, to_message_text(plain, encoding))

    assert marks_of(text) == marks
    assert json_of(text) == f'{{"x":"{filling}","Begun":4294967295,"Returned":4294967295}}{space}'.encode()
    assert json_of(without_marks(text)) == plain.encode()


def json_of(text: str) -> bytes:
    json_text = from_message_text(text)
    return json_text if isinstance(json_text, bytes) else json_text.encode()


def test_a_base64_text_of_several_lines_is_marked_too() -> None:
    lines = base64.encodebytes(PLAIN.encode() * 3).decode()

    assert from_message_text(marked(ONE_RUN, lines)) == (PLAIN * 3)[:-1].encode() + b',"Begun":1}'
    assert marks_of(marked(ONE_RUN, lines)) == ONE_RUN
    assert without_marks(lines) is lines


def test_bytes_that_are_no_text_stay_as_they_are() -> None:
    text = base64.b64encode(b'{"x":"\xff"}').decode()

    assert base64.b64decode(marked(ONE_RUN, text)) == b'{"x":"\xff","Begun":1}'
