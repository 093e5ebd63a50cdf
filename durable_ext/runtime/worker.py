"""TaskHubWorker: the dispatchers of one task hub in one process; starts, drains and stops them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from durable_ext.aio.clock import SYSTEM_CLOCK, Clock
from durable_ext.aio.slots import Slots
from durable_ext.aio.supervisor import LoopFailedError, Supervisor
from durable_ext.backends.execution_ids import new_execution_id
from durable_ext.backends.protocol import Backend, BackendTraits, OrchestrationSession
from durable_ext.core.entities.codec_port import EntityCodec
from durable_ext.core.entities.definitions import EntityDefinition, EntityOptions
from durable_ext.core.entities.live import LiveEntity
from durable_ext.core.events import HistoryEvent
from durable_ext.core.live import LiveOrchestration
from durable_ext.core.orchestrators import (
    NameResolver,
    ReplayOptions,
    ResultTypeResolver,
    function_name,
    no_result_type,
)
from durable_ext.core.payloads import PayloadConverter
from durable_ext.runtime.activities import ActivityDispatcher, ActivityRunner
from durable_ext.runtime.activity_room import ActivityRoom
from durable_ext.runtime.entities import EntityServices, HeldEntity
from durable_ext.runtime.episode_failures import EpisodeFailures
from durable_ext.runtime.executors import Executors
from durable_ext.runtime.held_instance import HeldInstance
from durable_ext.runtime.http_activity import HttpActivity
from durable_ext.runtime.lifecycle_log import LeftToOthers, log_arrival
from durable_ext.runtime.lone_activity import LoneActivity
from durable_ext.runtime.orchestrations import SessionDispatcher
from durable_ext.runtime.orchestrator_thread import OrchestratorThread
from durable_ext.runtime.registry import FunctionRegistry
from durable_ext.runtime.services import OrchestrationServices
from durable_ext.runtime.session_cache import SessionCache
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.runtime.sweeper import Sweeper
from durable_ext.runtime.ticks import tick_source

log = logging.getLogger("durable_ext.runtime.worker")

_DRAIN: Final = timedelta(seconds=30)
_REST_SECONDS: Final = 0.02
_FEW: Final = 4  # instances awake: with more, another one's episode goes on while the writer thread waits for the disk


class _Machinery:
    """Everything of a worker that needs a running loop."""

    def __init__(
        self,
        backend: Backend,
        registry: FunctionRegistry,
        settings: WorkerSettings,
        converter: PayloadConverter,
        clock: Clock,
        open_orchestration: Callable[[OrchestrationSession], LiveOrchestration],
        open_entity: Callable[[OrchestrationSession, Sequence[HistoryEvent], EntityDefinition], LiveEntity],
        on_failure: Callable[[LoopFailedError], None],
    ) -> None:
        now = tick_source(clock)
        self.draining = False
        self.loops = Supervisor("worker", on_failure)
        self.work = Supervisor("worker", on_failure)
        self.executors = Executors(settings)
        self.http = HttpActivity()
        self.left = LeftToOthers()
        self.runner = ActivityRunner(registry, self.http.definition, converter, self.executors, now)
        self.activity_slots = Slots(settings.max_concurrent_activities)
        self.activities = ActivityDispatcher(backend.activities, self.runner, self.activity_slots, self.work, self.left)
        self.cache = SessionCache(settings.max_cached_sessions)
        self.spill: Sweeper[LoneActivity] = Sweeper(settings.local_activity_spill.total_seconds(), LoneActivity.spill)
        self.rest: Sweeper[HeldInstance] = Sweeper(_REST_SECONDS, HeldInstance.rest)
        port = backend.checkpoint_port
        self.thread = OrchestratorThread(
            warning=settings.episode_warning,
            limit=settings.function_timeout,
            max_stuck=settings.max_stuck_threads,
            flush=None if port is None else lambda here: port.flush(here=here and self.orchestration_slots.taken <= _FEW),
        )
        self.orchestration_slots = Slots(settings.max_concurrent_orchestrations)
        services = OrchestrationServices(
            traits=backend.traits,
            checkpoint_port=port,
            settings=settings,
            runner=self.runner,
            activities=self.activities,
            activity_slots=self.activity_slots,
            room=ActivityRoom(
                self.activity_slots, waiting=lambda: self.activities.waiting, knows=self.runner.knows, clock=clock
            ),
            slots=self.orchestration_slots,
            cache=self.cache,
            thread=self.thread,
            supervisor=self.work,
            rest=self.rest,
            spill=self.spill,
            now=now,
            monotonic=clock.monotonic,
            failures=EpisodeFailures(),
            left=self.left,
            open_live=open_orchestration,
            is_draining=lambda: self.draining,
        )
        self.orchestrations = SessionDispatcher(
            name="orchestration",
            lock_next=backend.orchestrations.lock_next_orchestration,
            hold=lambda session: HeldInstance(session, services),
            slots=self.orchestration_slots,
            supervisor=self.work,
            may_take=lambda: self.thread.healthy,
        )
        self.entity_slots = Slots(settings.max_concurrent_entities)
        entity_services = EntityServices(
            registry=registry,
            executors=self.executors,
            slots=self.entity_slots,
            cache=self.cache,
            idle=settings.session_idle_timeout,
            now=now,
            left=self.left,
            open_live=open_entity,
            is_stopping=lambda: self.runner.stopping,
        )
        self.entities = self._entity_dispatcher(backend, entity_services)

    def _entity_dispatcher(self, backend: Backend, services: EntityServices) -> SessionDispatcher:
        return SessionDispatcher(
            name="entity",
            lock_next=backend.orchestrations.lock_next_entity,
            hold=lambda session: HeldEntity(session, services),
            slots=services.slots,
            supervisor=self.work,
            may_take=lambda: True,
        )

    def start(self) -> None:
        """Start the loops that look for work."""
        self.loops.start("orchestrations", self.orchestrations.run())
        self.loops.start("entities", self.entities.run())
        self.loops.start("activities", self.activities.run())

    def begin_to_drain(self) -> None:
        """No loop takes anything after what it has, and no activity begins."""
        self.draining = True
        self.activity_slots.close()
        self.orchestrations.draining = self.entities.draining = self.activities.draining = True

    async def stop(self) -> None:
        """Cancel everything; what was started and has no result is given back."""
        self.begin_to_drain()
        self.runner.stopping = True
        await self.loops.stop()
        await self.work.stop()
        await self.activities.give_back()
        self.rest.close()
        self.spill.close()
        self.thread.close()
        self.executors.close()
        await self.http.close()


class TaskHubWorker:
    """Runs orchestrations, activities and entities of one hub. Used from one event loop, once.

    The backend is opened and closed by the caller; the worker starts and drains it. Order: `start`, any work, `drain`,
    `stop`. If a loop of it or of the backend dies, it takes nothing new, and `failure` says which one and why; the owner
    stops it.

    Attributes:
        failure: A future since `start`: done with the `LoopFailedError` of a loop that died, or with `None` by `stop`.
    """

    def __init__(
        self,
        backend: Backend,
        registry: FunctionRegistry,
        *,
        settings: WorkerSettings,
        converter: PayloadConverter,
        entity_codec: EntityCodec,
        resolve_name: NameResolver = function_name,
        resolve_type: ResultTypeResolver = no_result_type,
        clock: Clock | None = None,
    ) -> None:
        self._backend = backend
        self._registry = registry
        self._settings = settings
        self._converter = converter
        self._entity_codec = entity_codec
        self._resolve_name = resolve_name
        self._resolve_type = resolve_type
        self._clock = clock or SYSTEM_CLOCK
        self._replay_options = _replay_options(backend.traits, settings)
        self._entity_options = _entity_options(backend.traits, settings)
        self._machinery: _Machinery | None = None
        self._stopped = False
        self.failure: asyncio.Future[LoopFailedError | None] | None = None

    @property
    def is_healthy(self) -> bool:
        """Whether all loops run and episodes can be played."""
        machinery, failure = self._machinery, self.failure  # which is done when the worker has stopped, too
        return machinery is not None and failure is not None and not failure.done() and machinery.thread.healthy

    @property
    def cached_sessions(self) -> int:
        """Instances and entities that wait with their code in memory."""
        return len(self._machinery.cache) if self._machinery is not None else 0

    async def start(self) -> None:
        """Start the backend's worker side and look for work."""
        self.failure = asyncio.get_running_loop().create_future()
        self._machinery = _Machinery(
            self._backend,
            self._registry,
            self._settings,
            self._converter,
            self._clock,
            self._open_orchestration,
            self._open_entity,
            self._loop_failed,
        )
        await self._backend.start_worker(self._loop_failed)
        self._machinery.start()
        log.info("worker started", extra={"event": "worker_started", "task_hub": self._backend.task_hub})

    async def drain(self, timeout: timedelta = _DRAIN) -> bool:
        """Take nothing new and let what runs come to a point where it can be left.

        Episodes and activities that run are waited for, stuck ones only until `timeout`.

        Returns:
            Whether everything came to its end in time.
        """
        machinery = self._machinery
        if machinery is None or self._stopped:
            return True
        machinery.begin_to_drain()
        await self._backend.drain()
        await machinery.loops.stop()
        machinery.cache.close()
        await machinery.activities.give_back()
        return await machinery.work.wait(timeout.total_seconds())

    async def stop(self) -> None:
        """Stop at once: running activities are cancelled, work items and sessions are given back. Idempotent."""
        machinery = self._machinery
        if machinery is None or self._stopped:
            return
        self._stopped = True
        await machinery.stop()
        if self.failure is not None and not self.failure.done():
            self.failure.set_result(None)
        log.info("worker stopped", extra={"event": "worker_stopped", "task_hub": self._backend.task_hub})

    def _loop_failed(self, failure: LoopFailedError) -> None:
        log.error("the worker takes no new work: %s", failure, exc_info=failure.__cause__, extra={"event": "worker_failed"})
        if self._machinery is not None:
            self._machinery.begin_to_drain()
        if self.failure is not None and not self.failure.done():
            self.failure.set_result(failure)

    def _open_orchestration(self, session: OrchestrationSession) -> LiveOrchestration:
        return LiveOrchestration(
            instance=session.instance,
            history=session.history,
            custom_status=session.custom_status,
            lookup=self._registry.orchestrator,
            converter=self._converter,
            entity_codec=self._entity_codec,
            options=self._replay_options,
            new_execution_id=new_execution_id,
            activity_names=lambda: self._registry.activity_names,
            orchestrator_names=lambda: self._registry.orchestrator_names,
            entity_names=lambda: self._registry.entity_names,
            is_left=lambda name: self._registry.is_left("orchestrator", name),
            on_opening=lambda opening: log_arrival(opening, session.instance.instance_id),
            resolve_name=self._resolve_name,
            resolve_type=self._resolve_type,
        )

    def _open_entity(
        self, session: OrchestrationSession, history: Sequence[HistoryEvent], definition: EntityDefinition
    ) -> LiveEntity:
        return LiveEntity(
            instance=session.instance,
            history=history,
            definition=definition,
            converter=self._converter,
            entity_codec=self._entity_codec,
            options=self._entity_options,
            new_execution_id=new_execution_id,
        )


def _replay_options(traits: BackendTraits, settings: WorkerSettings) -> ReplayOptions:
    return ReplayOptions(
        max_timer=traits.max_timer,
        long_timer_step=traits.long_timer_step,
        store_inputs=settings.store_inputs,
        max_actions=settings.max_orchestration_actions,
        deliver_in_order=traits.delivers_in_order,
        fixes=settings.fixes,
        reorder_window=settings.reorder_window,
        http_poll_interval=settings.http_async_poll,
        worker_version=settings.worker_version,
    )


def _entity_options(traits: BackendTraits, settings: WorkerSettings) -> EntityOptions:
    return EntityOptions(
        deliver_in_order=traits.delivers_in_order,
        reorder_window=settings.reorder_window,
        max_batch=settings.max_entity_batch,
        max_delay=traits.max_timer,
        delay_step=traits.long_timer_step,
        rollback=settings.entity_rollback,
        default_version=settings.worker_version.version,
    )
