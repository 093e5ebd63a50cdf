"""What this process has written to instance rows lately, so that clients here wait without reading.

Rows that other workers write are seen by polling (specs/azure-storage.md 9.4, "Wait for completion").
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final

from durable_ext.aio.wakeups import Wakeup
from durable_ext.core.instances import InstanceRow, InstanceUpdate
from durable_ext.core.messages import InstanceId
from durable_ext.core.timestamps import Ticks

_MAX_REMEMBERED: Final = 10_000
_MAX_TEXT_CHARACTERS: Final = 2_000  # of what is remembered as it is though nobody waits for it


@dataclass(frozen=True, slots=True)
class _Written:
    """The last write of a row and the time stamp of the row before it."""

    before: Ticks
    update: InstanceUpdate


class InstanceWatch:
    """Owns the wake-ups of instances that somebody waits for. Used from one event loop only."""

    def __init__(self) -> None:
        self._waiting: dict[InstanceId, list[Wakeup]] = {}
        self._last: OrderedDict[InstanceId, _Written | InstanceRow | Ticks] = OrderedDict()

    def row_created(self, instance_id: InstanceId, last_updated_at: Ticks, row: InstanceRow | None = None) -> None:
        """This process has inserted or replaced the row; `row` = what a reader gets, if that is known."""
        small = row is not None and len(row.input or "") <= _MAX_TEXT_CHARACTERS
        self._remember(instance_id, row if row is not None and small else last_updated_at)

    def created(self, instance_id: InstanceId) -> InstanceRow | None:
        """Return the row that this process has made and not changed since, `None` if it is not known."""
        last = self._last.get(instance_id)
        return last if isinstance(last, InstanceRow) else None

    def row_written(self, instance_id: InstanceId, update: InstanceUpdate) -> None:
        """This process has merged into the row."""
        last = self._last.get(instance_id)
        waiting = self._waiting.get(instance_id, ())
        if last is not None:
            small = waiting or _characters(update) <= _MAX_TEXT_CHARACTERS
            self._remember(instance_id, _Written(_last_updated(last), update) if small else update.last_updated_at)
        for wakeup in waiting:
            wakeup.set()

    def forget(self, instance_id: InstanceId) -> None:
        """The row was purged."""
        self._last.pop(instance_id, None)

    def look(self, known: InstanceRow) -> InstanceRow | None:
        """Return what a known row is now as far as we know: itself, or what our last write made of it.

        `None` if that cannot be told without reading.
        """
        last = self._last.get(known.instance_id)
        if last is None:
            return None
        if isinstance(last, _Written) and last.before == known.last_updated_at:
            return _merged(known, last.update)
        return known if _last_updated(last) == known.last_updated_at else None

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
            last = self._last.get(instance_id)
            if isinstance(last, _Written) and _characters(last.update) > _MAX_TEXT_CHARACTERS:
                self._last[instance_id] = last.update.last_updated_at

    def _remember(self, instance_id: InstanceId, written: _Written | InstanceRow | Ticks) -> None:
        self._last[instance_id] = written
        self._last.move_to_end(instance_id)
        if len(self._last) > _MAX_REMEMBERED:
            self._last.popitem(last=False)


def _last_updated(last: _Written | InstanceRow | Ticks) -> Ticks:
    if isinstance(last, _Written):
        return last.update.last_updated_at
    return last.last_updated_at if isinstance(last, InstanceRow) else last


def _characters(update: InstanceUpdate) -> int:
    return sum(len(text) for text in (update.input, update.output, update.custom_status) if text is not None)


def _merged(row: InstanceRow, update: InstanceUpdate) -> InstanceRow:
    changed = {name: value for name in _MERGED if (value := getattr(update, name)) is not None}
    if update.execution_id:
        changed |= {"execution_id": update.execution_id, "custom_status": update.custom_status}
    return replace(row, last_updated_at=update.last_updated_at, **changed)


_MERGED: Final = (
    "status",
    "name",
    "version",
    "input",
    "output",
    "created_at",
    "completed_at",
    "scheduled_start_at",
    "generation",
)
