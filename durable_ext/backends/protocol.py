"""The seam between the runtime, the client and a store (design.md 3); names no store, no SQL, no URL, no ETag.

Work is handed out as *sessions*: a lock on one instance that spans several checkpoints. One `Checkpoint` carries
everything that becomes durable together. All methods are coroutines on the engine's event loop; a backend that blocks
does so on threads of its own. Each promise below has a test in `durable_ext/testing/contract*.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Protocol, Union

from durable_ext.aio.supervisor import FailureReport, log_failure
from durable_ext.core.events import ExecutionStarted, HistoryEvent, OrchestrationStatus
from durable_ext.core.instances import InstanceFilter, InstancePage, InstanceRow, InstanceUpdate
from durable_ext.core.messages import (
    ExecutionId,
    InstanceId,
    OrchestrationInstance,
    OutgoingMessage,
    ReceivedMessage,
    TaskMessage,
)

if TYPE_CHECKING:
    from durable_ext.backends.checkpoint_port import CheckpointPort


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendTraits:
    """What the runtime has to know of a store, as values instead of `isinstance`.

    Attributes:
        kind: `"embedded"` or `"azure"`; for banners and logs.
        max_timer: Longest single timer, `None` = no limit; longer ones are split into steps of `long_timer_step`.
        max_events_per_write: Events that become durable atomically (99 on Azure Storage), `None` = any number, and with
            them all else of a checkpoint.
        stores_start_before_local_activity: Rule R1 of design.md 5: OrchestratorStarted and ExecutionStarted must be
            stored before the first local activity of a generation.
        keeps_trigger: Rule R6: one message that loads the execution stays unconsumed while local waves are written.
            `False` (SQLite): an unfinished instance is handed out again after a crash without any message.
        delivers_in_order: Messages of one sender to one instance arrive in order, so entities need no sorter.
    """

    kind: str
    max_timer: timedelta | None
    long_timer_step: timedelta | None
    max_events_per_write: int | None
    stores_start_before_local_activity: bool
    keeps_trigger: bool
    delivers_in_order: bool


class SessionEnd(Enum):
    """Why `next_messages` returned no messages."""

    IDLE = "idle"  # nothing came in time; the lock is still held
    YIELD = "yield"  # another worker should have the instance: finish, then release
    LOST = "lost"  # the lock is gone: nothing can be committed any more


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageBatch:
    """At least one message, in delivery order; each stays locked for this session until consumed or released.

    `redelivered` is true if some message was dequeued before (dequeue count > 1): rule R7, no local activities.
    """

    messages: tuple[ReceivedMessage, ...]
    redelivered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingActivity:
    """An activity message. `run_here`: hand it back locked in the `Receipt` instead of letting any worker take it."""

    message: TaskMessage
    run_here: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Everything that becomes durable together.

    Attributes:
        execution_id: The generation that `new_events` belong to.
        new_events: Appended to the history of that generation, of one or several episodes. May be empty.
        starts_generation: `new_events` are the history from row 0 on; what was there belongs to an older generation
            (continue-as-new, restart under the same id, entity batches).
        consumed: Ids of messages of this session that are done with. May be empty.
        messages: Task messages to other instances or to this one, with their due time.
        activities: Activity messages; their TaskScheduled events are among `new_events` of this or an earlier one.
        instance: Changes of the instance row; `None` leaves it (and may delay other tools' view of it).
    """

    execution_id: ExecutionId
    new_events: tuple[HistoryEvent, ...] = ()
    starts_generation: bool = False
    consumed: tuple[str, ...] = ()
    messages: tuple[OutgoingMessage, ...] = ()
    activities: tuple[OutgoingActivity, ...] = ()
    instance: InstanceUpdate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityWorkItem:
    """One locked activity message; the backend renews the lock until it is completed or abandoned.

    `item_id` is opaque and unique in the hub; `dequeue_count` > 1 means that somebody may have run it before.
    `deaths` is how many of its runs are known to have begun and not ended, because the worker died or froze. Holding it is
    not counted, nor are runs of its first delivery.
    `lock` is the store's: by which of its locks the item is held.
    """

    item_id: str
    message: TaskMessage
    dequeue_count: int = 1
    deaths: int = 0
    lock: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a checkpoint gave back: the locked work items of `run_here`, in the order they were sent."""

    activities: tuple[ActivityWorkItem, ...] = ()


class OrchestrationSession(Protocol):
    """A lock on one instance. The backend renews it and its messages on a loop or thread of its own."""

    @property
    def instance(self) -> OrchestrationInstance:
        """Instance id; the execution id is that of `history`, `None` if there is none yet."""
        ...

    @property
    def history(self) -> Sequence[HistoryEvent]:
        """The current generation as it was when the session was locked; not updated by checkpoints."""
        ...

    @property
    def custom_status(self) -> str | None:
        """The instance row's custom status when the session was locked."""
        ...

    @property
    def deaths(self) -> int:
        """How many workers in a row died or froze while they had it and stored nothing; ask after messages came.

        Zero once what was handed out is stored. A store may count from the second delivery of a message on.
        """
        ...

    async def next_messages(self, wait: timedelta) -> MessageBatch | SessionEnd:
        """Wait up to `wait` (zero: do not wait) for messages to this instance that no batch contained yet."""
        ...

    async def checkpoint(self, checkpoint: Checkpoint) -> Receipt:
        """Make it durable; returns when it is.

        Raises:
            CheckpointConflictError: The lock was lost or somebody else has written: the session is over and nothing
                of this checkpoint will count.
            PayloadTooLargeError: A value cannot be stored; nothing was written, the session goes on.
            RequestRefusedError: The store refuses it, now and later. If `is_too_large` the session goes on, and may be
                given less to store.
            BackendUnavailableError: The store could not be reached within its retries; the outcome is unknown and the
                session is over.
        """
        ...

    async def results_may_differ(self) -> bool:
        """Whether a result among the messages that no checkpoint has stored yet may come again with another value.

        Then it has to be stored before anything that was computed from it is sent or begun. False where a result and the
        end of its work item are one transaction.
        """
        ...

    async def confirm(self) -> bool:
        """Whether the lock is still held; asks the store only if it may have run out (this process stood still).

        Raises:
            BackendUnavailableError: The store could not be asked.
        """
        ...

    async def release(self) -> None:
        """End the session; unconsumed messages become visible at once. Never raises for a lost lock."""
        ...

    async def abandon(self) -> None:
        """End the session; unconsumed messages become visible after a back-off that grows with their dequeue count."""
        ...


