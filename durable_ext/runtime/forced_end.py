"""How an instance ends without its code: terminated while it blocks its thread, too deadly, too often broken, too large."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from durable_ext.backends.protocol import Checkpoint, OrchestrationSession
from durable_ext.core.runtime_state import RuntimeState
from durable_ext.core.timestamps import Ticks
from durable_ext.errors import (
    BackendError,
    DeadlyOrchestratorError,
    EpisodeTimeoutError,
)
from durable_ext.runtime.episode_failures import EpisodeFailures
from durable_ext.runtime.live_player import LivePlayer
from durable_ext.runtime.refused import failing_instead, is_too_large
from durable_ext.runtime.session_writer import SessionWriter
from durable_ext.runtime.stuck_episodes import StuckEpisode, TerminatedWhileStuckError

log = logging.getLogger("durable_ext.runtime.orchestrations")

_SUSPECT_DEATHS: Final = 3
_MAX_DEATHS: Final = 20  # more than for an activity, which may be what kills the workers that play its instance


class ForcedEnd:
    """Owned by one `HeldInstance`; used from the event loop. Where a method returns true, the session is released."""

    __slots__ = ("_failures", "_instance_id", "_now", "_player", "_session", "_stuck", "_writer")

    def __init__(
        self,
        session: OrchestrationSession,
        writer: SessionWriter,
        stuck: StuckEpisode,
        player: LivePlayer,
        now: Callable[[], Ticks],
        failures: EpisodeFailures,
    ) -> None:
        self._session, self._writer, self._stuck, self._player, self._now = session, writer, stuck, player, now
        self._failures = failures
        self._instance_id = session.instance.instance_id

    async def of_suspect(self) -> bool:
        """End an instance that may be what kills the workers, or that an error of ours stops: as asked, or in the end."""
        deaths, failures = self._session.deaths, self._failures
        if deaths < _SUSPECT_DEATHS and not failures.is_suspect(self._instance_id):
            return False
        stored, now = RuntimeState(self._session.history), self._now()
        ending = self._stuck.ending(stored, now)
        if ending is None:
            error = DeadlyOrchestratorError(deaths) if deaths >= _MAX_DEATHS else failures.end_of(self._instance_id)
            if error is None:
                return False
            event = "deadly" if isinstance(error, DeadlyOrchestratorError) else "episode_failed"
            log.error("%s: %s", self._instance_id, error, extra={"event": event, "instance_id": self._instance_id})
            ending = self._stuck.failing(stored, error, now)
        return await self._store(ending)

    async def after(self, error: Exception) -> bool:
        """End an instance whose episode was given up, or whose checkpoint is too large to be stored.

        False if there is nothing to end, or nobody has asked for it. A mistake of ours is counted, for `of_suspect`; what
        the store refuses for another reason than its size is not, but it can be terminated.
        """
        if isinstance(error, BackendError) and is_too_large(error):
            return await self._store(self._failing_instead(error))
        if not isinstance(error, (EpisodeTimeoutError, TerminatedWhileStuckError)):
            self._failures.note(self._instance_id, error)
            return False
        before = self._player.before or RuntimeState(self._session.history)
        self._player.forget()
        return await self._store(self._stuck.ending(before, self._now()))

    def _failing_instead(self, error: BackendError) -> Checkpoint | None:
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
        self._failures.forget(self._instance_id)
        await self._session.release()
        return True
