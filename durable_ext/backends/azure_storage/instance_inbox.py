"""Messages of one instance that wait, and sessions that wait for a dispatcher."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING

from durable_ext.aio.wakeups import Wakeup
from durable_ext.backends.azure_storage.held_message import HeldMessage
from durable_ext.core.messages import InstanceId

if TYPE_CHECKING:
    from durable_ext.backends.azure_storage.session import AzureSession


class InboxState(Enum):
    """Where an instance is: nothing to do, history being read, waiting for a dispatcher, in a session."""

    IDLE = "idle"
    LOADING = "loading"
    READY = "ready"
    ACTIVE = "active"


class InstanceInbox:
    """Messages of one instance that no session has taken yet. Owned by the directory."""

    __slots__ = ("instance_id", "partition", "pending", "session", "state")

    def __init__(self, instance_id: InstanceId, partition: int) -> None:
        self.instance_id, self.partition = instance_id, partition
        self.pending: deque[HeldMessage] = deque()
        self.state = InboxState.IDLE
        self.session: AzureSession | None = None

    def take_out(self) -> list[HeldMessage]:
        """Empty it, and return what it had."""
        pending = list(self.pending)
        self.pending.clear()
        return pending


class ReadyQueue:
    """Sessions that wait for a dispatcher."""

    def __init__(self) -> None:
        self.sessions: deque[AzureSession] = deque()
        self.wakeup = Wakeup()

    def put(self, session: AzureSession) -> None:
        self.sessions.append(session)
        self.wakeup.set()
