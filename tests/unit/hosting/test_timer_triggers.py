"""Timers on a clock that the test moves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

from durable_ext.errors import ConfigurationError
from durable_ext.hosting.app_loader import IndexedFunction
from durable_ext.hosting.local.invocations import Invoker
from durable_ext.hosting.local.timer_triggers import TimerTrigger, plan_timer
from durable_ext.testing.clock import ManualClock
from durable_ext.testing.eventually import eventually

START = datetime(2024, 5, 1, 10, 0, 30, tzinfo=timezone.utc)


def _timer(call: Any, **binding: Any) -> IndexedFunction:
    trigger = {"type": "timerTrigger", "name": "tick", "schedule": "0 */5 * * * *", **binding}
    return IndexedFunction(name="clean", trigger=trigger, bindings=(trigger,), call=call)


@pytest.fixture
def calls() -> list[func.TimerRequest]:
    return []


@pytest.fixture
def clean(calls: list[func.TimerRequest]) -> Callable[..., Any]:
    async def clean(tick: func.TimerRequest) -> None:
        calls.append(tick)

    return clean


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@asynccontextmanager
async def _running(
    function: IndexedFunction, clock: ManualClock, folder: Path, *, limit: timedelta | None = None
) -> AsyncIterator[None]:
    invoker = Invoker(lambda binding, invocation_id: None, folder, threads=1, limit=limit)
    trigger = TimerTrigger(plan_timer(function, lambda text: text), invoker, clock, folder)
    task = asyncio.create_task(trigger.run())
    await clock.advance(timedelta(0))
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    invoker.close()


async def test_a_timer_runs_at_each_occurrence(tmp_path: Path, clean: Any, calls: list[Any]) -> None:
    clock = ManualClock(START)

    async with _running(_timer(clean), clock, tmp_path):
        await clock.advance(timedelta(minutes=4))
        early = len(calls)
        await clock.advance(timedelta(minutes=6))

    assert (early, len(calls)) == (0, 2)
    assert not calls[0].past_due


async def test_a_timer_may_run_at_start(tmp_path: Path, clean: Any, calls: list[Any]) -> None:
    async with _running(_timer(clean, runOnStartup=True), ManualClock(START), tmp_path):
        pass

    assert len(calls) == 1


async def test_an_occurrence_missed_in_a_pause_is_made_up_for_once(tmp_path: Path, clean: Any, calls: list[Any]) -> None:
    async with _running(_timer(clean), ManualClock(START), tmp_path):
        pass

    async with _running(_timer(clean), ManualClock(START + timedelta(hours=1)), tmp_path):
        pass

    assert [call.past_due for call in calls] == [True]


async def test_nothing_is_made_up_for_without_a_monitor(tmp_path: Path, clean: Any, calls: list[Any]) -> None:
    for start in (START, START + timedelta(hours=1)):
        async with _running(_timer(clean, useMonitor=False), ManualClock(start), tmp_path):
            pass

    assert calls == []


async def test_timers_more_frequent_than_a_minute_are_not_monitored(tmp_path: Path, clean: Any) -> None:
    async with _running(_timer(clean, schedule="*/5 * * * * *"), ManualClock(START), tmp_path):
        pass

    assert not _files(tmp_path)


async def test_the_status_file_names_the_next_occurrence(tmp_path: Path, clean: Any) -> None:
    async with _running(_timer(clean), ManualClock(START), tmp_path):
        pass

    status = json.loads((tmp_path / "clean.json").read_text())
    assert datetime.fromisoformat(status["Next"]) == datetime(2024, 5, 1, 10, 5, tzinfo=timezone.utc)


async def test_a_spoilt_status_file_counts_as_none(tmp_path: Path, clean: Any, calls: list[Any]) -> None:
    (tmp_path / "clean.json").write_text("{")

    async with _running(_timer(clean), ManualClock(START), tmp_path):
        pass

    assert calls == []


async def test_a_timer_that_raises_runs_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(tick: func.TimerRequest) -> None:
        raise ValueError("broken timer")

    clock = ManualClock(START)
    async with _running(_timer(broken), clock, tmp_path):
        await clock.advance(timedelta(minutes=10))

    assert caplog.text.count("ValueError: broken timer") == 2


def test_a_bad_schedule_names_the_function(clean: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Function 'clean'.*'soon'"):
        plan_timer(_timer(clean, schedule="soon"), lambda text: text)


def test_a_schedule_may_come_from_a_setting(clean: Any) -> None:
    timer = plan_timer(_timer(clean, schedule="%EVERY%"), lambda text: text.replace("%EVERY%", "00:01:00"))

    assert timer.schedule.after(START) == START + timedelta(minutes=1)


def test_a_missing_setting_in_a_schedule_is_refused(clean: Any) -> None:
    with pytest.raises(ConfigurationError, match="%EVERY%"):
        plan_timer(_timer(clean, schedule="%EVERY%"), lambda text: text)


async def test_a_timer_that_hangs_ends_at_the_function_timeout_and_fires_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fired: list[bool] = []

    async def hangs(tick: func.TimerRequest) -> None:
        fired.append(tick.past_due)
        await asyncio.Event().wait()

    clock = ManualClock(START)
    async with _running(_timer(hangs), clock, tmp_path, limit=timedelta(milliseconds=50)):
        await clock.advance(timedelta(minutes=5))
        await eventually(lambda: "exceeded by function: Functions." in caplog.text)
        await clock.advance(timedelta(minutes=5))
        await eventually(lambda: len(fired) == 2)

    assert fired == [False, False]
