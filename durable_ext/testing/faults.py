"""Counts storage calls, and lets a task hub die at the n-th one: what a killed process leaves behind, in a test.

An interceptor stands around every call of the lean transport (`AzureStorageBackend(interceptor=...)`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from enum import Enum

from durable_ext.backends.azure_storage.transport.errors import StorageUnavailableError
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer

Send = Callable[[], Awaitable[HttpAnswer]]


class When(Enum):
    """Which side of the n-th call the process dies on."""

    BEFORE = "before"
    AFTER = "after"


class CallCounter:
    """Counts calls by verb, e.g. `queue.put`, `table.batch`."""

    def __init__(self) -> None:
        self.by_verb: Counter[str] = Counter()
        self.trace: list[StorageCall] = []

    @property
    def total(self) -> int:
        """All calls so far."""
        return sum(self.by_verb.values())

    def reset(self) -> None:
        """Start again at zero."""
        self.by_verb.clear()
        self.trace.clear()

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        self.by_verb[call.verb] += 1
        self.trace.append(call)
        return await send()


class FailingTransport:
    """Lets `n - 1` counted calls through, dies at the n-th: from then on no call of this hub ever returns.

    That is what the store sees of a killed process; `died` tells the test, which then drops the hub with `abort()`.
    Empty polls and lease rounds are not counted, because their number depends on time: `counts` says which verbs are.

    Attributes:
        armed: Nothing is counted before it is set.
        count: Calls that were counted.
        died: Set at the n-th one.
        killed_at: The n-th one; `None` before.
    """

    def __init__(self, n: int, when: When, counts: Callable[[StorageCall], bool]) -> None:
        self._n, self._when, self._counts = n, when, counts
        self.count = 0
        self.died = asyncio.Event()
        self.killed_at: StorageCall | None = None
        self.armed = False
        self._buried = asyncio.Event()

    def bury(self) -> None:
        """The test is done with the dead hub: whatever still waits for an answer ends with an error."""
        self._buried.set()

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        if self.died.is_set():
            return await self._hang()
        if not self.armed or not self._counts(call):
            return await send()
        self.count += 1
        if self.count < self._n:
            return await send()
        self.killed_at = call
        if self._when is When.AFTER:
            self.died.set()  # nothing that starts meanwhile may overtake
            await send()
        self.died.set()
        return await self._hang()

    async def _hang(self) -> HttpAnswer:
        await self._buried.wait()
        raise StorageUnavailableError(call="a call of a dead process", why="it is dead")


def is_write(call: StorageCall) -> bool:
    """Whether a call changes what is stored, other than taking a message or renewing something."""
    service, _, verb = call.verb.partition(".")
    if service == "queue":
        return verb in ("put", "delete")
    if service == "table":
        return verb not in ("get", "query", "exists", "create") and not _keeps_leases(call)
    return verb in ("put", "delete")


def _keeps_leases(call: StorageCall) -> bool:
    return "Partitions" in call.resource or (call.verb == "table.batch" and b"Partitions(" in call.body)


def is_work(call: StorageCall) -> bool:
    """Whether a call belongs to an orchestration: writes, and the reads that load it; no polls, no leases."""
    return is_write(call) or (call.verb in ("table.get", "table.query") and not _keeps_leases(call))
