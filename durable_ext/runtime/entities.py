"""Entities: lock, run the batch of waiting operations, commit; slots of their own so that nothing else starves them."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from durable_ext.aio.slots import Slots
from durable_ext.backends.protocol import Checkpoint, MessageBatch, OrchestrationSession
from durable_ext.core.entities.batch import EntityBatch
from durable_ext.core.entities.definitions import EntityDefinition, missing_entity
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.live import EntityEpisode, LiveEntity
from durable_ext.core.events import HistoryEvent
from durable_ext.core.messages import ReceivedMessage
from durable_ext.core.timestamps import Ticks
from durable_ext.errors import BackendError, DeadlyOperationError, FunctionTimeoutError
from durable_ext.runtime.executors import USER_ERRORS, Executors
from durable_ext.runtime.lifecycle_log import LeftToOthers, log_deadly_operation, log_failed_operation
from durable_ext.runtime.refused import is_too_large
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.session_cache import ParkingPlace, SessionCache
from durable_ext.runtime.session_end import give_back_after

log = logging.getLogger("durable_ext.runtime.entities")

_AT_ONCE: Final = timedelta(0)
_MAX_DEATHS: Final = 20  # more than for an activity, which may be what kills the workers that ran an operation beside it


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityServices:
    """What all entity runs of one worker share.

    Attributes:
        left: What this worker does not run, for people.
        open_live: Makes the live entity of a session from a history.
        is_stopping: Whether a cancelled operation is the worker's doing and no failure of the operation.
    """

    registry: FunctionRegistry
    executors: Executors
    slots: Slots
    cache: SessionCache
    idle: timedelta
    now: Callable[[], Ticks]
    left: LeftToOthers
    open_live: Callable[[OrchestrationSession, tuple[HistoryEvent, ...], EntityDefinition], LiveEntity]
    is_stopping: Callable[[], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """How far a batch has come: `awaitable` is what its open operation returned; `episode` is there at the end."""

    batch: EntityBatch
    awaitable: Any = None
    episode: EntityEpisode | None = None


class HeldEntity:
    """Owns one entity session from lock to release, and one entity slot while it is awake. Used from the event loop.

    `LiveEntity` and its batch are touched by an entity thread while its owner waits for it, else by nobody.
    """

    def __init__(self, session: OrchestrationSession, services: EntityServices) -> None:
        self._session = session
        self._services = services
        self._entity_id = EntityId.get_entity_id(session.instance.instance_id)
        self._definition = services.registry.entity(self._entity_id.name) or missing_entity(
            self._entity_id.name, services.registry.entity_names
        )
        self._is_async = inspect.iscoroutinefunction(self._definition.function)
        self._stored: tuple[HistoryEvent, ...] | None = None
        self._live: LiveEntity | None = None
        self._deaths = 0
        self._at_most: int | None = None  # operations of the next batch: few after a death, or after one that is too large
        self._awake = True
        self._place = ParkingPlace(services.cache)

    async def run(self) -> None:
        """Run batches until nothing comes for long, or the session is lost. Gives its slot back."""
        try:
            await give_back_after(self._session, self._converse(), self._services.left)
        finally:
            if self._awake:
                self._awake = False
                self._services.slots.give_back()

    async def _converse(self) -> None:
        first = await self._session.next_messages(_AT_ONCE)
        name = self._entity_id.name
        if self._services.registry.is_left("entity", name):
            self._services.left.tell_not_served(self._session.instance.instance_id, "entity", name)
            await self._session.abandon()
            return
        got = first if isinstance(first, MessageBatch) else None
        while got is not None:
            await self._work_off(got)
            found = await self._session.next_messages(_AT_ONCE)
            got = found if isinstance(found, MessageBatch) else await self._park()
        await self._session.release()

    async def _work_off(self, got: MessageBatch) -> None:
        """Run the operations that wait, and store what they did.

        What the store refuses for its size runs again with half as many operations, until one is left: that one fails.
        """
        # Order, where the store says so: 1 the opening: all operations that wait are stored, if the batch sends anything;
        # 2 the batch: what it sends, then state, queue and perhaps the lock of the next turn; 3 the grant: its answer, then
        # the request leaves the queue. The messages are deleted with the last of them. After a crash they come again:
        #   before 1: nothing has happened;
        #   after 1: they are in the queue or remembered -> dropped; the same operations run first and send the same again,
        #     by the same ids -> receivers drop it;
        #   after 2: dropped likewise; the entity is locked and the request first in its queue -> it is answered next;
        #   after 3: dropped.
        refusal: BackendError | None = None
        while True:
            batch, episode = await self._process(got, refusal)
            try:
                await self._store_opening(episode)
                await self._store(episode, () if batch.turn.grants_next else got.messages)
            except BackendError as error:
                count = len(batch.operations)
                if refusal is not None or not count or not is_too_large(error):
                    raise
                refusal = error if count == 1 else None
                self._at_most = max(count // 2, 1)
                self._live = None
                continue
            break
        is_cut = batch.turn.is_cut
        if batch.turn.grants_next:
            is_cut = await self._grant(got.messages)
        self._tell(batch)
        if self._at_most is not None and batch.operations:
            self._at_most = 2 * self._at_most if is_cut else None

    async def _grant(self, consumed: Sequence[ReceivedMessage]) -> bool:
        """Answer the request whose lock is stored now; whether more of its sender wait."""
        live, now = self._live, self._services.now
        assert live is not None
        grant = live.begin((), now)
        await self._store(live.commit(grant, now), consumed)
        return grant.turn.is_cut

    async def _store_opening(self, episode: EntityEpisode) -> None:
        """Store what waits before the episode sends anything; without it if that alone is too large for the store.

        Then a crash between sending and storing may give an answer twice: once more to another caller. Nothing that ran is
        to blame for the size of what waits, and a smaller batch would not make it less.
        """
        if episode.opening is None:
            return
        try:
            await self._store(episode.opening, ())
        except BackendError as error:
            if not is_too_large(error):
                raise

    async def _store(self, episode: EntityEpisode, consumed: Sequence[ReceivedMessage]) -> None:
        await self._session.checkpoint(
            Checkpoint(
                execution_id=episode.execution_id,
                new_events=episode.new_events,
                starts_generation=episode.starts_generation,
                consumed=tuple([received.message_id for received in consumed]),
                messages=episode.messages,
                instance=episode.instance,
            )
        )
        if episode.starts_generation:
            self._stored = episode.new_events

    async def _park(self) -> MessageBatch | None:
        """Wait for messages with the entity in memory but without a slot."""
        services = self._services
        services.slots.give_back()
        self._awake = False
        got = await self._place.wait(self._session, services.idle)
        if got is None:
            return None
        await services.slots.take()
        self._awake = True
        return got

    async def _process(self, messages: MessageBatch, refusal: BackendError | None) -> tuple[EntityBatch, EntityEpisode]:
        """Run the operations that wait; after the `refusal` of a single one that one is not run again but fails of it.

        Plain functions: one hop to a thread for everything. `async def` functions: on the loop, where calling one runs
        nothing yet. A plain function that returns an awaitable is in between.
        """
        self._deaths = self._session.deaths
        if self._deaths > 0 or messages.redelivered:  # so that it can be told which operation is deadly, if one is
            self._at_most = 1
        try:
            step = await self._step(lambda: self._advance(self._begin(messages, refusal)))
            while step.awaitable is not None:
                step.batch.close(await self._outcome(step.awaitable))
                step = await self._step(functools.partial(self._advance, step.batch))
        except FunctionTimeoutError as error:
            # The batch may still be in use: what it knows is thrown away, every operation is answered with the timeout.
            self._live = None
            batch = self._begin(messages)
            batch.fail_all(str(error))
            step = _Step(batch=batch)
        live = self._live
        assert live is not None
        return step.batch, step.episode or live.commit(step.batch, self._services.now)

    def _tell(self, batch: EntityBatch) -> None:
        for failure in batch.failures:
            if isinstance(failure.error, DeadlyOperationError):
                log_deadly_operation(self._entity_id, failure.request, failure.error)
            elif failure.error is not None:
                log_failed_operation(self._entity_id, failure.request.operation, failure.error)
        for reason in batch.unreadable:
            log.warning(
                "%s: message dropped: it is no entity message: %s",
                self._entity_id,
                reason,
                extra={"event": "entity_message_dropped", "instance_id": str(self._entity_id)},
            )

    async def _step(self, call: Callable[[], _Step]) -> _Step:
        if self._is_async:
            return call()
        return await self._services.executors.run_entity(self._definition.name, call)

    async def _outcome(self, awaitable: Any) -> Any:
        try:
            return await self._services.executors.await_entity(self._definition.name, awaitable)
        except FunctionTimeoutError:
            raise
        except asyncio.CancelledError as error:
            if self._place.is_evicted or self._services.is_stopping():
                raise
            return error  # user code was cancelled by itself
        except USER_ERRORS as error:
            return error

    def _begin(self, messages: MessageBatch, refusal: BackendError | None = None) -> EntityBatch:
        live = self._live
        if live is None:
            history = tuple(self._session.history) if self._stored is None else self._stored
            live = self._live = self._services.open_live(self._session, history, self._definition)
        batch = live.begin(messages.messages, self._services.now, at_most=self._at_most)
        if batch.operations and (refusal is not None or self._deaths >= _MAX_DEATHS):
            first = batch.operations[0]
            batch.open(first)
            batch.close(refusal or DeadlyOperationError(first.operation, self._deaths))
        return batch

    def _advance(self, batch: EntityBatch) -> _Step:
        """Run operations until one returns an awaitable, or all are done: then the episode is made too."""
        function = self._definition.function
        for operation in batch.operations[len(batch.outcomes) :]:
            try:
                outcome = function(batch.open(operation))
            except (*USER_ERRORS, asyncio.CancelledError) as error:
                outcome = error
            if inspect.isawaitable(outcome):
                return _Step(batch=batch, awaitable=outcome)
            batch.close(outcome)
        assert self._live is not None
        return _Step(batch=batch, episode=self._live.commit(batch, self._services.now))
