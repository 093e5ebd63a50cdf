"""Which results of an instance may come again with another value, because their activity ran, or may run, twice.

A worker that dies between sending a result and deleting its work item leaves both in the hub: the activity runs again, and
whoever takes over the instance may get the second result first. What was sent for the first one would then be computed
from a value that is recorded nowhere (invariant I2 of design.md 5). Such a result has to be in history before anything is
sent or begun; one that cannot have a rival need not. Source: specs/azure-storage.md 8.10.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence

from durable_ext.backends.azure_storage.held_message import HeldMessage
from durable_ext.core.events import ACTIVITY_RESULTS, CHILD_RESULTS, TASK_RESULTS, HistoryEvent, OrchestratorCompleted


class RivalResults:
    """Owned by one session. A result has no rival if all of this is so:

    * this session sent the work item, once, in an episode that nobody had played before;
    * the item was run by this process at its first delivery, and has been deleted since.

    The result of a child has none if it was handed over in memory, which is done after the child's end was stored.
    """

    __slots__ = ("_is_played_again", "_sent_once", "_unstored")

    def __init__(self, history: Sequence[HistoryEvent]) -> None:
        # Left in the middle of an episode: what comes of it may have been sent before.
        self._is_played_again = bool(history) and history[-1].__class__ is not OrchestratorCompleted
        self._sent_once: set[int] = set()
        self._unstored: list[HeldMessage] = []

    def taken(self, messages: Iterable[HeldMessage]) -> None:
        """These messages are about to be played."""
        self._unstored += [held for held in messages if isinstance(held.message.event, TASK_RESULTS)]

    def is_first_play(self, taken: Collection[HeldMessage]) -> bool:
        """Whether nobody can have played before what these messages cause."""
        first = all(held.dequeue_count == 1 and not held.is_old for held in taken)
        return first and bool(taken) and not self._is_played_again

    def stored(self, events: Sequence[HistoryEvent], consumed: Collection[str], sent_once: Iterable[int]) -> None:
        """Events are in history, messages are consumed, and of these tasks one work item exists."""
        if events and events[-1].__class__ is OrchestratorCompleted:
            self._is_played_again = False
        self._sent_once.update(sent_once)
        if self._unstored:
            known = {id(event) for event in events}
            self._unstored = [
                held for held in self._unstored if id(held.message.event) not in known and held.message_id not in consumed
            ]

    def begin_generation(self) -> None:
        """Task ids begin anew."""
        self._sent_once.clear()

    async def exist(self) -> bool:
        """Whether a message that was taken and is not stored may have a rival; waits for deletions under way."""
        for held in self._unstored:
            event = held.message.event
            if isinstance(event, CHILD_RESULTS):
                if not held.claimed:
                    return True
            elif not (
                isinstance(event, ACTIVITY_RESULTS)
                and event.task_scheduled_id in self._sent_once
                and held.work_item_deleted is not None
                and await asyncio.shield(held.work_item_deleted)
            ):
                return True
        return False