class OrchestrationStore(Protocol):
    """Where the orchestration and entity dispatchers get their work."""

    async def lock_next_orchestration(self, wait: timedelta) -> OrchestrationSession | None:
        """Lock an instance (not an entity) that has deliverable messages or unfinished work, or `None` after `wait`."""
        ...

    async def lock_next_entity(self, wait: timedelta) -> OrchestrationSession | None:
        """The same for entities: instances whose id starts with `@`."""
        ...


class ActivityStore(Protocol):
    """Where the activity dispatcher gets work that did not come with a `Receipt`."""

    async def lock_next_activity(self, wait: timedelta) -> ActivityWorkItem | None:
        """Lock the oldest visible activity, or `None` after `wait`."""
        ...

    async def begin(self, item: ActivityWorkItem) -> bool:
        """Whether the item is still locked here, so that a run of it may begin. Never raises.

        One that is not was run, or is being run, by another worker: it must not begin here. The store is asked only if the
        lock may have run out, and told only of an item that was delivered before: it notes the run for `deaths`, and
        forgets it again when the item is given back or the worker stops.
        """
        ...

    async def complete(self, item: ActivityWorkItem, result: HistoryEvent) -> None:
        """Send TaskCompleted or TaskFailed to the orchestration and delete the item, atomically or in that order.

        Raises:
            LeaseLostError: Another worker has the item; nothing was sent. A store that cannot tell sends the result again,
                which the orchestration ignores.
        """
        ...

    async def abandon(self, item: ActivityWorkItem) -> None:
        """Give the item back: visible after a back-off that grows with its dequeue count."""
        ...

    async def release(self, item: ActivityWorkItem) -> None:
        """Give an item back of which no result was sent: visible at once, as if it had not been delivered."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeResult:
    """`deleted` instances; `complete` is false if a timeout ended it early or one that was wanted could not be deleted."""

    deleted: int
    complete: bool = True


class InstanceStore(Protocol):
    """What clients need; works without a worker in this process."""

    async def create_instance(self, start: ExecutionStarted, *, reject: frozenset[OrchestrationStatus]) -> None:
        """Create the instance of `start` with status Pending and queue its start message.

        `start.scheduled_start_time` delays the start. `start.generation` None = previous + 1, or 0; a given 0 says
        that the id is new, so that nothing has to be looked up.

        Raises:
            InstanceAlreadyExistsError: The id exists in a status of `reject`.
        """
        ...

    async def send(self, message: OutgoingMessage) -> None:
        """Queue a task message (event, terminate, suspend, resume, entity request) for its target instance."""
        ...

    async def get_instance(self, instance_id: InstanceId, *, with_payloads: bool = True) -> InstanceRow | None:
        """Return the row; without payloads input and output may be `None`."""
        ...

    async def wait_for_change(
        self, instance_id: InstanceId, known: InstanceRow | None, wait: timedelta
    ) -> InstanceRow | None:
        """Return the row as soon as it differs from `known` in any field, or as it is after `wait`."""
        ...

    async def query_instances(
        self, wanted: InstanceFilter, *, page_size: int = 100, continuation: str | None = None, with_payloads: bool = True
    ) -> InstancePage:
        """Return one page, ordered by instance id.

        Raises:
            ContinuationTokenError: `continuation` is not a token of this store.
        """
        ...

    async def get_history(self, instance_id: InstanceId) -> Sequence[HistoryEvent]:
        """Return the current generation's events, empty if there are none."""
        ...

    async def purge_instance(self, instance_id: InstanceId, *, seen: InstanceRow | None = None) -> PurgeResult:
        """Delete row, history, payloads and queued messages of one instance, whatever its status.

        With `seen`, only if its row is still that one: an instance that was started again meanwhile, or an entity that was
        signalled, loses nothing. Then 0 deleted; incomplete if the row is unchanged, but of an earlier run than history.
        """
        ...

    async def purge_instances(self, wanted: InstanceFilter, *, timeout: timedelta | None = None) -> PurgeResult:
        """Delete every instance that matches; the caller has reduced the statuses to terminal ones.

        One that is started again before its turn comes is left, whole.
        """
        ...

    async def rewind(self, instance_id: InstanceId, reason: str) -> None:
        """Rewind a failed instance and its failed children (specs/azure-storage.md 9.5) and wake them."""
        ...


