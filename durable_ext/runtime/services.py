"""What all runs of one worker share, as one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from durable_ext.aio.slots import Slots
from durable_ext.aio.supervisor import Supervisor
from durable_ext.backends.checkpoint_port import CheckpointPort
from durable_ext.backends.protocol import BackendTraits, OrchestrationSession
from durable_ext.core.timestamps import Ticks
from durable_ext.runtime.activities import ActivityDispatcher, ActivityRunner
from durable_ext.runtime.activity_room import ActivityRoom
from durable_ext.runtime.episode_failures import EpisodeFailures
from durable_ext.runtime.lifecycle_log import LeftToOthers
from durable_ext.runtime.orchestrator_thread import OrchestratorThread
from durable_ext.runtime.session_cache import SessionCache
from durable_ext.runtime.settings import WorkerSettings
from durable_ext.runtime.sweeper import Sweeper

if TYPE_CHECKING:
    from durable_ext.core.live import LiveOrchestration
    from durable_ext.runtime.held_instance import HeldInstance
    from durable_ext.runtime.lone_activity import LoneActivity


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestrationServices:
    """Shared by the runs of one worker.

    Attributes:
        checkpoint_port: Takes checkpoints from the orchestrator thread, `None` if the store cannot.
        slots: For instances that are awake.
        activity_slots: For activities, wherever they came from.
        room: How many of those that go through the hub are claimed for this worker.
        rest: Watches runs whose local activities take a moment, so that they do not keep a slot.
        spill: Watches activities that sessions await inside their own task (rule R5).
        failures: Which instances an error of ours has stopped, how often in a row.
        left: What this worker does not run, for people.
        open_live: Makes the live orchestration of a session; called on the orchestrator thread.
        is_draining: Whether the worker takes no new work.
    """

    traits: BackendTraits
    checkpoint_port: CheckpointPort | None
    settings: WorkerSettings
    runner: ActivityRunner
    activities: ActivityDispatcher
    activity_slots: Slots
    room: ActivityRoom
    slots: Slots
    cache: SessionCache
    thread: OrchestratorThread
    supervisor: Supervisor
    rest: Sweeper[HeldInstance]
    spill: Sweeper[LoneActivity]
    now: Callable[[], Ticks]
    monotonic: Callable[[], float]
    failures: EpisodeFailures
    left: LeftToOthers
    open_live: Callable[[OrchestrationSession], LiveOrchestration]
    is_draining: Callable[[], bool]
