"""Blob leases as values, their content, and who takes which (pure).

Source: specs/azure-storage.md 7.2. The truth is the lease on the blob; the content tells others who holds it and, with
the token, lets them take it over.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from durable_ext.backends.azure_storage.leases import by_turns

_OURS: Final = frozenset({"PartitionId", "Owner", "Token", "Epoch"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobLease:
    """One lease blob.

    Attributes:
        blob: Its name, e.g. `intent/myhub-control-00`.
        partition: The control queue.
        owner, token: Worker id and lease id, as the content says.
        epoch: Grows with every change of owner, of the hub's own partitions.
        is_leased: Whether the service says that somebody holds it.
        foreign: Members of the content that we do not know: they survive our writes.
    """

    blob: str
    partition: str
    owner: str | None = None
    token: str | None = None
    epoch: int = 0
    is_leased: bool = False
    foreign: Mapping[str, object] = field(default_factory=dict)

    @property
    def is_free(self) -> bool:
        """Whether it may be taken without asking its owner."""
        return not self.is_leased or self.owner is None


def lease_content(lease: BlobLease) -> bytes:
    """Return the JSON of a lease blob, members in the provider's order."""
    value: dict[str, object] = {
        "PartitionId": lease.partition,
        "Owner": lease.owner,
        "Token": lease.token,
        "Epoch": lease.epoch,
    }
    value |= lease.foreign
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def lease_from_content(blob: str, content: bytes, *, is_leased: bool) -> BlobLease:
    """Return the lease of a blob. What is no lease says nothing of an owner: its partition would be nobody's for ever."""
    try:
        value = json.loads(content)
        return BlobLease(
            blob=blob,
            partition=str(value["PartitionId"]),
            owner=_text(value.get("Owner")),
            token=_text(value.get("Token")),
            epoch=int(value.get("Epoch") or 0),
            is_leased=is_leased,
            foreign={name: member for name, member in value.items() if name not in _OURS},
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return BlobLease(blob=blob, partition=blob.rpartition("/")[2], is_leased=is_leased)


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


def plan_take(leases: Sequence[BlobLease], *, me: str, steals: bool, added: Collection[str] = ()) -> tuple[BlobLease, ...]:
    """Return the leases to acquire now: free ones up to our share, else one of whoever has most.

    Kinds that do not steal take every free lease; what they may take is restricted by the caller. `added` = partitions
    beyond the hub's own: they count like others, as for the provider, but one is not taken instead of the other.
    """
    free = [lease for lease in leases if lease.is_free]
    if not steals:
        return tuple(free)
    counts: Counter[str] = Counter({me: 0})
    for lease in leases:
        if not lease.is_free and lease.owner is not None:
            counts[lease.owner] += 1
    target = max(1, -(-len(leases) // len(counts)))
    need = target - counts[me]
    if need <= 0:
        return ()
    if free:
        return tuple(by_turns(free, lambda lease: lease.partition in added)[:need])
    owner, most = max(counts.items(), key=lambda item: (item[1], item[0]))
    if owner == me or most <= target - (1 if need > 1 else 0):
        return ()
    theirs = [lease for lease in leases if lease.owner == owner]
    mine = Counter(lease.partition in added for lease in leases if lease.owner == me and not lease.is_free)
    rarer = [lease for lease in theirs if (lease.partition in added) == (mine[True] < mine[False])]
    return tuple((rarer or theirs)[:1])
