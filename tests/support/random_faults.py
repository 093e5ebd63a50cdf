"""A transport on which calls fail now and then, before or after they are carried out, and which can die at any moment."""

from __future__ import annotations

import random

from durable_ext.backends.azure_storage.transport.errors import StorageUnavailableError
from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.testing.faults import FailingTransport, Send, When

_NEVER = 1_000_000


class RandomFaults(FailingTransport):
    """Fails a `share` of all calls, polls and leases too, as after all retries; at most `most` of them.

    `armed` begins and ends that. `kill()` is the end of the process that uses it, at whatever it is doing.
    """

    def __init__(self, dice: random.Random, share: float, most: int = 60) -> None:
        super().__init__(_NEVER, When.BEFORE, lambda _: False)
        self._dice, self._share, self._left = dice, share, most

    def kill(self) -> None:
        """No call returns from now on, those on their way neither."""
        self.died.set()

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        if self.died.is_set():
            return await self._hang()
        fate = self._dice.random()
        if self.armed and self._left > 0 and fate < self._share:
            self._left -= 1
            if fate < self._share / 2:
                await send()
            raise StorageUnavailableError(call=f"{call.verb} {call.resource}", why="the dice fell so")
        answer = await send()
        return await self._hang() if self.died.is_set() else answer
