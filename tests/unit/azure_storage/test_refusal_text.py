"""What an error says of a service's refusal: its code and one line, never the body that it came in."""

from __future__ import annotations

import pytest

from durable_ext.backends.azure_storage.transport.errors import (
    StorageConflictError,
    StorageNotFoundError,
    StoragePreconditionError,
    error_from,
)
from durable_ext.backends.azure_storage.transport.refusal_text import one_line, refusal_code, refusal_text
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.errors import BackendUnavailableError

XML = (
    b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?><Error><Code>QueueNotFound</Code><Message>The specified queue '
    b"does not &lt;exist&gt;.\nRequestId:7f2c\nTime:2026-11-21T12:00:00.0Z</Message></Error>"
)
ATOM = (
    b'<?xml version="1.0"?><error xmlns="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata">'
    b'<code>TableNotFound</code><message xml:lang="en-US">The table specified does not exist.\nRequestId:7f2c</message>'
    b"</error>"
)
JSON = (
    b'{"odata.error":{"code":"EntityAlreadyExists","message":{"lang":"en-US","value":"The specified entity already '
    b'exists.\\nRequestId:7f2c\\nTime:2026-11-21T12:00:00.0Z"}}}'
)
BATCH = b"--changeset\r\nHTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\n\r\n" + JSON + b"\r\n--changeset--\r\n"


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (XML, "QueueNotFound", "The specified queue does not <exist>. (request 7f2c)"),
        (ATOM, "TableNotFound", "The table specified does not exist. (request 7f2c)"),
        (JSON, "EntityAlreadyExists", "The specified entity already exists. (request 7f2c)"),
        (BATCH, "EntityAlreadyExists", "The specified entity already exists. (request 7f2c)"),
        (b"", "", ""),
        (b"<html>\r\n<h1>Bad   gateway</h1>\n</html>", "", "<html> <h1>Bad gateway</h1> </html>"),
        (b'{"odata.error":', "", '{"odata.error":'),
        (b'{"odata.error":{"code":7,"message":null}}', "7", '{"odata.error":{"code":7,"message":null}}'),
    ],
)
def test_the_text_of_a_refusal_is_one_line_of_its_message(body: bytes, code: str, text: str) -> None:
    answer = HttpAnswer(409, {}, body)

    assert (refusal_code(answer), refusal_text(answer)) == (code, text)


def test_code_and_request_id_of_the_headers_come_first() -> None:
    answer = HttpAnswer(404, {"x-ms-error-code": "QueueBeingDeleted", "x-ms-request-id": "abc"}, XML)

    assert refusal_code(answer) == "QueueBeingDeleted"
    assert refusal_text(answer) == "The specified queue does not <exist>. (request abc)"
    assert refusal_text(HttpAnswer(404, {"x-ms-request-id": "abc"}, b"")) == "(request abc)"


def test_a_text_of_the_sdk_loses_what_follows_its_message() -> None:
    text = "The specified queue does not exist.\nRequestId:7f2c\nTime:2026-11-21\nErrorCode:QueueNotFound\nContent: <?xml"

    assert one_line(text) == "The specified queue does not exist. (request 7f2c)"


def test_a_very_long_message_is_cut() -> None:
    assert len(one_line("x" * 1000)) == 300


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        *[(404, f"{kind}NotFound", StorageNotFoundError) for kind in ("Queue", "Table", "Container")],
        *[(409, f"{kind}BeingDeleted", StorageConflictError) for kind in ("Queue", "Table", "Container")],
    ],
)
def test_a_queue_table_or_container_that_is_away_may_come_back(status: int, code: str, expected: type[Exception]) -> None:
    error = error_from(call="queue.put /q", status=status, code=code, detail="")

    assert isinstance(error, expected)
    assert isinstance(error, BackendUnavailableError)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "MessageNotFound", StorageNotFoundError),
        (404, "ResourceNotFound", StorageNotFoundError),
        (409, "EntityAlreadyExists", StorageConflictError),
        (412, "UpdateConditionNotSatisfied", StoragePreconditionError),
    ],
)
def test_what_is_not_in_a_queue_or_table_is_no_matter_of_trying_again(
    status: int, code: str, expected: type[Exception]
) -> None:
    error = error_from(call="queue.put /q", status=status, code=code, detail="")

    assert isinstance(error, expected)
    assert not isinstance(error, BackendUnavailableError)
