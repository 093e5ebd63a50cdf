"""Storage calls of a process that are counted, recorded, or cut off for ever at the n-th one.

For backends that talk to a service through a transport: an instance is an interceptor around every call.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final

from durable_ext.backends.azure_storage.transport.errors import StorageUnavailableError
from durable_ext.backends.azure_storage.transport.http import HttpAnswer, Interceptor, StorageCall

_POLLS: Final = frozenset({"queue.get", "queue.length"})


def is_work(call: StorageCall) -> bool:
    """Whether a call belongs to what instances and clients do, and not to polling or keeping leases.

    Work comes in the same number and almost the same order in every run of a scenario, the rest depends on time.
    """
    return call.verb not in _POLLS and "Partitions" not in call.resource and "lease" not in call.verb + call.resource


class Moment(Enum):
    """Where a process dies: with the n-th call not made, or made and its answer lost."""

    BEFORE = "before"
    AFTER = "after"


class CallCounter:
    """Lets every call through and counts those that `counted` wants, by verb."""

    def __init__(self, counted: Callable[[StorageCall], bool] = is_work) -> None:
        self._counted = counted
        self.by_verb: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """How many calls were counted."""
        return self.by_verb.total()

    async def __call__(self, call: StorageCall, send: Callable[[], Awaitable[HttpAnswer]]) -> HttpAnswer:
        if self._counted(call):
            self.by_verb[call.verb] += 1
        return await send()


class FailingTransport:
    """A process that dies at its n-th storage call: that call and all later ones raise `StorageUnavailableError`.

    Calls that are on their way at that moment still arrive, as those of a killed process do.

    Attributes:
        count: Calls since `arm()`.
        died: Set at the n-th call.
        killed_at: That call; `None` before.
    """

    def __init__(
        self,
        n: int,
        moment: Moment,
        *,
        counted: Callable[[StorageCall], bool] = is_work,
        around: Interceptor | None = None,
    ) -> None:
        """`n` counts from 1, from the call of `arm()` on; `around` sees what gets through."""
        self._n, self._moment, self._counted, self._around = n, moment, counted, around
        self._armed = False
        self.count = 0
        self.died = asyncio.Event()
        self.killed_at: StorageCall | None = None

    def arm(self) -> None:
        """Begin to count."""
        self._armed = True

    async def __call__(self, call: StorageCall, send: Callable[[], Awaitable[HttpAnswer]]) -> HttpAnswer:
        if self.died.is_set():
            raise _dead(call)
        if self._armed and self._counted(call):
            self.count += 1
            if self.count == self._n:
                self.killed_at = call
                self.died.set()
                if self._moment is Moment.AFTER:
                    await self._send(call, send)
                raise _dead(call)
        return await self._send(call, send)

    async def _send(self, call: StorageCall, send: Callable[[], Awaitable[HttpAnswer]]) -> HttpAnswer:
        return await send() if self._around is None else await self._around(call, send)


def _dead(call: StorageCall) -> StorageUnavailableError:
    return StorageUnavailableError(call=f"{call.verb} {call.resource}", why="the process is dead")
