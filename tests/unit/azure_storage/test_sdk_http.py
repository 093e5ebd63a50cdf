"""Our HTTP client below the Azure SDK: what its pipelines are told when there is no answer, and the parts of a batch's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from azure.core.exceptions import ServiceRequestError, ServiceResponseError
from azure.core.rest import HttpRequest

from durable_ext.backends.azure_storage.transport.keep_alive_wire import KeepAliveWire
from durable_ext.backends.azure_storage.transport.sdk_http import KeepAliveSdkTransport

ACCEPTED = b"""HTTP/1.1 202 Accepted\r
Content-Type: multipart/mixed; boundary=batchresponse_1\r
Content-Length: %d\r
\r
%s"""
PARTS = b"""--batchresponse_1\r
Content-Type: multipart/mixed; boundary="changesetresponse_1"\r
\r
--changesetresponse_1\r
Content-Type: application/http\r
Content-Transfer-Encoding: binary\r
\r
HTTP/1.1 204 No Content\r
ETag: W/"one"\r
\r
\r
--changesetresponse_1\r
Content-Type: application/http\r
Content-Transfer-Encoding: binary\r
\r
HTTP/1.1 409 Conflict\r
Content-Type: application/json\r
\r
{"code": "EntityAlreadyExists"}\r
--changesetresponse_1--\r
--batchresponse_1--\r
"""


@asynccontextmanager
async def answering(content: bytes) -> AsyncIterator[str]:
    """Answer every request with these bytes, then close the connection; yields the origin."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(content)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield "http://{}:{}".format(*server.sockets[0].getsockname())
    finally:
        server.close()
        await server.wait_closed()


@pytest.fixture
async def transport() -> AsyncIterator[KeepAliveSdkTransport]:
    opened = KeepAliveSdkTransport(KeepAliveWire(timeout=timedelta(seconds=20), max_connections=1))
    yield opened
    await opened.close()


async def test_a_server_that_is_not_there_is_told_apart_from_one_that_does_not_answer(
    transport: KeepAliveSdkTransport,
) -> None:
    async with answering(b"") as origin:
        with pytest.raises(ServiceResponseError):
            await transport.send(HttpRequest("POST", f"{origin}/acct/queue/messages", content=b"text"))

    with pytest.raises(ServiceRequestError):
        await transport.send(HttpRequest("POST", f"{origin}/acct/queue/messages", content=b"text"))


async def test_each_operation_of_a_batch_has_its_own_answer(transport: KeepAliveSdkTransport) -> None:
    async with answering(ACCEPTED % (len(PARTS), PARTS)) as origin:
        answer = await transport.send(HttpRequest("POST", f"{origin}/acct/$batch", content=b"batch"))

    stored, refused = [part async for part in answer.parts()]

    assert (stored.status_code, stored.headers["Etag"]) == (204, 'W/"one"')
    assert (refused.status_code, refused.json()) == (409, {"code": "EntityAlreadyExists"})
