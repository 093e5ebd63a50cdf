"""How an instance ends without its code: terminated while that blocks its thread, after too many deaths, or as too large."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from durable_ext.backends.protocol import Checkpoint, OrchestrationSession
from durable_ext.core.runtime_state import RuntimeState
from durable_ext.core.timestamps import Ticks
from durable_ext.errors import DeadlyOrchestratorError, PayloadTooLargeError
from durable_ext.runtime.live_player import LivePlayer
from durable_ext.runtime.refused import failing_instead
from durable_ext.runtime.session_writer import SessionWriter
from durable_ext.runtime.stuck_episodes import StuckEpisode

log = logging.getLogger("durable_ext.runtime.orchestrations")

_SUSPECT_DEATHS: Final = 3
_MAX_DEATHS: Final = 20  # more than for an activity, which may be what kills the workers that play its instance


class ForcedEnd:
    """Owned by one `InstanceRun`; used from the event loop. Where a method returns true, the session is released."""

    __slots__ = ("_instance_id", "_now", "_player", "_session", "_stuck", "_writer")

    def __init__(
        self,
        session: OrchestrationSession,
        writer: SessionWriter,
        stuck: StuckEpisode,
        player: LivePlayer,
        now: Callable[[], Ticks],
    ) -> None:
        self._session, self._writer, self._stuck, self._player, self._now = session, writer, stuck, player, now
        self._instance_id = session.instance.instance_id

    async def of_suspect(self) -> bool:
        """End an instance that may be what kills the workers: as asked, or after too many deaths."""
        deaths = self._session.deaths
        if deaths < _SUSPECT_DEATHS:
            return False
        stored, now = RuntimeState(self._session.history), self._now()
        ending = self._stuck.ending(stored, now)
        if ending is None and deaths >= _MAX_DEATHS:
            error = DeadlyOrchestratorError(deaths)
            log.error("%s: %s", self._instance_id, error, extra={"event": "deadly", "instance_id": self._instance_id})
            ending = self._stuck.failing(stored, error, now)
        return await self._store(ending)

    async def after(self, error: Exception) -> bool:
        """End an instance whose episode was given up, or whose checkpoint is too large to be stored.

        False if there is nothing to end, or nobody has asked for it.
        """
        if isinstance(error, PayloadTooLargeError):
            return await self._store(self._failing_instead(error))
        before = self._player.before or RuntimeState(self._session.history)
        self._player.forget()
        return await self._store(self._stuck.ending(before, self._now()))

    def _failing_instead(self, error: PayloadTooLargeError) -> Checkpoint | None:
        """What is too large would come back for ever: the instance fails instead."""
        refused, state = self._writer.refused, self._player.state
        if refused is None or state is None or state.started is None:
            return None
        log.error("instance fails: %s", error, extra={"event": "too_large", "instance_id": self._instance_id})
        return failing_instead(refused, state.started, state.events, error, now=self._now())

    async def _store(self, ending: Checkpoint | None) -> bool:
        if ending is None:
            return False
        await self._session.checkpoint(ending)
        await self._session.release()
        return True
