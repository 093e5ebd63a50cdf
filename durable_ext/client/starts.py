"""StartClient: starts orchestrations under new ids and under ids that are in use; knows no Python values of inputs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.backends.execution_ids import new_execution_id
from durable_ext.backends.protocol import InstanceStore
from durable_ext.client.arguments import due_ticks
from durable_ext.client.ids import checked_version, new_instance_id
from durable_ext.client.waiting import row_at_end
from durable_ext.core.events import ExecutionStarted, ExecutionTerminated, OrchestrationStatus
from durable_ext.core.instance_ids import checked_instance_id
from durable_ext.core.messages import InstanceId, OrchestrationInstance, OutgoingMessage, TaskMessage, TraceContext
from durable_ext.core.timestamps import ticks_from_datetime
from durable_ext.errors import InstanceAlreadyExistsError, InstanceNotFoundError, InstanceWaitTimeoutError

_REPLACEMENT_SECONDS: Final = 3600.0


class StartClient:
    """What `DurableClient` does to start; see there for `reject` and `default_version`."""

    def __init__(
        self, instances: InstanceStore, *, clock: Clock, reject: frozenset[OrchestrationStatus], default_version: str
    ) -> None:
        self._instances, self._clock = instances, clock
        self._reject, self._default_version = reject, default_version

    async def start(
        self,
        name: str,
        recorded_input: str | None,
        instance_id: str | None,
        *,
        start_at: datetime | None = None,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
        trace_context: TraceContext | None = None,
    ) -> str:
        """Start an orchestration whose `ExecutionStarted.Input` is exactly this JSON text, and return its instance id."""
        target = new_instance_id() if instance_id is None else checked_instance_id(instance_id)
        now = ticks_from_datetime(self._clock.now())
        due = due_ticks("start", "start_at", start_at)
        started = ExecutionStarted(
            timestamp=now,
            instance=OrchestrationInstance(instance_id=target, execution_id=new_execution_id()),
            name=name,
            version=self._default_version if version is None else checked_version(version),
            input=recorded_input,
            tags=tags,
            trace_context=trace_context,
            scheduled_start_time=due if due is not None and due > now else None,
            generation=0 if instance_id is None else None,
        )
        if not self._reject and instance_id is not None:
            await self._end_running(target)
        await self._instances.create_instance(started, reject=self._reject)
        return target

    async def _end_running(self, target: InstanceId) -> None:
        """With every status replaceable, a running instance is terminated first, as extension 3.x does."""
        row = await self._instances.get_instance(target, with_payloads=False)
        if row is None or row.status.is_terminal:
            return
        end = ExecutionTerminated(timestamp=ticks_from_datetime(self._clock.now()), input="Replaced by a new start.")
        message = TaskMessage(event=end, target=OrchestrationInstance(instance_id=target))
        await self._instances.send(OutgoingMessage(message=message))
        try:
            await row_at_end(self._instances, self._clock, target, _REPLACEMENT_SECONDS)
        except InstanceNotFoundError:
            return
        except InstanceWaitTimeoutError as exc:
            raise InstanceAlreadyExistsError(target, exc.last_status) from exc
