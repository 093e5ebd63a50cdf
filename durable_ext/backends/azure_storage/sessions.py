"""All instances this worker holds or has messages for: messages in, sessions out.

Source: specs/azure-storage.md 8.1 to 8.7.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from durable_ext.aio.clock import Clock
from durable_ext.aio.supervisor import Supervisor
from durable_ext.backends.azure_storage.checkpoint_writer import CheckpointWriter
from durable_ext.backends.azure_storage.held_message import HeldMessage
from durable_ext.backends.azure_storage.history_table import HistoryTable
from durable_ext.backends.azure_storage.instance_inbox import InboxState, InstanceInbox, ReadyQueue
from durable_ext.backends.azure_storage.instance_loader import InstanceLoader, SessionOpening
from durable_ext.backends.azure_storage.instances_table import InstancesTable
from durable_ext.backends.azure_storage.message_keeper import MessageKeeper
from durable_ext.backends.azure_storage.session import AzureSession
from durable_ext.backends.protocol import ActivityWorkItem
from durable_ext.core.messages import InstanceId

_log = logging.getLogger("durable_ext.backends.azure_storage")


class SessionDirectory:
    """`OrchestrationStore`; owns every inbox and session of a worker. Used from the event loop only.

    Attributes:
        clock: The backend's.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        history: HistoryTable,
        instances: InstancesTable,
        keeper: MessageKeeper,
        supervisor: Supervisor,
        partition_of: Callable[[str], int],
        may_commit: Callable[[int], Awaitable[bool]],
    ) -> None:
        self.clock = clock
        self._keeper, self._supervisor = keeper, supervisor
        self._partition_of, self._may_commit = partition_of, may_commit
        self._inboxes: dict[InstanceId, InstanceInbox] = {}
        self._orchestrations, self._entities = ReadyQueue(), ReadyQueue()
        self._leaving: set[int] = set()
        self._draining = False
        self._loader = InstanceLoader(
            clock=clock,
            history=history,
            instances=instances,
            keeper=keeper,
            discard=self.discard,
            postpone=self.postpone,
            open_session=self._open,
        )
        self._writer: CheckpointWriter | None = None

    def use(self, writer: CheckpointWriter) -> None:
        """Complete the wiring: the writer hands claimed messages back to `deliver`."""
        self._writer = writer

    # Messages in.

    def deliver(self, messages: Sequence[HeldMessage]) -> None:
        """Take messages in the order they are to be played. A redelivered one replaces the copy that is held."""
        touched: dict[InstanceId, InstanceInbox] = {}
        for held in messages:
            if self._keeper.recognizes(held):
                continue
            self._keeper.hold(held)
            instance_id = held.message.target.instance_id
            inbox = self._inboxes.get(instance_id)
            if inbox is None:
                inbox = self._inboxes[instance_id] = InstanceInbox(instance_id, self._partition_of(instance_id))
            inbox.pending.append(held)
            touched[instance_id] = inbox
        for inbox in touched.values():
            self._advance(inbox)

    def _advance(self, inbox: InstanceInbox) -> None:
        if inbox.state is InboxState.ACTIVE and inbox.session is not None:
            inbox.session.wake()
        elif inbox.state is InboxState.IDLE:
            if inbox.pending:
                inbox.state = InboxState.LOADING
                self._supervisor.start("load", self._load(inbox))
            else:
                self._forget(inbox)

    def _forget(self, inbox: InstanceInbox) -> None:
        if self._inboxes.get(inbox.instance_id) is inbox:  # one that was lost may have a successor
            del self._inboxes[inbox.instance_id]

    def discard(self, held: HeldMessage) -> None:
        """Delete a message that must not be played."""
        _log.info(
            "duplicate message %s of instance '%s' deleted",
            held.message_id,
            _instance(held),
            extra={"event": "duplicate_deleted", "message_id": held.message_id, "instance_id": _instance(held)},
        )
        self._supervisor.start("discard", self._keeper.delete(held))

    def postpone(self, held: HeldMessage, seconds: int | None = None) -> None:
        """Give back a message that came too early: until its time, or with a delay that grows with its dequeue count."""
        _log.info(
            "message %s of instance '%s' is too early",
            held.message_id,
            _instance(held),
            extra={"event": "message_too_early", "message_id": held.message_id, "instance_id": _instance(held)},
        )
        giving = self._keeper.abandon(held) if seconds is None else self._keeper.release(held, seconds)
        self._supervisor.start("postpone", giving)

    # Loading.

    async def _load(self, inbox: InstanceInbox) -> None:
        try:
            session = await self._loader.load(inbox)
            if session is not None:
                inbox.state, inbox.session = InboxState.READY, session
                queue = self._entities if inbox.instance_id.startswith("@") else self._orchestrations
                queue.put(session)
            else:
                inbox.state = InboxState.IDLE
                self._advance(inbox)
        except BaseException as error:
            inbox.state = InboxState.IDLE
            if isinstance(error, Exception):  # a mistake of ours: its messages must not be held, and renewed, for ever
                self._supervisor.start("end", self._keeper.abandon_all(inbox.take_out()))
                self._forget(inbox)
            raise

    def _open(self, inbox: InstanceInbox, opening: SessionOpening) -> AzureSession:
        assert self._writer is not None, "the directory is wired before it gets messages"
        return AzureSession(
            directory=self,
            inbox=inbox,
            loaded=opening.loaded,
            starting=opening.starting,
            row=opening.row,
            only=opening.only,
            writer=self._writer,
            keeper=self._keeper,
            may_commit=self._may_commit,
        )

    # Sessions out.

    async def lock_next_orchestration(self, wait: timedelta) -> AzureSession | None:
        """Return a session of an orchestration, `None` after `wait`."""
        return await self._next(self._orchestrations, wait)

    async def lock_next_entity(self, wait: timedelta) -> AzureSession | None:
        """Return a session of an entity, `None` after `wait`."""
        return await self._next(self._entities, wait)

    async def _next(self, queue: ReadyQueue, wait: timedelta) -> AzureSession | None:
        deadline = self.clock.monotonic() + wait.total_seconds()
        while True:
            while queue.sessions and not self._draining:
                session = queue.sessions.popleft()
                if session.activate():
                    return session
            left = deadline - self.clock.monotonic()
            if left <= 0 or not await queue.wakeup.wait(left):
                return None

    def end(self, inbox: InstanceInbox, session: AzureSession, taken: Sequence[HeldMessage], *, delayed: bool) -> None:
        """End a session without waiting for its messages to be given back."""
        if self._let_go(inbox, session):
            self._supervisor.start("end", self._return(inbox, taken, delayed=delayed))

    async def end_and_wait(
        self, inbox: InstanceInbox, session: AzureSession, taken: Sequence[HeldMessage], *, delayed: bool
    ) -> None:
        """End a session; what it had taken becomes visible, at once or after a back-off. Idempotent."""
        if self._let_go(inbox, session):
            await self._return(inbox, taken, delayed=delayed)

    def _let_go(self, inbox: InstanceInbox, session: AzureSession) -> bool:
        if inbox.session is not session:
            return False
        inbox.session = None
        session.closed()
        return True

    async def _return(self, inbox: InstanceInbox, taken: Sequence[HeldMessage], *, delayed: bool) -> None:
        if self.is_leaving(inbox.partition):
            await self._let_others_have(inbox.take_out(), taken)
        elif delayed:
            await self._keeper.abandon_all(taken)
        else:
            for held in taken:
                held.dequeue_count += 1  # as if the service had delivered it again
            inbox.pending.extendleft(reversed(taken))
        inbox.state = InboxState.IDLE
        self._advance(inbox)

    # Partitions.

    def is_leaving(self, partition: int) -> bool:
        """Whether the instances of a partition should be let go."""
        return self._draining or partition in self._leaving

    def drain(self) -> None:
        """Hand out nothing new; every session is asked to end."""
        self._draining = True
        self._wake_all()

    def leave(self, partition: int) -> None:
        """Ask the sessions of one partition to end."""
        self._leaving.add(partition)
        self._wake_all()

    def enter(self, partition: int) -> None:
        """The partition is ours."""
        self._leaving.discard(partition)

    def active_sessions(self, partition: int) -> int:
        """How many instances of a partition are in use."""
        return sum(
            1 for inbox in self._inboxes.values() if inbox.partition == partition and inbox.state is InboxState.ACTIVE
        )

    async def give_back(self, partition: int) -> None:
        """Make every message of a partition that no session holds visible at once."""
        await self._take_back([inbox for inbox in self._inboxes.values() if inbox.partition == partition])

    async def give_back_all(self) -> None:
        """End every session and make every message visible at once; for closing."""
        inboxes = list(self._inboxes.values())
        for inbox in inboxes:
            if inbox.state is InboxState.ACTIVE:
                inbox.state = InboxState.READY
        await self._take_back(inboxes)

    async def _take_back(self, inboxes: Sequence[InstanceInbox]) -> None:
        pending: list[HeldMessage] = []
        taken: list[HeldMessage] = []
        for inbox in inboxes:
            if inbox.state is InboxState.ACTIVE:
                continue
            pending += inbox.take_out()
            if inbox.session is not None:
                taken += inbox.session.surrender()
                inbox.session = None
            if inbox.state is InboxState.READY:
                inbox.state = InboxState.IDLE
                self._forget(inbox)
        await self._let_others_have(pending, taken)

    async def _let_others_have(self, pending: Sequence[HeldMessage], taken: Sequence[HeldMessage]) -> None:
        """Make messages visible at once; those that a session had taken may have been played, the others were not."""
        await asyncio.gather(self._keeper.release_all(pending), self._keeper.give_back_all(taken))

    def lose(self, partition: int) -> None:
        """The partition belongs to somebody else: end its sessions without a word, and let the new owner have its messages.

        Those that the new owner has taken already are not disturbed: the service refuses receipts of an earlier delivery.
        What a session may have played without a delivery comes back late: its age tells that it is not new.
        """
        pending: list[HeldMessage] = []
        taken: list[HeldMessage] = []
        late: list[HeldMessage] = []
        for inbox in list(self._inboxes.values()):
            if inbox.partition != partition:
                continue
            pending += inbox.take_out()
            session, inbox.session = inbox.session, None
            if session is not None:
                played = session.surrender()
                taken += [held for held in played if not held.claimed]
                late += [held for held in played if held.claimed]
                session.lose()
            if inbox.state is not InboxState.LOADING:
                self._forget(inbox)
        for held in (*pending, *taken, *late):
            self._keeper.forget(held)
        if pending or taken:
            self._supervisor.start("lose", self._let_others_have(pending, taken))

    def _wake_all(self) -> None:
        for inbox in self._inboxes.values():
            if inbox.session is not None:
                inbox.session.wake()

    # Work items that came with receipts.

    def work_item(self, held: HeldMessage) -> ActivityWorkItem:
        """Return a claimed work item as the runtime sees it."""
        return ActivityWorkItem(item_id=held.message_id, message=held.message, dequeue_count=held.dequeue_count)


def _instance(held: HeldMessage) -> str:
    return held.message.target.instance_id
