"""When a timer is due: NCRONTAB expressions and time spans; knows no clock (specs/functions-hosting.md 6)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final, Protocol

from durable_ext.core.timestamps import timespan_from_text
from durable_ext.errors import ConfigurationError

_FIELD: Final = re.compile(r"(?:[0-9*/,-]|[A-Za-z]{3,9})+")


class Schedule(Protocol):
    """A series of instants."""

    @property
    def adjusts_for_daylight_saving(self) -> bool:
        """Whether it follows a wall clock; spans do not."""
        ...

    def after(self, moment: datetime) -> datetime:
        """Return the first instant after an aware one, in the same zone."""
        ...


@dataclass(frozen=True, slots=True)
class CronSchedule:
    """Six fields, seconds first; day of month and day of week must both match, as NCRONTAB has it."""

    expression: str
    zone: tzinfo

    @property
    def adjusts_for_daylight_saving(self) -> bool:
        return True

    def after(self, moment: datetime) -> datetime:
        local = moment.astimezone(self.zone)
        found: datetime = _croniter(self.expression, local).get_next(datetime)
        return found.astimezone(moment.tzinfo)


@dataclass(frozen=True, slots=True)
class SpanSchedule:
    """One instant each `span`."""

    span: timedelta

    @property
    def adjusts_for_daylight_saving(self) -> bool:
        return False

    def after(self, moment: datetime) -> datetime:
        return moment + self.span


def parse_schedule(text: str, zone: tzinfo) -> Schedule:
    """Parse `0 */5 * * * *` (five fields: seconds are 0) or `00:05:00`.

    Raises:
        ConfigurationError: It is neither; the text quotes it.
    """
    if ":" in text:
        try:
            span = timespan_from_text(text)
        except ValueError as exc:
            raise ConfigurationError(f"The schedule '{text}' is not a time span such as 00:05:00.") from exc
        if span <= timedelta(0):
            raise ConfigurationError(f"The schedule '{text}' must be longer than zero.")
        return SpanSchedule(span)
    fields = text.split()
    if len(fields) == 5:
        fields.insert(0, "0")
    expression = " ".join(fields)
    if len(fields) == 6 and all(_FIELD.fullmatch(field) for field in fields):
        try:
            schedule = CronSchedule(expression, zone)
            schedule.after(datetime(2024, 1, 1, tzinfo=zone))
        except (ValueError, KeyError):
            pass
        else:
            return schedule
    raise ConfigurationError(
        f"The schedule '{text}' cannot be used. Write six fields (second minute hour day month weekday), e.g. "
        f"'0 */5 * * * *' for every five minutes."
    )


def _croniter(expression: str, start: datetime) -> Any:
    from croniter import croniter  # loaded only by apps with timers

    return croniter(expression, start, second_at_beginning=True, day_or=False)
