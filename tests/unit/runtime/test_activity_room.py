"""Activities are claimed for as many as can begin here soon, also when several checkpoints are on their way."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from durable_ext.aio.slots import Slots
from durable_ext.core.events import TaskScheduled
from durable_ext.core.messages import InstanceId, OrchestrationInstance, TaskMessage
from durable_ext.core.timestamps import Ticks
from durable_ext.runtime.activity_room import ActivityRoom
from durable_ext.testing.clock import ManualClock

SLOTS = 4
ROOM = 2 * SLOTS  # all slots are free


class SetClock(ManualClock):
    """A clock whose wall clock somebody sets."""

    set_by = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.set_by


class Worker:
    """A worker with four slots; `waiting` activities have arrived and wait for one."""

    def __init__(self) -> None:
        self.clock, self.waiting = SetClock(), 0
        self.slots = Slots(SLOTS)
        self.room = ActivityRoom(
            self.slots, waiting=lambda: self.waiting, knows=lambda name: name == "known", clock=self.clock
        )

    def claimed(self, count: int, name: str = "known") -> int:
        """How many of so many activities a checkpoint claims."""
        target = OrchestrationInstance(instance_id=InstanceId("i"), execution_id=None)
        event = TaskScheduled(timestamp=Ticks(0), event_id=0, name=name)
        messages = [TaskMessage(event=event, target=target)] * count
        outgoing = self.room.outgoing(messages, claims=True)
        assert [each.message for each in outgoing] == messages
        return sum(each.run_here for each in outgoing)


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_a_checkpoint_claims_one_for_each_free_slot_and_one_more_for_each_slot(worker: Worker) -> None:
    assert worker.claimed(100) == ROOM


def test_what_waits_or_runs_takes_room(worker: Worker) -> None:
    worker.waiting = 1
    worker.slots.try_take()

    assert worker.claimed(100) == ROOM - 2


def test_two_checkpoints_that_are_stored_at_once_do_not_claim_the_same_room(worker: Worker) -> None:
    first = worker.claimed(5)
    second = worker.claimed(100)

    assert (first, second) == (5, ROOM - 5)


def test_what_has_arrived_takes_room_once(worker: Worker) -> None:
    worker.claimed(3)
    worker.claimed(2)
    worker.room.arrived(4)
    worker.waiting = 4

    assert worker.claimed(100) == ROOM - 5


def test_room_is_free_again_when_those_that_arrived_have_begun_and_ended(worker: Worker) -> None:
    worker.claimed(100)
    worker.room.arrived(ROOM)

    assert worker.claimed(100) == ROOM


async def test_what_a_failed_checkpoint_claimed_is_forgotten(worker: Worker) -> None:
    worker.claimed(100)
    await worker.clock.advance(timedelta(seconds=5))

    assert worker.claimed(100) == ROOM


def test_what_is_being_stored_keeps_its_room_when_the_wall_clock_is_set_forward(worker: Worker) -> None:
    worker.claimed(100)
    worker.clock.set_by = timedelta(hours=1)

    assert worker.claimed(100) == 0


async def test_what_a_failed_checkpoint_claimed_is_forgotten_though_the_wall_clock_is_set_back(worker: Worker) -> None:
    worker.claimed(100)
    worker.clock.set_by = timedelta(hours=-1)
    await worker.clock.advance(timedelta(seconds=5))

    assert worker.claimed(100) == ROOM


def test_activities_of_others_and_of_a_worker_that_drains_are_not_claimed(worker: Worker) -> None:
    target = OrchestrationInstance(instance_id=InstanceId("i"), execution_id=None)
    message = TaskMessage(event=TaskScheduled(timestamp=Ticks(0), event_id=0, name="known"), target=target)

    assert worker.claimed(100, "of others") == 0
    assert [each.run_here for each in worker.room.outgoing([message], claims=False)] == [False]
    assert worker.claimed(100) == ROOM
