"""One activity that a session awaits inside its own task, until it takes long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from durable_ext.aio.slots import Ticket
from durable_ext.backends.protocol import ActivityWorkItem, OrchestrationSession
from durable_ext.core.episode import Episode
from durable_ext.core.messages import TaskMessage
from durable_ext.errors import CheckpointConflictError
from durable_ext.runtime.local_activities import ActivityResult
from durable_ext.runtime.services import OrchestrationServices


class TakenOverError(Exception):
    """Another task owns the session now; this one has only run the activity that took too long."""


class LoneActivity:
    """Owned by one `HeldInstance`; used from the event loop. No task of its own, no switch for one that never waits.

    Rule R5: if the activity takes long, `go_on` is called with its episode. Then another task owns the session, and calls
    `stored` when the activity is the hub's.
    """

    __slots__ = ("_episode", "_go_on", "_item", "_services", "_session", "_ticket")

    def __init__(
        self, session: OrchestrationSession, services: OrchestrationServices, go_on: Callable[[Episode], None]
    ) -> None:
        self._session, self._services = session, services
        self._go_on: Callable[[Episode], None] | None = go_on
        self._ticket: Ticket | None = None  # while it waits for a slot
        self._episode: Episode | None = None  # while it runs for this session
        self._item: asyncio.Future[ActivityWorkItem | None] | None = None

    async def wait_for_slot(self) -> bool:
        """Wait for a slot; return whether there is one.

        Not if that takes long or the worker drains: then the activity is a wave, which looks for messages while it waits,
        and gives away what has not begun.
        """
        slots, spill = self._services.activity_slots, self._services.spill
        self._ticket = slots.stand_in_line()
        spill.watch(self)
        try:
            return await slots.redeem(self._ticket)
        finally:
            spill.forget(self)
            self._ticket = None

    async def run(self, message: TaskMessage, episode: Episode) -> ActivityResult:
        """Run it in a slot that was taken, which is given back.

        Raises:
            CheckpointConflictError: The lock of the session is lost; nothing was begun.
            TakenOverError: It has taken long, and its result is the hub's.
        """
        services = self._services
        try:
            if not await self._session.confirm():
                raise CheckpointConflictError(self._session.instance.instance_id, "its lock was lost")
            self._episode = episode
            services.spill.watch(self)
            result = await services.runner.run(message)
        finally:
            services.spill.forget(self)
            services.activity_slots.give_back()
        if self._episode is episode:
            self._episode = None
            return result
        assert self._item is not None
        item = await self._item
        if item is not None:
            await services.activities.finish(item, result)
        raise TakenOverError

    def spill(self) -> None:
        """It waits or runs for long."""
        if self._ticket is not None:
            self._services.activity_slots.turn_away(self._ticket)
            return
        episode, self._episode = self._episode, None
        if episode is not None and self._go_on is not None:
            self._item = asyncio.get_running_loop().create_future()
            self._go_on(episode)

    def stored(self, item: ActivityWorkItem) -> None:
        """It is this work item now."""
        assert self._item is not None
        self._item.set_result(item)

    def close(self) -> None:
        """The session is over: nobody wants its result, unless it is stored."""
        self._go_on = None  # whose owner would stay in memory with it until the garbage is collected
        if self._item is not None and not self._item.done():
            self._item.set_result(None)
