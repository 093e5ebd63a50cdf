"""The app's timer triggers: one loop per function, past-due runs, and what is remembered over restarts.

A timer's calls never overlap. Monitored timers keep last and next occurrence in a file, so that an occurrence that fell into
a pause is made up for once, with `past_due`. Source: specs/functions-hosting.md 2 (What needs what), 6.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from durable_ext.aio.clock import Clock
from durable_ext.errors import ConfigurationError
from durable_ext.hosting.app_loader import IndexedFunction
from durable_ext.hosting.bindings import CallPlan, plan_call, timer_trigger_value
from durable_ext.hosting.local.invocations import Invoker
from durable_ext.hosting.local.schedules import Schedule, parse_schedule

log = logging.getLogger("durable_ext.hosting")

_MONITORED_FROM = timedelta(minutes=1)
_LONGEST_SLEEP = 60.0  # the wall clock may be set while we wait


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerPlan:
    """One timer function."""

    plan: CallPlan
    schedule: Schedule
    run_on_startup: bool
    use_monitor: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleStatus:
    """Occurrences of a timer, aware UTC; `last` is `None` if it never ran."""

    last: datetime | None
    next: datetime
    last_updated: datetime


def plan_timer(function: IndexedFunction, resolve: Callable[[str], str]) -> TimerPlan:
    """Parse the schedule of a timer function; `resolve` replaces `%SETTING%`.

    Raises:
        BindingError: The function cannot be called.
        ConfigurationError: The schedule cannot be used; one line with function and schedule.
    """
    plan = plan_call(function)
    written = str(function.trigger.get("schedule", ""))
    text = resolve(written)
    if "%" in text:
        raise ConfigurationError(f"Function '{function.name}': the setting in the schedule '{written}' does not exist.")
    try:
        schedule = parse_schedule(text, _zone(resolve("%WEBSITE_TIME_ZONE%")))
    except ConfigurationError as exc:
        raise ConfigurationError(f"Function '{function.name}': {exc}") from exc
    return TimerPlan(
        plan=plan,
        schedule=schedule,
        run_on_startup=bool(function.trigger.get("runOnStartup", False)),
        use_monitor=bool(function.trigger.get("useMonitor", True)),
    )


def _zone(name: str) -> Any:
    if name.startswith("%") or not name:
        return timezone.utc
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as exc:
        raise ConfigurationError(f"WEBSITE_TIME_ZONE is '{name}', which is no IANA time zone such as Europe/Paris.") from exc


class TimerTrigger:
    """Runs one timer until it is cancelled. `folder` keeps the status of monitored timers."""

    def __init__(self, timer: TimerPlan, invoker: Invoker, clock: Clock, folder: Path) -> None:
        self._timer, self._invoker, self._clock = timer, invoker, clock
        self._file = folder / f"{timer.plan.name}.json"
        now = clock.now()
        following = timer.schedule.after(timer.schedule.after(now)) - timer.schedule.after(now)
        self._monitored = timer.use_monitor and following >= _MONITORED_FROM

    async def run(self) -> None:
        """Run at start if asked for or past due, then at each occurrence."""
        now = self._clock.now()
        known = self._read() if self._monitored else None
        past_due = known is not None and known.next <= now
        last = known.last if known is not None else None
        if past_due or self._timer.run_on_startup:
            shown = known or ScheduleStatus(last=None, next=self._timer.schedule.after(now), last_updated=now)
            last = await self._fire(shown, past_due=past_due)
        while True:
            now = self._clock.now()
            status = ScheduleStatus(last=last, next=self._timer.schedule.after(now), last_updated=last or now)
            self._write(status)
            while (wait := (status.next - self._clock.now()).total_seconds()) > 0:
                await self._clock.sleep(min(wait, _LONGEST_SLEEP))
            last = await self._fire(status, past_due=False)

    async def _fire(self, status: ScheduleStatus, *, past_due: bool) -> datetime:
        fired_at = self._clock.now()
        value = timer_trigger_value(_payload(status, self._timer.schedule, past_due=past_due))
        try:
            await self._invoker.call(self._timer.plan, value, reason=f"Timer fired at {fired_at.isoformat()}")
        except Exception:  # the app's own; `Invoker.call` has logged it, and the next occurrence is another chance
            pass
        return fired_at

    def _read(self) -> ScheduleStatus | None:
        try:
            content: Mapping[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
            last = content.get("Last")
            return ScheduleStatus(
                last=datetime.fromisoformat(last) if last else None,
                next=datetime.fromisoformat(content["Next"]),
                last_updated=datetime.fromisoformat(content["LastUpdated"]),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as exc:
            log.warning("timer status unreadable, starting anew: %s: %s", self._file, exc)
            return None

    def _write(self, status: ScheduleStatus) -> None:
        if not self._monitored:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            draft = self._file.with_suffix(f".{os.getpid()}.tmp")
            draft.write_text(json.dumps(_status(status)), encoding="utf-8")
            draft.replace(self._file)
        except OSError as exc:
            log.warning("timer status cannot be kept: %s: %s", self._file, exc)


def _status(status: ScheduleStatus) -> dict[str, str]:
    last = status.last or datetime(1, 1, 1, tzinfo=timezone.utc)
    return {"Last": last.isoformat(), "Next": status.next.isoformat(), "LastUpdated": status.last_updated.isoformat()}


def _payload(status: ScheduleStatus, schedule: Schedule, *, past_due: bool) -> dict[str, Any]:
    return {
        "Schedule": {"AdjustForDST": schedule.adjusts_for_daylight_saving},
        "ScheduleStatus": _status(status),
        "IsPastDue": past_due,
    }
