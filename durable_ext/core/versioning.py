"""Which versions of orchestrations a worker runs (specs/host-json.md 7); knows no settings file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from durable_ext.failure import FailureDetails

_NUMBERS: Final = re.compile(r"[0-9]+(\.[0-9]+){1,3}")


class VersionMatch(Enum):
    """Which instances a worker of some version takes: all, those of the same version, or also those of older ones."""

    NONE = "None"
    STRICT = "Strict"
    CURRENT_OR_OLDER = "CurrentOrOlder"


class VersionMismatch(Enum):
    """What becomes of the others: left for another worker, or failed."""

    REJECT = "Reject"
    FAIL = "Fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerVersion:
    """The version of a worker's code, and what it does with instances of other versions. Entities have none.

    `version` is also that of orchestrations which its orchestrators and entities start without naming one; empty = none.
    """

    version: str = ""
    match: VersionMatch = VersionMatch.NONE
    mismatch: VersionMismatch = VersionMismatch.REJECT

    def accepts(self, version: str | None) -> bool:
        """Whether an instance of this version may run here."""
        if self.match is VersionMatch.NONE:
            return True
        if self.match is VersionMatch.STRICT:
            # Clients stamp `None`, others the empty text, and both mean that there is no version.
            return (version or "") == self.version
        return compare_versions(version, self.version) <= 0


ANY_VERSION: Final = WorkerVersion()
"""A worker without a version, which takes every instance."""


def compare_versions(left: str | None, right: str | None) -> int:
    """Return a number below, equal to or above zero, as `left` is older than, equal to or newer than `right`.

    Blank is older than anything else; 2 to 4 numbers with dots between them compare as numbers, all else as text without
    regard to case.
    """
    one, two = (left or "").strip(), (right or "").strip()
    if not one or not two:
        return bool(one) - bool(two)
    if _NUMBERS.fullmatch(one) and _NUMBERS.fullmatch(two):
        old, new = _parts(one), _parts(two)
        return (old > new) - (old < new)
    upper, other = one.upper(), two.upper()
    return (upper > other) - (upper < other)


def _parts(version: str) -> tuple[int, ...]:
    # A part that is not there is older than zero, as in .NET: 1.0 comes before 1.0.0.
    return tuple(int(part) for part in version.split("."))


MISMATCH_FAILURE: Final = FailureDetails(
    error_type="VersionMismatch", error_message="Orchestration version did not comply with Worker Versioning"
)
"""How an instance fails whose version does not fit (specs/execution-semantics.md 8.1)."""
