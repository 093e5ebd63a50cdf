"""A task hub on Azure Storage: puts the parts of this package together and decides nothing itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta

from durable_ext.aio.clock import Clock, SystemClock
from durable_ext.aio.supervisor import FailureReport, LoopFailedError, Supervisor, end_tasks, log_failure
from durable_ext.backends.azure_storage.app_lease import AppLease
from durable_ext.backends.azure_storage.backoff import PollingBackoff
from durable_ext.backends.azure_storage.checkpoint_writer import CheckpointWriter
from durable_ext.backends.azure_storage.control_queue import ControlQueueListener
from durable_ext.backends.azure_storage.due_messages import DueMessages
from durable_ext.backends.azure_storage.farewell import Farewell
from durable_ext.backends.azure_storage.held_message import HeldMessage
from durable_ext.backends.azure_storage.history_table import MAX_ROWS_PER_BATCH, HistoryTable
from durable_ext.backends.azure_storage.hub_accounts import HubAccounts
from durable_ext.backends.azure_storage.hub_resources import HubResources
from durable_ext.backends.azure_storage.instance_store import AzureInstanceStore
from durable_ext.backends.azure_storage.instance_watch import InstanceWatch
from durable_ext.backends.azure_storage.instances_table import InstancesTable
from durable_ext.backends.azure_storage.large_payloads import LargePayloads
from durable_ext.backends.azure_storage.listening import ListeningPartitions
from durable_ext.backends.azure_storage.message_codec import CONTROL_EVENTS, WORK_ITEM_EVENTS
from durable_ext.backends.azure_storage.message_keeper import MessageKeeper
from durable_ext.backends.azure_storage.message_reader import MessageReader
from durable_ext.backends.azure_storage.names import MAX_PARTITIONS
from durable_ext.backends.azure_storage.outbox import Outbox
from durable_ext.backends.azure_storage.partition_keeper import make_partition_keeper
from durable_ext.backends.azure_storage.recent_work import RecentWork
from durable_ext.backends.azure_storage.sessions import SessionDirectory
from durable_ext.backends.azure_storage.settings import AzureStorageSettings
from durable_ext.backends.azure_storage.transport.connection import StorageTransport
from durable_ext.backends.azure_storage.transport.http import Interceptor
from durable_ext.backends.azure_storage.work_item_queue import WorkItemQueue
from durable_ext.backends.protocol import (
    ActivityStore,
    BackendTraits,
    InstanceStore,
    OrchestrationStore,
    TaskHub,
)

_log = logging.getLogger("durable_ext.backends.azure_storage")
_LISTENING_POLL_SECONDS = 0.02
_RENEWAL_PATIENCE_SECONDS = 2.0

TRAITS = BackendTraits(
    kind="azure",
    max_timer=timedelta(days=6),
    long_timer_step=timedelta(days=3),
    max_events_per_write=MAX_ROWS_PER_BATCH,
    stores_start_before_local_activity=True,
    keeps_trigger=True,
    delivers_in_order=False,
)


class AzureStorageBackend:
    """One task hub in one storage account; see `backends.protocol.Backend` for the order of calls.

    `interceptor` stands around every storage call (tests). Make it on the event loop that uses it.
    """

    def __init__(
        self,
        settings: AzureStorageSettings,
        clock: Clock | None = None,
        *,
        interceptor: Interceptor | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._loops = Supervisor(f"azure-storage-{settings.task_hub}", self._loop_failed)
        self._errands = Supervisor(f"azure-storage-{settings.task_hub}")
        self._farewell = Farewell(self._errands, self._clock)
        self._failed: FailureReport = log_failure
        self._accounts = HubAccounts(settings, interceptor, clock=self._clock)
        self._draining = False
        self._closed = False
        self._leases_task: asyncio.Task[None] | None = None
        self._wire(settings, self._accounts.main, self._accounts.tracking)

    def _wire(self, settings: AzureStorageSettings, main: StorageTransport, tracking: StorageTransport) -> None:
        clock, names = self._clock, settings.names
        queues, tables, blobs = main.queues, tracking.tables, tracking.blobs
        payloads = LargePayloads(blobs, names)
        self._resources = HubResources(settings, main, tracking, clock=clock, health=self._accounts.health)
        self._watch = InstanceWatch()
        self._recent_work = RecentWork(clock, self._wake_all_queues)
        control_keeper = MessageKeeper(queues, settings.control_visibility_seconds, clock, "control")
        work_item_keeper = MessageKeeper(queues, settings.work_item_visibility_seconds, clock, "work-items")
        self._keepers = (control_keeper, work_item_keeper)
        self._outbox = Outbox(
            queues,
            payloads,
            names,
            partition_count=settings.partition_count,
            encoding=settings.message_encoding,
            clock=clock,
            control_visibility=settings.control_visibility_seconds,
            work_item_visibility=settings.work_item_visibility_seconds,
            owns=self._claims,
            wake=self._wake_queue,
        )
        self._due = DueMessages(clock, self._deliver_due)
        history = HistoryTable(tables, names.history_table, payloads)
        instances = InstancesTable(
            tables, names.instances_table, payloads, settings.task_hub, fetch_large=settings.fetch_large_messages
        )
        self._directory = SessionDirectory(
            clock=clock,
            history=history,
            instances=instances,
            keeper=control_keeper,
            supervisor=self._errands,
            partition_of=self._outbox.partition_of,
            may_commit=self._may_commit,
        )
        self._directory.use(
            CheckpointWriter(
                outbox=self._outbox,
                history=history,
                instances=instances,
                payloads=payloads,
                control_keeper=control_keeper,
                work_item_keeper=work_item_keeper,
                clock=clock,
                hand_over=self._hand_over,
                row_written=self._watch.row_written,
            )
        )
        self._work_items = WorkItemQueue(
            queue=names.work_item_queue,
            queues=queues,
            reader=MessageReader(payloads, WORK_ITEM_EVENTS),
            keeper=work_item_keeper,
            outbox=self._outbox,
            clock=clock,
            backoff=self._polling(),
            hand_over=self._hand_over,
            errands=self._errands,
            is_deleted=self._resources.is_deleted_here,
        )
        self._wire_partitions(settings, main, tracking, MessageReader(payloads, CONTROL_EVENTS), control_keeper)
        self._instances = AzureInstanceStore(
            ensure_hub=self._resources.create,
            outbox=self._outbox,
            history=history,
            instances=instances,
            tables=tables,
            names=names,
            payloads=payloads,
            watch=self._watch,
            clock=clock,
            hand_over=self._hand_over,
            discard=control_keeper.delete,
        )

    def _wire_partitions(
        self,
        settings: AzureStorageSettings,
        main: StorageTransport,
        tracking: StorageTransport,
        reader: MessageReader,
        keeper: MessageKeeper,
    ) -> None:
        clock, names = self._clock, settings.names
        self._control_queues = names.control_queues(MAX_PARTITIONS)  # clients may have added some
        self._queue_index = {queue: index for index, queue in enumerate(self._control_queues)}

        def make_listener(partition: int) -> ControlQueueListener:
            return ControlQueueListener(
                queue=self._control_queues[partition],
                queues=main.queues,
                reader=reader,
                keeper=keeper,
                directory=self._directory,
                outbox=self._outbox,
                partition=partition,
                batch_size=settings.control_queue_batch_size,
                buffer_threshold=settings.control_queue_buffer_threshold,
                backoff=self._polling(),
                is_deleted=self._resources.is_deleted_here,
            )

        self._listening = ListeningPartitions(
            directory=self._directory,
            make_listener=make_listener,
            clock=clock,
            task_hub=settings.task_hub,
            failed=self._loop_failed,
            drained=self._release_drained,
        )
        self._leases = make_partition_keeper(
            settings,
            tracking,
            partitions=self._queue_index,
            listening=self._listening,
            clock=clock,
            resources=self._resources,
        )
        self._app_lease = AppLease(
            blobs=tracking.blobs,
            names=names,
            app_name=settings.app_name,
            duration=settings.app_lease_interval,
            renew_interval=settings.app_lease_renew_interval,
            acquire_interval=settings.app_lease_acquire_interval,
            clock=clock,
            gained=self._start_leases,
            lost=self._stop_leases,
            restore=self._resources.restore_app_lease,
        )
        self._resources.app_lease = self._app_lease

    # Backend.

    @property
    def traits(self) -> BackendTraits:
        return TRAITS

    @property
    def checkpoint_port(self) -> None:
        """Its writes are requests of the event loop."""
        return None

    @property
    def task_hub(self) -> str:
        return self._settings.task_hub

    @property
    def orchestrations(self) -> OrchestrationStore:
        return self._directory

    @property
    def activities(self) -> ActivityStore:
        return self._work_items

    @property
    def instances(self) -> InstanceStore:
        return self._instances

    @property
    def hub(self) -> TaskHub:
        return self._resources

    async def open(self) -> None:
        """Create the hub if it is missing.

        Raises:
            ConfigurationError: The account, key or role is refused, or the hub does not fit the settings.
            BackendUnavailableError: Nobody answers; try again.
        """
        self._accounts.check(self._clock.now())
        await self._accounts.reached(self._resources.create())

    async def start_worker(self, failed: FailureReport = log_failure) -> None:
        self._failed = failed
        self._accounts.check_for_worker()
        await self._resources.create()
        self._accounts.health.watch()
        for keeper in self._keepers:
            keeper.start(self._loops)
        self._loops.start("due-messages", self._due.run())
        if self._settings.use_app_lease:
            await self._work_items.pause()
            self._loops.start("app-lease", self._app_lease.run())
        else:
            await self._start_leases()

    async def listening(self, wait: timedelta) -> bool:
        """Wait until this worker listens to at least one partition; false if it does not in time."""
        deadline = self._clock.monotonic() + wait.total_seconds()
        while not self._listening.states:
            if self._clock.monotonic() >= deadline:
                return False
            await self._clock.sleep(_LISTENING_POLL_SECONDS)
        return True

    def owns(self, partition: int) -> bool:
        """Whether this worker has a partition now."""
        return self._leases.owns(partition)

    async def drain(self) -> None:
        self._draining = True
        self._directory.drain()
        if self._leases_task is not None:
            self._leases.release()
        await self._farewell.give(self._work_items.drain())

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self.drain()
        await self._farewell.give(self._listening.quiet())
        await self._farewell.give(self._directory.give_back_all())
        if self._leases_task is not None:
            await (self._farewell.give(self._leases.stop()) if self._farewell.is_over else self._leases.stop())
        await self._work_items.stop()
        await self._farewell.give(self._end_keepers())
        await self._stop_everything()

    async def _end_keepers(self) -> None:
        for keeper in self._keepers:
            await keeper.stop(_RENEWAL_PATIENCE_SECONDS)
            await keeper.give_back_everything()

    async def abort(self) -> None:
        """Stop without giving anything up, as if the process were killed: locks and messages run out by themselves."""
        self._closed = True
        for keeper in self._keepers:
            await keeper.stop()
        await self._stop_everything()

    async def _stop_everything(self) -> None:
        await self._listening.stop()
        await self._loops.stop()
        await self._errands.stop()
        await self._accounts.close()

    async def __aenter__(self) -> AzureStorageBackend:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # Parts talk to each other through these.

    async def _start_leases(self) -> None:
        if self._draining:
            return
        self._work_items.resume()
        self._leases.begin()
        self._leases_task = self._loops.start("leases", self._leases.run())

    async def _stop_leases(self) -> None:
        await self._work_items.pause()
        await self._leases.stop()
        if self._leases_task is not None:
            await end_tasks({self._leases_task})  # what did not end in time must not go on beside its next life
            self._leases_task = None

    def _release_drained(self) -> None:
        self._leases.wake()

    def _claims(self, partition: int) -> bool:
        return self._settings.claim_at_enqueue and not self._draining and self._leases.owns(partition)

    async def _may_commit(self, partition: int) -> bool:
        self._recent_work.note()  # who asks is at work
        return await self._leases.confirm(partition)

    def _hand_over(self, messages: Sequence[HeldMessage]) -> None:
        """Take messages that this process has claimed, now or when they are due."""
        now = []
        for held in messages:
            if held.due is None:
                now.append(held)
            else:
                self._due.add(held)
        if now:
            self._directory.deliver(now)

    def _deliver_due(self, messages: Sequence[HeldMessage]) -> None:
        # Without the lease the queue delivers them, to the new owner.
        ours = [held for held in messages if self._claims(self._queue_index[held.queue])]
        if ours:
            self._directory.deliver(ours)

    def _wake_queue(self, queue: str) -> None:
        index = self._queue_index.get(queue)
        if index is None:
            self._work_items.wake()
        else:
            self._listening.wake(index)

    def _wake_all_queues(self) -> None:
        self._work_items.wake()
        for partition in self._listening.states:
            self._listening.wake(partition)

    def _polling(self) -> PollingBackoff:
        return PollingBackoff(self._settings.max_queue_polling_interval.total_seconds(), self._recent_work.longest_pause)

    def _loop_failed(self, failure: LoopFailedError) -> None:
        self._failed(failure)
