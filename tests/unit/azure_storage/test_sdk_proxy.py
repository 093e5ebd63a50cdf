"""The transport on the SDK packages where the environment names a proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from durable_ext.backends.azure_storage.transport.account import account_from_connection_string
from durable_ext.backends.azure_storage.transport.connection import open_transport
from durable_ext.backends.azure_storage.transport.queue import MessageReceipt


@asynccontextmanager
async def recording_server(heads: list[str]) -> AsyncIterator[str]:
    """Answer every request with 204 and keep its head; yields the origin."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"
    finally:
        server.close()
        await server.wait_closed()


def connection_string(root: str) -> str:
    endpoints = "".join(f"{service}Endpoint={root}/acct;" for service in ("Blob", "Queue", "Table"))
    return f"AccountName=acct;AccountKey=a2V5;{endpoints}"


async def delete_a_message(root: str) -> None:
    transport = open_transport(account_from_connection_string(connection_string(root)), "sdk")
    try:
        await transport.queues.delete("queue", MessageReceipt("id", "receipt"))
    finally:
        await transport.close()


async def test_the_sdk_goes_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[str] = []
    async with recording_server(heads) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.delenv("no_proxy", raising=False)

        await delete_a_message("http://azurite:10001")

    assert heads[0].startswith("DELETE http://azurite:10001/acct/queue/messages/id?")


async def test_the_sdk_reaches_this_machine_without_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[str] = []
    async with recording_server(heads) as emulator:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        monkeypatch.delenv("no_proxy", raising=False)

        await delete_a_message(emulator)

    assert heads[0].startswith("DELETE /acct/queue/messages/id?")
