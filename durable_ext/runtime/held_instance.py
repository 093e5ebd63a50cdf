"""One instance while this worker holds its session: messages → episodes → checkpoints, activities beside it.

What is written when follows design.md 5; the rules R1-R9 are named where they act.

Order on a store whose checkpoint is one transaction: a wave of local activities, the episode that its results cause, one
checkpoint with both; a crash before it repeats the wave. Such a checkpoint is made on the orchestrator thread, as soon as
the episode is over, and goes to the store from there if the store can (`CheckpointPort`). On other stores the results are
stored first, then the episode is (R4), so a crash between them repeats the episode, not the wave. In both cases nothing
starts and nothing leaves before the results it was computed from are stored (I2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any, Final

from durable_ext.backends.protocol import (
    ActivityWorkItem,
    Checkpoint,
    MessageBatch,
    OrchestrationSession,
    OutgoingActivity,
    SessionEnd,
)
from durable_ext.core.episode import Episode
from durable_ext.core.events import HistoryEvent, OrchestratorStarted
from durable_ext.core.inbox import AdmissionKind
from durable_ext.core.messages import ReceivedMessage, TaskMessage
from durable_ext.runtime.episodes import (
    decides_activities_only,
    ends_generation,
    is_unfinished,
    scheduled_events,
    take_events,
)
from durable_ext.runtime.forced_end import ForcedEnd
from durable_ext.runtime.lifecycle_log import log_dropped, log_end
from durable_ext.runtime.live_player import LivePlayer, Played, nothing_to_store
from durable_ext.runtime.local_activities import ActivityResult, LocalWave, may_begin_locally, results_per_write
from durable_ext.runtime.lone_activity import LoneActivity, TakenOverError
from durable_ext.runtime.services import OrchestrationServices
from durable_ext.runtime.session_cache import ParkingPlace
from durable_ext.runtime.session_end import give_back_after
from durable_ext.runtime.session_writer import SessionWriter
from durable_ext.runtime.stuck_episodes import StuckEpisode
from durable_ext.runtime.wave_settlement import WaveSettlement

_AT_ONCE: Final = timedelta(0)


class HeldInstance:
    """Owns one session from lock to release, and one orchestration slot while it is awake. Used from the event loop."""

    def __init__(self, session: OrchestrationSession, services: OrchestrationServices) -> None:
        self._session = session
        self._services = services
        self._instance_id = session.instance.instance_id
        self._writer = SessionWriter(session, services.traits, services.settings, services.monotonic)
        self._stuck = StuckEpisode(session, self._writer, services.supervisor)
        self._player = LivePlayer(session, services, self._stuck.began)
        self._forced_end = ForcedEnd(session, self._writer, self._stuck, self._player, services.now, services.failures)
        self._settlement = WaveSettlement(self._writer, self._player, services)
        self._lone = LoneActivity(session, services, self._go_on_beside)
        self._owner: asyncio.Task[Any] | None = None
        self._claims = False  # rule R7: may run its activities in this process
        self._local = False  # rules R6 and R7: may run them before they are in history
        self._awake = True
        self._place = ParkingPlace(services.cache)
        self._wave: LocalWave | None = None

    # Life.

    async def run(self) -> None:
        """Play the instance until it ends, sleeps for long, or the session is lost. Gives its slot back."""
        self._owner = asyncio.current_task()
        await self._own(self._converse())

    async def _own(self, conversation: Coroutine[Any, Any, None]) -> None:
        try:
            await give_back_after(self._session, self._until_over(conversation), self._services.left)
        finally:
            if asyncio.current_task() is self._owner:
                self._close()

    async def _until_over(self, conversation: Coroutine[Any, Any, None]) -> None:
        try:
            await conversation
        except TakenOverError:
            pass
        except Exception as error:
            if not await self._forced_end.after(error):
                raise

    def _close(self) -> None:
        services = self._services
        self._sleep()
        services.rest.forget(self)
        if self._wave is not None:
            self._wave.cancel()
        self._lone.close()
        self._player.close()

    # Conversation.

    async def _converse(self) -> None:
        first = await self._session.next_messages(_AT_ONCE)
        has_work = isinstance(first, MessageBatch) or is_unfinished(self._session.history)
        if isinstance(first, MessageBatch):
            self._receive(first)
        if has_work and await self._forced_end.of_suspect():
            return
        if isinstance(first, MessageBatch):
            await self._carry_out(await self._player.play(first.messages, self._next_checkpoint))
        elif first is not SessionEnd.LOST and is_unfinished(self._session.history):
            # A worker died after it had stored the results of a wave: nothing is queued, the rest is still to be decided.
            await self._carry_out(await self._player.resume(self._next_checkpoint))
        else:
            await self._session.release()

    async def _carry_out(self, played: Played | None) -> None:
        """Carry out an episode and those that follow, then let the session go."""
        while played is not None:
            episode = played.episode
            if episode.admission.kind is AdmissionKind.ABANDON:
                self._services.left.tell(self._instance_id, episode.admission.reason)
                await self._session.abandon()
                return
            if self._local and episode.can_run_locally:
                played = await self._run_locally(episode)
                continue
            await self._store(played)
            played = None if self._player.is_over(episode) else await self._next_episode()
        await self._session.release()

    def _receive(self, batch: MessageBatch) -> None:
        services = self._services
        self._writer.receive(batch)
        self._stuck.messages = batch.messages
        # Rule R7: an activity that kills the process must not come back through its orchestrator.
        self._claims = services.settings.local_activities != "off" and not batch.redelivered and not services.is_draining()
        self._local = self._claims and may_begin_locally(batch.messages, services.traits)

    async def _next_episode(self) -> Played | None:
        """Wait for messages, with the generator in memory but without a slot; `None` = the session should end."""
        services = self._services
        overheard = self._stuck.take_overheard()
        if overheard is not None:
            self._receive(overheard)
            return await self._player.play(overheard.messages, self._next_checkpoint)
        self._sleep()
        batch = await self._place.wait(self._session, services.settings.session_idle_timeout)
        if batch is None:
            return None
        await self._wake_up()
        self._receive(batch)
        return await self._player.play(batch.messages, self._next_checkpoint)

    def _sleep(self) -> None:
        """Do without the slot; does nothing if it is not held."""
        if self._awake:
            self._awake = False
            self._services.slots.give_back()

    async def _wake_up(self) -> None:
        if not self._awake:
            await self._services.slots.take()
            self._awake = True

    def rest(self) -> None:
        """An activity takes a moment: another instance may have the slot, unless very many wait like this one."""
        if self._services.supervisor.running < self._services.settings.max_cached_sessions:
            self._sleep()

    async def _play(self, messages: Sequence[ReceivedMessage]) -> Episode:
        played = await self._player.play(messages, nothing_to_store)
        self._writer.begin(played.episode)
        return played.episode

    def _next_checkpoint(self, episode: Episode) -> Checkpoint | None:
        """On the orchestrator thread: what an episode has to store the plain way, on a store with transactions."""
        self._writer.begin(episode)
        runs_locally = self._local and episode.can_run_locally
        if not self._writer.in_one_transaction or runs_locally or episode.admission.kind is AdmissionKind.ABANDON:
            return None
        return self._writer.next_store(episode, self._outgoing(episode.activities))

    async def _store(self, played: Played, decided: Sequence[TaskMessage] = ()) -> None:
        """Store an episode the plain way; its activities, and those `decided` before, are claimed if they may be."""
        episode = played.episode
        if played.checkpoint is not None:
            receipt = await self._writer.commit(played.checkpoint, played.answer)
        else:
            receipt = await self._writer.store(episode, self._outgoing((*decided, *episode.activities)))
        self._run_claimed(receipt.activities)
        self._services.failures.forget(self._instance_id)
        if episode.admission.dropped:
            log_dropped(episode.admission.dropped, self._instance_id)
        state = self._player.state
        if episode.is_terminal and state is not None:
            log_end(episode, state.events, state.name or "", self._instance_id)

    def _outgoing(self, activities: Sequence[TaskMessage]) -> tuple[OutgoingActivity, ...]:
        return self._services.room.outgoing(activities, claims=self._claims and not self._services.is_draining())

    def _run_claimed(self, items: Sequence[ActivityWorkItem]) -> None:
        self._services.room.arrived(len(items))
        self._services.activities.run_claimed(items)

    # Local activities.

    async def _run_locally(self, episode: Episode) -> Played | None:
        """Run the activities of an episode beside the session; return the episode that follows.

        `None` if the session should end.
        """
        services, writer = self._services, self._writer
        if services.traits.stores_start_before_local_activity:
            await writer.write_before_local(episode)
        services.rest.watch(self)
        if len(episode.activities) == 1 and (services.activity_slots.try_take() or await self._lone.wait_for_slot()):
            results: Sequence[ActivityResult] = (await self._lone.run(episode.activities[0], episode),)
        else:
            wave = self._wave = LocalWave(episode.activities, services, self._session)
            limit = results_per_write(services.traits, len(writer.pending))
            await wave.wait(limit, episode.awaited_together)
            results = wave.take(limit)
            if wave.unfinished:
                return await self._run_in_parts(episode, wave, results)
            self._wave = None
        services.rest.forget(self)
        await self._wake_up()
        writer.add(episode.decisions)
        if not writer.in_one_transaction:
            return await self._look_for_messages(Played(await self._settlement.settle(episode, results)))
        played = await self._player.settle(
            results, services.now(), lambda following: self._checkpoint_of_wave(episode, following)
        )
        if played.checkpoint is not None and played.episode.can_run_locally:
            await writer.commit(played.checkpoint, played.answer)
            played = Played(played.episode)
        return await self._look_for_messages(played)

    def _checkpoint_of_wave(self, episode: Episode, following: Episode) -> Checkpoint | None:
        """On the orchestrator thread: the results of a wave and what they caused, on a store with transactions."""
        writer = self._writer
        writer.begin(following)
        if following.can_run_locally and not writer.holds_back(0):
            return writer.next_write(episode)
        writer.keep_row(episode)
        if following.can_run_locally:
            return None
        return writer.next_store(following, self._outgoing(following.activities))

    async def _look_for_messages(self, played: Played) -> Played | None:
        """Between two waves: if something arrived, what was decided so far goes the plain way with it."""
        episode = played.episode
        if not (self._local and episode.can_run_locally):
            return played
        found = await self._session.next_messages(_AT_ONCE)
        if isinstance(found, MessageBatch):
            self._writer.add(episode.decisions)
            return await self._interrupt(found, episode.activities)
        if found is SessionEnd.LOST:
            return None
        if found is SessionEnd.YIELD or self._services.is_draining():
            self._claims = self._local = False
        return played

    async def _interrupt(self, batch: MessageBatch, decided: Sequence[TaskMessage]) -> Played | None:
        """Play messages that came while local activities were decided but not started."""
        self._receive(batch)
        episode = await self._play(batch.messages)
        await self._store(Played(episode), decided)
        return None if self._player.is_over(episode) else await self._next_episode()

    def _go_on_beside(self, episode: Episode) -> None:
        """Rule R5: the activity takes long. Its task goes on with it alone; a new one owns the session."""
        self._owner = self._services.supervisor.start("session", self._own(self._go_on_without(episode)))

    async def _go_on_without(self, episode: Episode) -> None:
        running = OutgoingActivity(message=episode.activities[0], run_here=True)
        receipt = await self._writer.store(episode, (running,))
        self._lone.stored(receipt.activities[0])
        await self._carry_out(await self._next_episode())

    async def _run_in_parts(self, episode: Episode, wave: LocalWave, results: Sequence[ActivityResult]) -> Played | None:
        """Store a wave in several writes, because it is too wide for one or takes long (rules R3 and R5)."""
        services, writer = self._services, self._writer
        scheduled = scheduled_events(episode)
        closing = episode.decisions[-1]
        writer.keep_row(episode)
        while True:
            overdue = wave.overdue()
            surplus = wave.take_surplus() if overdue or wave.is_starving() else []
            if results or overdue or surplus or writer.row_is_due:
                ended = [result.task_scheduled_id for result in results]
                writer.add(take_events(scheduled, ended + [message.event.event_id for message in (*overdue, *surplus)]))
                wave.spill(overdue)
                if results or not wave.unfinished:
                    writer.add((closing,))
                now = services.now()
                if results:
                    writer.add((OrchestratorStarted(timestamp=now), *results))
                spilled = [OutgoingActivity(message=message, run_here=True) for message in overdue]
                spilled += [OutgoingActivity(message=message) for message in surplus]
                write = writer.write if results or wave.unfinished else writer.write_last
                wave.adopt((await write(episode, tuple(spilled))).activities)
                if results:
                    episode = (await self._player.play_results(results, now)).episode
                    if not decides_activities_only(episode) or not (wave.unfinished or episode.activities):
                        if episode.starts_generation:
                            writer.begin(episode, left_is_stored=True)
                        return await self._hand_over(episode, wave, scheduled)
                    wave.add(episode.activities)
                    scheduled.update(scheduled_events(episode))
                    closing = episode.decisions[-1]
                elif not wave.unfinished:
                    return await self._next_episode()
            found = await self._session.next_messages(_AT_ONCE)
            if isinstance(found, MessageBatch):
                writer.add((*take_events(scheduled, list(scheduled)), closing))
                self._receive(found)
                return await self._hand_over(await self._play(found.messages), wave, scheduled)
            if found is SessionEnd.LOST:
                return None
            if wave.unfinished and (found is SessionEnd.YIELD or services.is_draining()):
                writer.add((*take_events(scheduled, list(scheduled)), closing))
                return await self._give_away(episode, wave)
            limit = results_per_write(services.traits, len(writer.pending))
            await wave.wait(limit, episode.awaited_together)
            results = wave.take(limit)

    async def _give_away(self, episode: Episode, wave: LocalWave) -> Played | None:
        """End a wave because this worker stops or loses the partition: what has not begun may run elsewhere."""
        waiting, running = wave.hand_over()
        claimed = [OutgoingActivity(message=message, run_here=True) for message in running]
        receipt = await self._writer.write_last(episode, (*claimed, *self._outgoing(waiting)))
        self._run_claimed(wave.adopt(receipt.activities))
        self._wave = None
        return await self._next_episode()

    async def _hand_over(self, episode: Episode, wave: LocalWave, scheduled: dict[int, HistoryEvent]) -> Played | None:
        """End a wave before it is done: the rest of it becomes claimed work items beside an episode's own."""
        if ends_generation(episode):
            wave.discard()
            await self._store(Played(episode))
        else:
            self._writer.add(take_events(scheduled, list(scheduled)))
            waiting, running = wave.hand_over()
            receipt = await self._writer.store(
                episode,
                (
                    *[OutgoingActivity(message=message, run_here=True) for message in running],
                    *self._outgoing((*waiting, *episode.activities)),
                ),
            )
            self._run_claimed(wave.adopt(receipt.activities))
        self._wave = None
        return None if self._player.is_over(episode) else await self._next_episode()
