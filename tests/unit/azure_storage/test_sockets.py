"""The race between the addresses of a host, over loopback."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from durable_ext.backends.azure_storage.transport.keep_alive_wire import KeepAliveWire
from durable_ext.backends.azure_storage.transport.patience import Patience
from durable_ext.backends.azure_storage.transport.sockets import AddressEntry, connect_to, connect_to_first

_MORE_STEPS_THAN_CONNECTING_HAS = 40


@contextmanager
def listening(backlog: int = 10) -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(backlog)
        yield listener


def entry(address: tuple[str, int]) -> AddressEntry:
    return (socket.AF_INET, socket.SOCK_STREAM, 0, "", address)


def soon() -> Patience:
    return Patience(20)


@pytest.fixture
def refusing() -> AddressEntry:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return entry(bound.getsockname())


@pytest.fixture
async def silent() -> AsyncIterator[AddressEntry]:
    """An address that lets a connection attempt wait: its queue of connections is full."""
    loop = asyncio.get_running_loop()
    with listening(backlog=0) as listener:
        filling: list[tuple[socket.socket, asyncio.Task[None]]] = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filling.append((filler, loop.create_task(loop.sock_connect(filler, listener.getsockname()))))
        await asyncio.wait([task for _, task in filling], return_when=asyncio.FIRST_COMPLETED)
        yield entry(listener.getsockname())
        for filler, task in filling:
            task.cancel()
            await asyncio.wait([task])
            filler.close()


async def test_an_address_that_refuses_is_followed_by_the_next_one(refusing: AddressEntry) -> None:
    with listening() as listener:
        connected = await connect_to_first([refusing, entry(listener.getsockname())], soon())

        assert connected.getpeername() == listener.getsockname()
        connected.close()


async def test_an_address_that_does_not_answer_is_overtaken_by_the_next_one(silent: AddressEntry) -> None:
    with listening() as listener:
        connected = await connect_to_first([silent, entry(listener.getsockname())], soon())

        assert connected.getpeername() == listener.getsockname()
        connected.close()


async def test_the_error_is_that_of_the_first_address(refusing: AddressEntry) -> None:
    with pytest.raises(ConnectionRefusedError):
        await connect_to_first([refusing, (socket.AF_INET, 12345, 0, "", ("127.0.0.1", 1))], soon())  # type: ignore[list-item]


async def test_a_name_is_looked_up() -> None:
    with listening() as listener:
        connected = await connect_to("localhost", listener.getsockname()[1], seconds=20)

        assert connected.getpeername() == listener.getsockname()
        connected.close()


@pytest.fixture
def quick_collection() -> Iterator[None]:
    """Let the collector look only at what the test makes: the objects of a whole test run take it half a second."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("quick_collection")
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("steps", range(_MORE_STEPS_THAN_CONNECTING_HAS))
async def test_a_request_that_is_cancelled_while_it_connects_ends_at_once_and_leaves_no_socket(
    host: str, steps: int
) -> None:
    wire = KeepAliveWire(timeout=timedelta(seconds=2), max_connections=1)
    with listening() as listener, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        origin = f"http://{host}:{listener.getsockname()[1]}"
        sending = asyncio.ensure_future(wire.send("GET", origin, "/", {}, b""))
        for _ in range(steps):
            await asyncio.sleep(0)

        sending.cancel()
        await asyncio.wait([sending])
        await wire.close()
        await asyncio.sleep(0)  # tasks that were cancelled take their leave
        await asyncio.sleep(0)

        assert sending.cancelled()
        del sending
        gc.collect()
        assert [str(warning.message) for warning in warned] == []


async def test_a_connection_that_is_not_made_in_time_is_given_up(silent: AddressEntry) -> None:
    wire = KeepAliveWire(timeout=timedelta(milliseconds=50), max_connections=1)
    host, port = silent[4]

    with pytest.raises(TimeoutError, match="no connection"):
        await wire.send("GET", f"http://{host}:{port}", "/", {}, b"")

    await wire.close()
