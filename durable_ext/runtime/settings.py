"""How much a worker does at once and for how long: parsed values, no files and no environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from durable_ext.core.versioning import ANY_VERSION, WorkerVersion
from durable_ext.errors import ConfigurationError

LocalActivities = Literal["on", "off", "batched"]


def _ten_per_core() -> int:
    return 10 * (os.cpu_count() or 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """Limits of one worker (specs/host-json.md 2).

    Attributes:
        max_concurrent_orchestrations: Instances that are awake at once; waiting ones do not count.
        max_concurrent_activities: Activities that run at once, wherever they came from.
        max_concurrent_entities: Entities that run a batch at once.
        local_activities: Whether the worker that owns an instance runs its activities beside it (design.md 5).
            `"batched"` holds the results of several waves until 99 events or `local_activity_spill`.
        local_activity_spill: An activity that runs longer than this becomes a work item of the hub (rule R5).
        session_idle_timeout: How long an instance without messages stays in memory.
        max_cached_sessions: How many of them; least recently used ones go first.
        function_timeout: Upper bound for one activity, one entity batch and one episode; `None` = none.
        episode_warning: An episode that blocks its thread for longer is reported and its thread replaced.
        max_stuck_threads: After so many replacements no new orchestrations are taken (`TaskHubWorker.is_healthy` is false).
        max_sync_threads: Threads for activities and entities that are not `async def`; `None` = as many as may run at once.
        max_processes: Processes for `executor="process"`; `None` = one per core.
        max_entity_batch: Operations in one entity batch, `None` = all that wait.
        entity_rollback: Whether an entity operation that raises leaves no trace, unless its definition says otherwise.
        reorder_window: How long entities wait for a message that was overtaken, on stores that do not keep order.
        store_inputs: Whether history keeps the inputs of activities and sub-orchestrations.
        max_orchestration_actions: Most actions of one generation.
        http_async_poll: Pause of `call_http` polling when the answer names none.
        worker_version: The version of the code, and which instances it therefore takes.
        fixes: Whether fixes that would change the replay of 1.x histories are on (specs/sdk.md 7).
    """

    max_concurrent_orchestrations: int = field(default_factory=_ten_per_core)
    max_concurrent_activities: int = field(default_factory=_ten_per_core)
    max_concurrent_entities: int = field(default_factory=_ten_per_core)
    local_activities: LocalActivities = "on"
    local_activity_spill: timedelta = timedelta(milliseconds=500)
    session_idle_timeout: timedelta = timedelta(seconds=30)
    max_cached_sessions: int = 1_000
    function_timeout: timedelta | None = None
    episode_warning: timedelta = timedelta(seconds=10)
    max_stuck_threads: int = 8
    max_sync_threads: int | None = None
    max_processes: int | None = None
    max_entity_batch: int | None = 5_000
    entity_rollback: bool = True
    reorder_window: timedelta = timedelta(minutes=30)
    store_inputs: bool = False
    max_orchestration_actions: int = 100_000
    http_async_poll: timedelta = timedelta(seconds=30)
    worker_version: WorkerVersion = ANY_VERSION
    fixes: bool = True

    def __post_init__(self) -> None:
        for name in ("max_concurrent_orchestrations", "max_concurrent_activities", "max_concurrent_entities"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}, but a worker needs at least 1. Raise it.")
        if self.local_activities not in ("on", "off", "batched"):
            raise ConfigurationError(
                f"local_activities is '{self.local_activities}'; it must be 'on', 'off' or 'batched'. Change the setting."
            )
