"""In which order the results of a wave and the episode that they cause are stored, where several writes are not one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from durable_ext.core.episode import Episode
from durable_ext.core.events import HistoryEvent, OrchestratorStarted
from durable_ext.core.timestamps import MIN_TICKS
from durable_ext.runtime.live_player import LivePlayer, Played, ignore_outcome
from durable_ext.runtime.local_activities import ActivityResult
from durable_ext.runtime.services import OrchestrationServices
from durable_ext.runtime.session_writer import SessionWriter

_CALM: Final = 4  # with fewer instances awake, a long one is faster if writing and playing overlap
_LONG: Final = 8  # waves; a short orchestration is faster if its last results and its end are one write
_MANY: Final = 16  # waves; a shorter orchestration has the rows that it would have without local activities
_SAME_TIME: Final = 150_000  # ticks: 15 ms, as the clock of Windows steps


class WaveSettlement:
    """Owned by one `HeldInstance`; used from the event loop. Rule R4: stored before anything that they caused is sent.

    On these stores an event is a row, and an insert may take longer the more there are. So after many waves those that
    follow each other within 15 ms are one episode: pairs of TaskScheduled and result, as in state s17a of
    interop/local-activities, from which the provider goes on. No orchestration could tell shorter times anyway.
    """

    __slots__ = ("_began", "_player", "_services", "_waves", "_writer")

    def __init__(self, writer: SessionWriter, player: LivePlayer, services: OrchestrationServices) -> None:
        self._writer, self._player, self._services = writer, player, services
        self._waves = 0
        self._began = MIN_TICKS

    async def settle(self, episode: Episode, results: Sequence[ActivityResult]) -> Episode:
        """Store the results of a whole wave and play them; return what they caused, for which the writer is prepared."""
        services, writer = self._services, self._writer
        now = services.now()
        self._waves += 1
        goes_on = self._waves > _MANY and 0 <= now - self._began < _SAME_TIME
        opening: tuple[HistoryEvent, ...] = tuple(results)
        if goes_on:
            writer.reopen()
        else:
            self._began = now
            opening = (OrchestratorStarted(timestamp=now), *opening)
        overlaps = self._waves > _LONG and services.slots.taken < _CALM
        play = partial(self._player.play_results, results, now, goes_on=goes_on)
        if overlaps and not writer.holds_back(len(results)):
            return await self._write_while_playing(episode, opening, play)
        following = (await play()).episode
        if not (writer.holds_back(len(results)) or writer.can_end_with(following)):
            writer.add(opening)
            await writer.write(episode)
            if following.starts_generation:
                writer.begin(following, left_is_stored=True)
            return following
        writer.begin(following)
        if following.can_run_locally and not writer.holds_back(0):
            await writer.write(episode)  # otherwise the checkpoint of `following` takes the results along
        else:
            writer.keep_row(episode)
        return following

    async def _write_while_playing(
        self, episode: Episode, opening: Sequence[HistoryEvent], play: Callable[[], asyncio.Future[Played]]
    ) -> Episode:
        """The write and the next episode go on at the same time; what that decides waits for the write.

        The thread is woken once the request is on its way: to wake it takes about as long as to make a request.
        """
        writer, playing = self._writer, list[asyncio.Future[Played]]()

        turn = asyncio.get_running_loop().call_soon(lambda: playing.append(play()))
        writer.add(opening)
        try:
            await writer.write(episode)
        except BaseException:
            turn.cancel()
            if playing:
                ignore_outcome(playing[0])
            raise
        turn.cancel()
        if not playing:
            playing.append(play())  # the store had nothing to wait for
        following = (await playing[0]).episode
        if following.starts_generation:
            writer.begin(following, left_is_stored=True)
        return following
