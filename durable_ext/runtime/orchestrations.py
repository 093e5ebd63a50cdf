"""Locks instances that have something to do and hands each to its owner; the same for entities."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, Protocol

from durable_ext.aio.slots import Slots
from durable_ext.aio.supervisor import Supervisor
from durable_ext.backends.protocol import OrchestrationSession
from durable_ext.errors import BackendUnavailableError
from durable_ext.runtime.backoff import Backoff

log = logging.getLogger("durable_ext.runtime.orchestrations")

_LOCK_WAIT: Final = timedelta(seconds=30)


class HeldSession(Protocol):
    """Whatever handles a session until it is over; gives the slot back."""

    async def run(self) -> None: ...


class SessionDispatcher:
    """Takes sessions while there are slots. Used from one event loop only."""

    def __init__(
        self,
        *,
        name: str,
        lock_next: Callable[[timedelta], Awaitable[OrchestrationSession | None]],
        hold: Callable[[OrchestrationSession], HeldSession],
        slots: Slots,
        supervisor: Supervisor,
        may_take: Callable[[], bool],
    ) -> None:
        self._name = name
        self._lock_next = lock_next
        self._hold = hold
        self._slots = slots
        self._supervisor = supervisor
        self._may_take = may_take
        self.draining = False

    async def run(self) -> None:
        """Take work until the worker drains."""
        backoff = Backoff()
        slots = self._slots
        while not self.draining:
            # A slot must be free, but is not held while waiting: an instance in memory may need it for a message.
            await slots.take()
            slots.give_back()
            if not self._may_take():
                await backoff.pause(log, f"{self._name}s are not taken", _NO_THREADS)
                continue
            try:
                session = await self._lock_next(_LOCK_WAIT)
            except BackendUnavailableError as error:
                await backoff.pause(log, f"{self._name}s cannot be fetched", error)
                continue
            backoff.reset()
            if session is not None:
                try:
                    await slots.take()
                except asyncio.CancelledError:
                    await session.release()
                    raise
                self._supervisor.start(self._name, self._hold(session).run())


_NO_THREADS: Final = RuntimeError("all orchestrator threads are blocked by user code")
