"""The alarm of the embedded store, on a clock that tests move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from durable_ext.backends.sqlite.alarm import Alarm
from durable_ext.backends.sqlite.effects import Delivery
from durable_ext.core.events import EventRaised
from durable_ext.core.messages import InstanceId, OrchestrationInstance, ReceivedMessage, TaskMessage
from durable_ext.core.timestamps import Ticks, ticks_add, ticks_from_datetime
from durable_ext.testing.clock import ManualClock
from durable_ext.testing.eventually import eventually


class Inbox:
    """A session, as far as the alarm sees it."""

    def __init__(self) -> None:
        self.is_over = False
        self.received: list[str] = []

    def deliver(self, message: ReceivedMessage) -> None:
        self.received.append(message.message_id)


class Looks:
    """Counts the looks at the store."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def looks() -> Looks:
    return Looks()


@pytest.fixture
async def alarm(clock: ManualClock, looks: Looks) -> AsyncIterator[Alarm]:
    alarm = Alarm(clock, looks)
    running = asyncio.ensure_future(alarm.run())
    await asyncio.sleep(0)
    yield alarm
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def after(clock: ManualClock, seconds: float) -> Ticks:
    return ticks_add(ticks_from_datetime(clock.now()), timedelta(seconds=seconds))


def delivery(message_id: str, due: int) -> Delivery:
    target = OrchestrationInstance(instance_id=InstanceId("i"))
    message = TaskMessage(event=EventRaised(timestamp=Ticks(0), name="ev"), target=target)
    return Delivery(n=1, message=ReceivedMessage(message_id=message_id, message=message), due=due)


async def asleep(clock: ManualClock) -> None:
    """Return when the alarm has fallen asleep."""
    await eventually(lambda: clock.sleepers > 0, "the alarm does not sleep")


async def test_deliveries_arrive_in_the_order_in_which_they_are_due(clock: ManualClock, alarm: Alarm) -> None:
    inbox = Inbox()
    for name, seconds in (("b", 20.0), ("a", 10.0), ("c", 86_400.0)):
        alarm.keep(inbox, delivery(name, after(clock, seconds)))
    await asleep(clock)

    await clock.advance(timedelta(seconds=9))
    early = list(inbox.received)
    while clock.now() < ManualClock().now() + timedelta(days=2):
        await asleep(clock)
        await clock.advance_to_next_sleeper()
        if len(alarm) == 0:
            break

    assert early == []
    assert inbox.received == ["a", "b", "c"]


async def test_an_earlier_delivery_shortens_the_sleep(clock: ManualClock, alarm: Alarm) -> None:
    inbox = Inbox()
    alarm.keep(inbox, delivery("late", after(clock, 25)))
    await asleep(clock)
    alarm.keep(inbox, delivery("early", after(clock, 5)))
    await eventually(lambda: clock.sleepers == 1, "the alarm did not wake to look again")

    await clock.advance(timedelta(seconds=6))

    assert inbox.received == ["early"]


async def test_what_belongs_to_an_ended_session_is_dropped(clock: ManualClock, alarm: Alarm) -> None:
    ended, live = Inbox(), Inbox()
    alarm.keep(ended, delivery("a", after(clock, 5)))
    alarm.keep(live, delivery("b", after(clock, 5)))
    await asleep(clock)
    ended.is_over = True

    await clock.advance(timedelta(seconds=6))

    assert (ended.received, live.received) == ([], ["b"])


async def test_deliveries_of_ended_sessions_do_not_pile_up(clock: ManualClock, alarm: Alarm) -> None:
    for number in range(10_000):
        inbox = Inbox()
        alarm.keep(inbox, delivery(str(number), after(clock, 86_400)))
        inbox.is_over = True

    assert len(alarm) <= 1000


async def test_the_store_is_looked_at_when_the_next_work_is_due(clock: ManualClock, alarm: Alarm, looks: Looks) -> None:
    alarm.look_at(after(clock, 10))
    alarm.look_at(after(clock, 20))
    await asleep(clock)

    await clock.advance(timedelta(seconds=9))
    early = looks.count
    await clock.advance(timedelta(seconds=2))

    assert (early, looks.count) == (0, 1)
