"""How many messages there are in a queue, which only tests ask."""

from __future__ import annotations

from durable_ext.backends.azure_storage.transport.account import Service
from durable_ext.backends.azure_storage.transport.connection import StorageTransport, open_lean_transport


async def queue_length(transport: StorageTransport, queue: str) -> int:
    """Return how many messages there are, visible or not; asked beside the transport, whose faults it does not have."""
    asking = open_lean_transport(transport.account)
    try:
        assert asking.http is not None
        answer = await asking.http.send("queue.length", Service.QUEUE, "GET", f"/{queue}", params={"comp": "metadata"})
    finally:
        await asking.close()
    return int(answer.headers["x-ms-approximate-messages-count"])
