"""What the leases of others say about their clocks: times in the Partitions table are each writer's own.

Ours follow the service's clock. The provider's are those of its machine, and an owner whose clock is behind writes leases
that look expired, one whose clock is ahead takes ours for expired: each would take partitions from the other for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from durable_ext.backends.azure_storage.leases import Lease

_AGREEING: Final = timedelta(seconds=5)  # the service tells its time in whole seconds
_LONGEST_LEAD: Final = timedelta(minutes=10)  # beyond, a value is none of a clock
_LONGEST_LEASE: Final = timedelta(minutes=1)
_SILENCE: Final = 2  # lease times without a renewal, and the holder is dead whatever the lease says


@dataclass(slots=True)
class _Seen:
    holder: str | None
    renewed: datetime | None
    since: float
    alive_until: float = 0.0


class LeaseClocks:
    """Owned by the lease loop of one worker: remembers when it saw which lease renewed, by its own monotonic clock.

    Attributes:
        lead: How far the clock of another worker is ahead; leases must hold so much longer to look alive there.
    """

    def __init__(self, interval: timedelta) -> None:
        self._interval = interval
        self._seen: dict[str, _Seen] = {}
        self.lead = timedelta(0)

    def judged(self, leases: Sequence[Lease], *, me: str, now: datetime, monotonic: float) -> list[Lease]:
        """Return the leases with the ends that they have by our clock.

        An owner that was seen to renew a lease that looks (nearly) expired is alive with a clock that is behind. One that
        was not seen to renew for twice a lease's time is dead; so is one to which a lease was released, and that has not
        claimed it for so long. What is seen for the first time is taken at its word.
        """
        self.lead = timedelta(0)
        return [lease if lease.holder in (None, me) else self._judged(lease, now, monotonic) for lease in leases]

    def _judged(self, lease: Lease, now: datetime, monotonic: float) -> Lease:
        length = self._length(lease)
        seen = self._seen.get(lease.partition)
        if seen is None or (seen.holder, seen.renewed) != (lease.holder, lease.last_renewal):
            is_renewal = seen is not None and lease.owner is not None
            seen = self._seen[lease.partition] = _Seen(lease.holder, lease.last_renewal, monotonic)
            if is_renewal and lease.expires_at is not None and lease.expires_at - now < length / 2:
                seen.alive_until = monotonic + length.total_seconds()
        if monotonic - seen.since >= _SILENCE * length.total_seconds():
            return replace(lease, expires_at=now)
        if (
            lease.owner is not None
            and lease.last_renewal is not None
            and _AGREEING < lease.last_renewal - now <= _LONGEST_LEAD
        ):
            self.lead = max(self.lead, lease.last_renewal - now)
        if monotonic < seen.alive_until:
            left = timedelta(seconds=seen.alive_until - monotonic)
            return replace(lease, expires_at=max(now + left, lease.expires_at or now))
        return lease

    def _length(self, lease: Lease) -> timedelta:
        """Return how long a lease of this owner holds, which need not be as long as ours."""
        if lease.expires_at is None or lease.last_renewal is None:
            return self._interval
        return max(self._interval, min(lease.expires_at - lease.last_renewal, _LONGEST_LEASE))
