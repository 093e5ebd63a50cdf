"""DurableClient: starts instances and acts on them through the store; knows no HTTP and no user code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from durable_ext.aio.clock import Clock, SystemClock
from durable_ext.backends.protocol import InstanceStore, PurgeResult
from durable_ext.client.arguments import existing_id, value_text, wrapped_text
from durable_ext.client.entities import EntityClient, EntityPage, EntityQuery, EntitySnapshot, StorageCleaning
from durable_ext.client.ids import checked_event_name, checked_name
from durable_ext.client.known_functions import KnownFunctions
from durable_ext.client.query import ACTIVE_STATUSES, TERMINAL_STATUSES, InstanceQuery, StatusPage
from durable_ext.client.starts import StartClient
from durable_ext.client.status import InstanceStatus
from durable_ext.client.waiting import patience_of, row_at_end
from durable_ext.core.entities.codec_port import EntityCodec
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import (
    EventRaised,
    ExecutionResumed,
    ExecutionSuspended,
    ExecutionTerminated,
    HistoryEvent,
    OrchestrationStatus,
)
from durable_ext.core.instance_ids import checked_entity
from durable_ext.core.instances import InstanceRow
from durable_ext.core.messages import InstanceId, OrchestrationInstance, OutgoingMessage, TaskMessage, TraceContext
from durable_ext.core.payloads import PayloadConverter
from durable_ext.core.timestamps import Ticks, ticks_from_datetime
from durable_ext.errors import InstanceNotFoundError, InvalidInstanceStateError

_SUSPENDABLE = ACTIVE_STATUSES - {OrchestrationStatus.SUSPENDED}
_PURGE_PAUSES = (0.05, 0.2, 0.5, 0.5)  # seconds, until the row of an instance that is started again says so
_NO_RESTRICTION = InstanceQuery()
_EVERY_ENTITY = EntityQuery()


class DurableClient:
    """Acts on the instances and entities of one task hub; works without a worker in this process.

    Every method may raise `BackendUnavailableError`. A method that sends (events, terminate, suspend, resume, signals)
    returns when the message is stored, not when it has had its effect.

    Two forms of payload: `start` and `signal_entity` take Python values and record them double-encoded (a JSON string
    that holds JSON), as azure-functions-durable 1.x does and reads; events are recorded as the JSON of the value. The
    `..._recorded` twins store JSON text as it is, which is what the management API needs (specs/execution-semantics.md
    3.1, 7).

    Args:
        known: The app's orchestrators and entities; `None` = every name is accepted.
        reject: A start for an existing id in one of these statuses fails; empty = a running instance is terminated
            and replaced (host.json `overridableExistingInstanceStates`; specs/http-api.md 5.3).
        default_version: Version of starts that name none (host.json `defaultVersion`).
    """

    def __init__(
        self,
        instances: InstanceStore,
        *,
        converter: PayloadConverter,
        entity_codec: EntityCodec,
        clock: Clock | None = None,
        known: KnownFunctions | None = None,
        reject: frozenset[OrchestrationStatus] = ACTIVE_STATUSES,
        reorder_window: timedelta = timedelta(minutes=30),
        default_version: str = "",
    ) -> None:
        self._instances, self._converter = instances, converter
        self._clock = clock if clock is not None else SystemClock()
        self._known = known
        self._starts = StartClient(instances, clock=self._clock, reject=reject, default_version=default_version)
        self._entities = EntityClient(
            instances, converter=converter, codec=entity_codec, clock=self._clock, reorder_window=reorder_window
        )

    @property
    def converter(self) -> PayloadConverter:
        """How this client turns values into recorded text."""
        return self._converter

    async def start(
        self,
        name: str,
        input: Any = None,
        instance_id: str | None = None,
        *,
        start_at: datetime | None = None,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
        trace_context: TraceContext | None = None,
    ) -> str:
        """Start an orchestration and return its instance id (32 random hex digits if none is given).

        Args:
            input: What `context.get_input()` returns; `None` records no input.
            version: What `context.version` is; `None` = the default version of this client.
            start_at: Not before this time (naive = UTC); the status stays Pending until then.

        Raises:
            FunctionNotFoundError: This app has no such orchestrator.
            InvalidArgumentError: The instance id cannot be used (specs/azure-storage.md 3.2).
            InstanceAlreadyExistsError: The id exists in a status that must not be replaced.
            TypeError: The input cannot be serialized.
            PayloadTooLargeError: The store refuses an input of this size.

        Source: specs/sdk.md 2.11 `start_new`; specs/azure-storage.md 6.6, 9.1.
        """
        recorded = wrapped_text(self._converter, "start", "input", input)
        return await self.start_recorded(
            name, recorded, instance_id, start_at=start_at, version=version, tags=tags, trace_context=trace_context
        )

    async def start_recorded(
        self,
        name: str,
        recorded_input: str | None = None,
        instance_id: str | None = None,
        *,
        start_at: datetime | None = None,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
        trace_context: TraceContext | None = None,
    ) -> str:
        """Start an orchestration whose `ExecutionStarted.Input` is exactly this JSON text; otherwise as `start`."""
        self._require_function("orchestrator", name)
        return await self._starts.start(
            name, recorded_input, instance_id, start_at=start_at, version=version, tags=tags, trace_context=trace_context
        )

    async def get_status(self, instance_id: str, *, with_payloads: bool = True) -> InstanceStatus | None:
        """Return the instance's status, `None` if there is no such instance."""
        row = await self._instances.get_instance(existing_id("get_status", instance_id), with_payloads=with_payloads)
        return None if row is None else self._status(row)

    async def wait_for_completion(
        self, instance_id: str, *, timeout: timedelta | None = timedelta(seconds=30)
    ) -> InstanceStatus:
        """Wait until an instance is Completed, Failed, Canceled or Terminated, and return its status.

        Waits for changes of the instance row, does not load history. `timeout` zero checks once, `None` waits for ever.

        Raises:
            InstanceNotFoundError: No such instance, or it was purged meanwhile.
            InstanceWaitTimeoutError: Not terminal in time; `.last_status` is the last status read.
        """
        target = existing_id("wait_for_completion", instance_id)
        return self._status(await row_at_end(self._instances, self._clock, target, patience_of(timeout)))

    async def query(self, query: InstanceQuery = _NO_RESTRICTION, continuation: str | None = None) -> StatusPage:
        """Return one page of the instances that match, entities included unless the query excludes them.

        Raises:
            ValueError: `continuation` does not come from a page of this hub.
        """
        page = await self._instances.query_instances(
            query.to_filter(), page_size=query.page_size, continuation=continuation, with_payloads=query.with_payloads
        )
        return StatusPage(statuses=tuple(self._status(row) for row in page.rows), continuation=page.continuation)

    async def query_all(self, query: InstanceQuery = _NO_RESTRICTION) -> AsyncIterator[InstanceStatus]:
        """Yield every instance that matches, page after page."""
        continuation: str | None = None
        while True:
            page = await self.query(query, continuation)
            for status in page.statuses:
                yield status
            continuation = page.continuation
            if continuation is None:
                return

    async def get_history(self, instance_id: str) -> Sequence[HistoryEvent]:
        """Return the events of the current generation, empty if it has none yet.

        Raises:
            InstanceNotFoundError: No such instance.
        """
        events = await self._instances.get_history(existing_id("get_history", instance_id))
        if not events:
            await self._require_instance(instance_id)
        return events

    async def raise_event(self, instance_id: str, event_name: str, data: Any = None) -> None:
        """Send an external event; `data` arrives as the value that it is, as an event raised over HTTP does.

        Raises:
            InvalidArgumentError: The name is empty.
            InstanceNotFoundError: No such instance.
            InvalidInstanceStateError: The instance has ended.
            TypeError: The data cannot be serialized.
        """
        await self.raise_recorded_event(instance_id, event_name, value_text(self._converter, "raise_event", "data", data))

    async def raise_recorded_event(self, instance_id: str, event_name: str, recorded_input: str | None) -> None:
        """Send an external event whose `Input` is exactly this JSON text; otherwise as `raise_event`."""
        checked_event_name(event_name)
        await self._require_status(existing_id("raise_event", instance_id), ACTIVE_STATUSES, f"raise event {event_name} for")
        await self._send(instance_id, EventRaised(timestamp=self._now(), name=event_name, input=recorded_input))

    async def terminate(self, instance_id: str, reason: str | None = None) -> None:
        """End an instance; its output becomes the reason. Activities that run go on, children too.

        Raises:
            InstanceNotFoundError: No such instance.
            InvalidInstanceStateError: It has already ended.
        """
        await self._require_status(instance_id, ACTIVE_STATUSES, "terminate")
        await self._send(instance_id, ExecutionTerminated(timestamp=self._now(), input=reason))

    async def suspend(self, instance_id: str, reason: str | None = None) -> None:
        """Hold an instance: its events wait until `resume`.

        Raises:
            InstanceNotFoundError: No such instance.
            InvalidInstanceStateError: It is suspended already, or has ended.
        """
        await self._require_status(instance_id, _SUSPENDABLE, "suspend")
        await self._send(instance_id, ExecutionSuspended(timestamp=self._now(), reason=reason))

    async def resume(self, instance_id: str, reason: str | None = None) -> None:
        """Let a suspended instance go on.

        Raises:
            InstanceNotFoundError: No such instance.
            InvalidInstanceStateError: It is not suspended.
        """
        await self._require_status(instance_id, frozenset({OrchestrationStatus.SUSPENDED}), "resume")
        await self._send(instance_id, ExecutionResumed(timestamp=self._now(), reason=reason))

    async def rewind(self, instance_id: str, reason: str = "") -> None:
        """Run the failed steps of a failed instance and of its failed children again; results are kept.

        A rewind that was broken off is repeated; of one that was not, the instance hears once more, which changes nothing.

        Raises:
            InstanceNotFoundError: No such instance.
            InvalidInstanceStateError: It has not failed, and is not one that was rewound and has not ended since.
        """
        row = await self._require_instance(existing_id("rewind", instance_id))
        if row.status is not OrchestrationStatus.FAILED and not row.was_rewound:
            raise InvalidInstanceStateError(instance_id, row.status.value, "rewind")
        await self._instances.rewind(InstanceId(instance_id), reason)

    async def restart(self, instance_id: str, *, restart_with_new_instance_id: bool = True) -> str:
        """Start the recorded function again with the recorded input; return the id of the new run.

        Tags, custom status and history are not taken over, the version is the default one; no input becomes JSON `null`.

        Raises:
            InstanceNotFoundError: No such instance.
            InstanceAlreadyExistsError: Same id wanted, and the instance has not ended.
            FunctionNotFoundError: This app no longer has the function.

        Source: specs/http-api.md 5.8; specs/execution-semantics.md 14.6.
        """
        row = await self._instances.get_instance(existing_id("restart", instance_id))
        if row is None:
            raise InstanceNotFoundError(instance_id)
        target = None if restart_with_new_instance_id else instance_id
        return await self.start_recorded(row.name, "null" if row.input is None else row.input, target)

    async def purge(self, instance_id: str) -> PurgeResult:
        """Delete one ended instance with all it left in the hub; an entity at any time. None there = 0 deleted.

        Raises:
            InvalidInstanceStateError: It has not ended, or was started again whenever it had.
        """
        target = existing_id("purge", instance_id)
        if instance_id.startswith("@"):
            return await self._instances.purge_instance(target)
        for pause in _PURGE_PAUSES:
            row = await self._instances.get_instance(target, with_payloads=False)
            if row is None:
                return PurgeResult(deleted=0)
            if not row.status.is_terminal:
                raise InvalidInstanceStateError(instance_id, row.status.value, "purge")
            result = await self._instances.purge_instance(target, seen=row)
            if result.deleted:
                return result
            await self._clock.sleep(pause)
        # Its row says that it has ended, and each time it was of a run before the one that there is.
        raise InvalidInstanceStateError(instance_id, OrchestrationStatus.RUNNING.value, "purge")

    async def purge_by(
        self,
        *,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        runtime_status: frozenset[OrchestrationStatus] = frozenset(),
        timeout: timedelta | None = None,
    ) -> PurgeResult:
        """Delete every ended orchestration that matches; statuses that are not terminal match nothing.

        No status given means all terminal ones: running instances and entities are never deleted, unlike with the .NET
        provider (specs/http-api.md 5.5).
        """
        statuses = runtime_status & TERMINAL_STATUSES if runtime_status else TERMINAL_STATUSES
        if not statuses:
            return PurgeResult(deleted=0)
        wanted = InstanceQuery(
            runtime_status=statuses, created_from=created_from, created_to=created_to, include_entities=False
        )
        return await self._instances.purge_instances(wanted.to_filter(), timeout=timeout)

    async def signal_entity(
        self, entity_id: EntityId, operation: str, input: Any = None, *, due: datetime | None = None
    ) -> None:
        """Send an operation to an entity without waiting for its result; `None` sends no input.

        Args:
            due: Not to be run before this time (naive = UTC).

        Raises:
            FunctionNotFoundError: This app has no such entity.
            InvalidArgumentError: The key cannot be used (specs/http-api.md 6.3).
            TypeError: The input cannot be serialized.
        """
        recorded = wrapped_text(self._converter, "signal_entity", "input", input)
        await self.signal_entity_recorded(entity_id, operation, recorded, due=due)

    async def signal_entity_recorded(
        self, entity_id: EntityId, operation: str, recorded_input: str | None, *, due: datetime | None = None
    ) -> None:
        """Send an operation whose `input` is exactly this JSON text; otherwise as `signal_entity`."""
        self._require_function("entity", checked_entity(entity_id).name)
        await self._entities.signal(entity_id, operation, recorded_input, due=due)

    async def read_entity(self, entity_id: EntityId) -> EntitySnapshot:
        """Return an entity as its last batch left it; one that does not exist has `exists` false."""
        return await self._entities.read(entity_id)

    async def list_entities(self, query: EntityQuery = _EVERY_ENTITY, continuation: str | None = None) -> EntityPage:
        """Return one page of the entities that exist; it may be empty and still have a continuation."""
        return await self._entities.list(query, continuation)

    async def clean_entities(self, *, remove_empty: bool = True, release_orphaned_locks: bool = True) -> StorageCleaning:
        """Purge empty idle entities and release locks whose owner is gone (specs/azure-storage.md 10.7)."""
        return await self._entities.clean(remove_empty=remove_empty, release_orphaned_locks=release_orphaned_locks)

    async def _require_instance(self, instance_id: str) -> InstanceRow:
        row = await self._instances.get_instance(InstanceId(instance_id), with_payloads=False)
        if row is None:
            raise InstanceNotFoundError(instance_id)
        return row

    async def _require_status(self, instance_id: str, allowed: frozenset[OrchestrationStatus], operation: str) -> None:
        row = await self._require_instance(existing_id(operation, instance_id))
        if row.status not in allowed:
            raise InvalidInstanceStateError(instance_id, row.status.value, operation)

    def _require_function(self, kind: str, name: str) -> None:
        checked_name("name", name)
        if self._known is not None:
            self._known.require(kind, name)

    async def _send(self, instance_id: str, event: HistoryEvent) -> None:
        target = OrchestrationInstance(instance_id=InstanceId(instance_id))
        await self._instances.send(OutgoingMessage(message=TaskMessage(event=event, target=target)))

    def _status(self, row: InstanceRow) -> InstanceStatus:
        return InstanceStatus(row=row, converter=self._converter)

    def _now(self) -> Ticks:
        return ticks_from_datetime(self._clock.now())
