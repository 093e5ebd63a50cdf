"""CriticalSection: what an orchestration may do while it waits for or holds entity locks (execution-semantics.md 12.8)."""

from __future__ import annotations

from collections.abc import Iterable

from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.messages import EntityRelease
from durable_ext.core.messages import InstanceId
from durable_ext.errors import LockingRulesError


def lock_order(entities: Iterable[EntityId]) -> tuple[EntityId, ...]:
    """Return the entities of a lock request in the order in which every orchestration takes them, each once.

    Names come out in lower case. A common order is what keeps two orchestrations from waiting for each other.

    Raises:
        ValueError: There is none.
    """
    unique = {entity.instance_id: EntityId(entity.name.lower(), entity.key) for entity in entities}
    if not unique:
        raise ValueError("The list of entities to lock is empty. Name at least one.")
    return tuple(unique[instance_id] for instance_id in sorted(unique, key=lambda text: (text.casefold(), text)))


class CriticalSection:
    """The locks of one orchestration generation; used from the orchestrator thread only.

    Free → `request` → (answer comes) `granted` → `release` → free; a `release` may come before the answer. Every check
    raises `LockingRulesError`.
    """

    __slots__ = ("_available", "_held", "_lock_set", "_request_id")

    def __init__(self) -> None:
        self._lock_set: tuple[EntityId, ...] = ()
        self._request_id: str | None = None
        self._held = False
        self._available: set[InstanceId] = set()

    @property
    def lock_set(self) -> tuple[EntityId, ...]:
        """The entities that are locked or asked for, in lock order; empty outside."""
        return self._lock_set

    def check_request(self) -> None:
        """Refuse a lock request inside a critical section."""
        if self._request_id is not None:
            raise LockingRulesError("Cannot acquire more locks when already holding some locks.")

    def request(self, request_id: str, lock_set: tuple[EntityId, ...]) -> None:
        """Remember the lock request that was sent."""
        self.check_request()
        self._request_id, self._lock_set = request_id, lock_set

    def renamed(self, request_id: str, recorded: str) -> None:
        """History has the lock request under another id: that is the one which is answered and given back."""
        if request_id == self._request_id:
            self._request_id = recorded

    def granted(self, request_id: str) -> None:
        """The answer to the lock request came; answers to others are ignored."""
        if request_id == self._request_id:
            self._held = True
            self._available = {entity.instance_id for entity in self._lock_set}

    def check_call(self, entity: EntityId) -> None:
        """Refuse a call to an entity that is not locked, or that still works on a call of this orchestration."""
        if not self._held:
            return
        if entity.instance_id not in self._available:
            if any(entity.instance_id == locked.instance_id for locked in self._lock_set):
                raise LockingRulesError(
                    "Must not call an entity from a critical section while a prior call to the same entity is still pending."
                )
            raise LockingRulesError("While holding locks, cannot call entities whose lock is not held.")

    def call_started(self, entity: EntityId) -> None:
        """A call was sent: the entity takes no other until it has answered."""
        if self._held:
            self._available.discard(entity.instance_id)

    def call_ended(self, entity: EntityId) -> None:
        """The answer to a call came."""
        if self._held and any(entity.instance_id == locked.instance_id for locked in self._lock_set):
            self._available.add(entity.instance_id)

    def check_signal(self, entity: EntityId) -> None:
        """Refuse a signal to an entity that is locked by this orchestration."""
        if self._held and any(entity.instance_id == locked.instance_id for locked in self._lock_set):
            raise LockingRulesError("While holding locks, cannot signal entities whose lock is held.")

    def check_sub_orchestration(self) -> None:
        """Refuse a sub-orchestration: it could wait for the same locks for ever."""
        if self._held:
            raise LockingRulesError("While holding locks, cannot call suborchestrators.")

    def release(self, instance_id: str, request_id: str | None = None) -> tuple[tuple[EntityId, EntityRelease], ...]:
        """Give up all locks and return a release for each entity; empty if none is held or asked for.

        `instance_id` is the orchestration's own. With a `request_id` only what that request has got; without one also
        what was asked for and has not been granted: an entity that gets the request later locks nothing then.
        """
        if self._request_id is None or request_id not in (None, self._request_id):
            return ()
        message = EntityRelease(parent=instance_id, lock_request_id=self._request_id)
        releases = tuple((entity, message) for entity in self._lock_set)
        self._lock_set, self._request_id, self._held, self._available = (), None, False, set()
        return releases
