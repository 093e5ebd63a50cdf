"""Calls of one kind that wait for free slots and run side by side."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Generic, TypeVar

from durable_ext.aio.slots import Slots
from durable_ext.aio.supervisor import Supervisor

T = TypeVar("T")
_TURN: Final = 32  # calls that may end without suspending before the loop gets a turn


class CallQueue(Generic[T]):
    """Runs `call(item)` for each item, as many at once as there are slots. Used from one event loop only.

    Not one task per item: a runner starts the next one only when it is about to wait, so a thousand calls that never
    suspend cost two tasks. `call` must not raise; what it raises stops the supervisor. When the slots are closed, what has
    not begun stays in `waiting`, and `turned_away` is called.
    """

    def __init__(
        self,
        name: str,
        slots: Slots,
        supervisor: Supervisor,
        call: Callable[[T], Awaitable[None]],
        turned_away: Callable[[], None] | None = None,
    ) -> None:
        self._name = name
        self._slots = slots
        self._supervisor = supervisor
        self._call = call
        self._turned_away = turned_away
        self._starting = False
        self.waiting: deque[T] = deque()
        self.runners: set[asyncio.Task[None]] = set()

    def add(self, items: Iterable[T]) -> None:
        """Put items in line."""
        self.waiting.extend(items)
        self._start_runner()

    def _start_runner(self) -> None:
        if self.waiting and not self._starting:
            self._starting = True
            task = self._supervisor.start(self._name, self._run())
            self.runners.add(task)
            task.add_done_callback(self.runners.discard)

    async def _run(self) -> None:
        slots, waiting = self._slots, self.waiting
        held, turn = False, 0
        try:
            try:
                held = await slots.take()
            finally:
                self._starting = False
            while held and waiting and not slots.closed:
                item = waiting.popleft()
                if waiting and not self._starting:
                    self._start_runner()
                await self._call(item)
                turn += 1
                if turn == _TURN or slots.wanted:
                    turn, held = 0, False
                    slots.give_back()
                    await asyncio.sleep(0)
                    held = await slots.take()
            if slots.closed and self._turned_away is not None:
                self._turned_away()
        finally:
            if held:
                slots.give_back()
