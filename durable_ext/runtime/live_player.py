"""The live orchestration of one session, played on the orchestrator thread, and stored from there if the store can."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from durable_ext.backends.checkpoint_port import CheckpointAnswer, CheckpointPort
from durable_ext.backends.protocol import Checkpoint, OrchestrationSession
from durable_ext.core.episode import Episode
from durable_ext.core.live import LiveOrchestration
from durable_ext.core.messages import ReceivedMessage
from durable_ext.core.runtime_state import RuntimeState
from durable_ext.core.timestamps import Ticks
from durable_ext.runtime.local_activities import ActivityResult
from durable_ext.runtime.orchestrator_thread import StuckListener
from durable_ext.runtime.services import OrchestrationServices

log = logging.getLogger("durable_ext.runtime.orchestrations")

AfterEpisode = Callable[[Episode], "Checkpoint | None"]


def nothing_to_store(_: Episode) -> None:
    """The event loop decides what becomes of the episode; an `AfterEpisode`."""


@dataclass(slots=True)
class Played:
    """An episode and the checkpoint that was made after it, if any; `answer` is `None` if the store was not asked yet.

    `followed_up`: whether its `AfterEpisode` was called.
    """

    episode: Episode
    checkpoint: Checkpoint | None = None
    answer: CheckpointAnswer | None = None
    followed_up: bool = False


class LivePlayer:
    """Owned by one `HeldInstance`. Called from the event loop; the thread has the live orchestration while a call runs.

    `stuck` hears of an episode that blocks its thread.

    Attributes:
        before: What was known of the instance before the episode that was played last.
    """

    def __init__(self, session: OrchestrationSession, services: OrchestrationServices, stuck: StuckListener) -> None:
        self._session = session
        self._services = services
        self._stuck = stuck
        self.before: RuntimeState | None = None
        self._instance_id = session.instance.instance_id
        self._live: LiveOrchestration | None = None

    async def play(self, messages: Sequence[ReceivedMessage], then: AfterEpisode) -> Played:
        """Play messages; the first time, the history is replayed before.

        `then` is called once after the episode, unless that was given up; on the thread, from where the checkpoint that it
        makes is stored, or on the event loop if it is not stored from there.
        """
        now = self._services.now
        return await self._play_then(lambda: self._opened().play(messages, now), then)

    async def resume(self, then: AfterEpisode) -> Played:
        """Play on without anything new."""
        now = self._services.now
        return await self._play_then(lambda: self._opened().play_results((), now), then)

    async def settle(self, results: Sequence[ActivityResult], now: Ticks, then: AfterEpisode) -> Played:
        """Play results of local activities, all at this time."""
        return await self._play_then(lambda: self._opened().play_results(results, lambda: now), then)

    def play_results(
        self, results: Sequence[ActivityResult], now: Ticks, *, goes_on: bool = False
    ) -> asyncio.Future[Played]:
        """Begin to play results of local activities, all at this time; nothing is stored from the thread.

        `goes_on`: as in `LiveOrchestration.play_results`.
        """
        return self._play(lambda: self._opened().play_results(results, lambda: now, goes_on=goes_on), None)

    @property
    def state(self) -> RuntimeState | None:
        """What is known of the instance, `None` before the first episode."""
        return self._live.state if self._live is not None else None

    def is_over(self, episode: Episode) -> bool:
        """Whether the instance needs no session any more after an episode."""
        live = self._live
        return episode.is_terminal or live is None or live.state.is_terminal or live.state.started is None

    def forget(self) -> None:
        """Never touch it again: its thread is stuck in it."""
        self._live = None

    def close(self) -> None:
        """Let go of the user's code on the thread where it ran, because it may have a `finally`."""
        live, self._live = self._live, None
        if live is not None:
            self._services.thread.play(live.close, self._instance_id).add_done_callback(_log_close)

    async def _play_then(self, call: Callable[[], Episode], then: AfterEpisode) -> Played:
        port, session = self._services.checkpoint_port, self._session
        if port is None:
            played = await self._play(call, None)
        else:
            played = await self._play(call, functools.partial(_put, port, session, then))
        if not played.followed_up:
            played.checkpoint = then(played.episode)
        elif played.checkpoint is None and isinstance(played.answer, Exception):
            raise played.answer
        return played

    def _play(
        self, call: Callable[[], Episode], store: Callable[[Played, Callable[[], None]], bool] | None
    ) -> asyncio.Future[Played]:
        self.before = self.state
        return self._services.thread.play(lambda: Played(call()), self._instance_id, self._function, store, self._stuck)

    def _function(self) -> str | None:
        return self._live.state.name if self._live is not None else None

    def _opened(self) -> LiveOrchestration:
        if self._live is None:
            self._live = self._services.open_live(self._session)
        return self._live


def _put(
    port: CheckpointPort,
    session: OrchestrationSession,
    then: AfterEpisode,
    played: Played,
    answered: Callable[[], None],
) -> bool:
    """On the thread, once the episode counts: make its checkpoint and give it to the store."""
    played.followed_up = True
    try:
        checkpoint = played.checkpoint = then(played.episode)
    except Exception as error:
        played.answer = error
        return False
    if checkpoint is None:
        return False

    def take(answer: CheckpointAnswer) -> None:
        played.answer = answer
        answered()

    port.put(session, checkpoint, take)
    return True


def ignore_outcome(played: asyncio.Future[Any]) -> None:
    """Whatever comes of it, nobody waits for it any more."""
    played.add_done_callback(_retrieve)


def _retrieve(ended: asyncio.Future[Any]) -> None:
    if not ended.cancelled():
        ended.exception()


def _log_close(closed: asyncio.Future[Any]) -> None:
    error = None if closed.cancelled() else closed.exception() or closed.result()
    if error is not None:
        log.debug("orchestrator code raised while it was dropped", extra={"event": "close_failed", "error": repr(error)})
