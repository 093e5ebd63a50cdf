"""Tells waiting clients of this process that an instance row was written.

Rows that other workers write are seen by polling (specs/azure-storage.md 9.4, "Wait for completion").
"""

from __future__ import annotations

from durable_ext.aio.wakeups import Wakeup
from durable_ext.core.instances import InstanceUpdate
from durable_ext.core.messages import InstanceId


class InstanceWatch:
    """Owns the wake-ups of instances that somebody waits for. Used from one event loop only."""

    def __init__(self) -> None:
        self._waiting: dict[InstanceId, list[Wakeup]] = {}

    def row_written(self, instance_id: InstanceId, update: InstanceUpdate) -> None:
        """This process has written the row."""
        for wakeup in self._waiting.get(instance_id, ()):
            wakeup.set()

    def begin(self, instance_id: InstanceId) -> Wakeup:
        """Begin to wait; pair with `end`."""
        wakeup = Wakeup()
        self._waiting.setdefault(instance_id, []).append(wakeup)
        return wakeup

    def end(self, instance_id: InstanceId, wakeup: Wakeup) -> None:
        """Stop waiting."""
        wakeups = self._waiting.get(instance_id, [])
        if wakeup in wakeups:
            wakeups.remove(wakeup)
        if not wakeups:
            self._waiting.pop(instance_id, None)
