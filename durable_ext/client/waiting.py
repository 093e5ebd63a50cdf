"""How a client waits for the end of an instance."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Final

from durable_ext.aio.clock import Clock
from durable_ext.backends.protocol import InstanceStore
from durable_ext.core.instances import InstanceRow
from durable_ext.core.messages import InstanceId
from durable_ext.errors import ArgumentTypeError, InstanceNotFoundError, InstanceWaitTimeoutError

_LONG_POLL: Final = 600.0  # one request to the store


def patience_of(timeout: timedelta | None) -> float:
    """Return how many seconds a wait lasts.

    Raises:
        ArgumentTypeError: It is neither a time span nor `None`.
    """
    if timeout is None:
        return math.inf
    if not isinstance(timeout, timedelta):
        wanted = "a timedelta, as timedelta(seconds=30), or None to wait for ever"
        raise ArgumentTypeError("wait_for_completion", "timeout", timeout, wanted)
    return timeout.total_seconds()


async def row_at_end(instances: InstanceStore, clock: Clock, instance_id: InstanceId, seconds: float) -> InstanceRow:
    """Return the row of an instance as soon as its status is terminal.

    Raises:
        InstanceNotFoundError: No such instance, or it was purged meanwhile.
        InstanceWaitTimeoutError: Not terminal in time.
    """
    deadline = clock.monotonic() + seconds
    row = await instances.wait_for_change(instance_id, None, timedelta(0))
    while row is not None and not row.status.is_terminal:
        remaining = deadline - clock.monotonic()
        if remaining <= 0:
            raise InstanceWaitTimeoutError(instance_id, seconds, row.status.value)
        row = await instances.wait_for_change(instance_id, row, timedelta(seconds=min(remaining, _LONG_POLL)))
    if row is None:
        raise InstanceNotFoundError(instance_id)
    return row