class TaskHub(Protocol):
    """The hub as a whole."""

    async def create(self) -> None:
        """Create what is missing; does nothing if all is there."""
        ...

    async def delete(self) -> None:
        """Delete the hub with everything in it."""
        ...

    async def exists(self) -> bool:
        """Whether the hub is there."""
        ...

    async def make_primary(self) -> bool:
        """Have the workers of this application work on the hub instead of another's; returns when that is asked for.

        False: the workers of all applications may work on this hub, so there is nothing to take over.
        """
        ...


class Backend(Protocol):
    """One task hub. `open_backend()` makes it; `async with` opens and closes it.

    Order of calls: `open`, any number of client calls; `start_worker`, sessions and activities; `drain` (nothing new is
    handed out, locks of what runs are still renewed); `close` (every lock is given up, unprocessed messages become
    visible at once).
    """

    @property
    def traits(self) -> BackendTraits: ...
    @property
    def task_hub(self) -> str: ...
    @property
    def orchestrations(self) -> OrchestrationStore: ...
    @property
    def checkpoint_port(self) -> CheckpointPort | None: ...
    @property
    def activities(self) -> ActivityStore: ...
    @property
    def instances(self) -> InstanceStore: ...
    @property
    def hub(self) -> TaskHub: ...

    async def open(self) -> None:
        """Connect and create the hub if it is missing."""
        ...

    async def start_worker(self, failed: FailureReport = log_failure) -> None:
        """Begin to take leases and to look for work; `failed` is told of each loop that dies, then work stands still."""
        ...

    async def drain(self) -> None:
        """Hand out nothing new; sessions see `SessionEnd.YIELD`."""
        ...

    async def close(self) -> None:
        """Give up every lock and disconnect. Idempotent."""
        ...


SessionInput = Union[MessageBatch, SessionEnd]
