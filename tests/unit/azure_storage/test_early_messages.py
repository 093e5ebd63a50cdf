"""Which messages may be played, and which start message is the right one: specs/azure-storage.md 8.3 and 8.4."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from durable_ext.backends.azure_storage.early_messages import (
    KnownTasks,
    StartVerdict,
    come_before_start,
    is_foreign_start,
    is_result,
    is_row_of_former_run,
    judge_start,
    repeats_child_start,
    seconds_before_start,
    seconds_for_start,
)
from durable_ext.core.events import (
    EventRaised,
    EventSent,
    ExecutionCompleted,
    ExecutionStarted,
    ExecutionTerminated,
    GenericEvent,
    HistoryEvent,
    OrchestrationStatus,
    SubOrchestrationInstanceCompleted,
    TaskCompleted,
    TaskScheduled,
    TimerCreated,
    TimerFired,
)
from durable_ext.core.ids import next_execution_id
from durable_ext.core.instances import InstanceRow
from durable_ext.core.messages import ExecutionId, InstanceId, OrchestrationInstance, ParentInstance, TaskMessage
from durable_ext.core.timestamps import Ticks, ticks_from_datetime

REQUEST = "0f0e0d0c-0b0a-0908-0706-050403020100"
VISIBILITY = timedelta(seconds=60)


def at(ticks: int) -> Ticks:
    return Ticks(ticks)


def start(execution_id: str = "e1", *, generation: int = 0, at_ticks: int = 1000, **fields: object) -> ExecutionStarted:
    instance = OrchestrationInstance(instance_id=InstanceId("i"), execution_id=ExecutionId(execution_id))
    values: dict[str, object] = {"timestamp": at(at_ticks), "generation": generation, "name": "N", **fields}
    return ExecutionStarted(instance=instance, **values)  # type: ignore[arg-type]


def row(
    execution_id: str | None = "e1",
    status: OrchestrationStatus = OrchestrationStatus.PENDING,
    *,
    generation: int = 0,
    created: int = 1000,
    completed: int | None = None,
) -> InstanceRow:
    return InstanceRow(
        instance_id=InstanceId("i"),
        execution_id=ExecutionId(execution_id) if execution_id else None,
        name="N",
        status=status,
        created_at=at(created),
        last_updated_at=at(created),
        generation=generation,
        completed_at=None if completed is None else at(completed),
    )


def judge(event: ExecutionStarted, found: InstanceRow | None, dequeue_count: int = 1) -> StartVerdict:
    taken = datetime(2026, 1, 1, tzinfo=timezone.utc)
    return judge_start(event, found, dequeue_count=dequeue_count, next_visible=taken + VISIBILITY, visibility=VISIBILITY)


KNOWN = KnownTasks()
KNOWN.add(
    [
        TaskScheduled(timestamp=at(1), event_id=0, name="A"),
        TimerCreated(timestamp=at(1), event_id=1, fire_at=at(5)),
        TimerCreated(timestamp=at(1), event_id=-100, fire_at=at(1)),
        EventSent(
            timestamp=at(1),
            event_id=2,
            instance_id="@e@k",
            name="op",
            input=f'{{"op":"get","input":"{{\\"id\\":\\"not this\\"}}","id":"{REQUEST.upper()}","parent":"i"}}',
        ),
    ]
)


@pytest.mark.parametrize(
    ("event", "from_entity", "expected"),
    [
        (TaskCompleted(timestamp=at(2), task_scheduled_id=0), False, True),
        (TaskCompleted(timestamp=at(2), task_scheduled_id=3), False, False),
        (SubOrchestrationInstanceCompleted(timestamp=at(2), task_scheduled_id=9), False, False),
        (TimerFired(timestamp=at(2), timer_id=1, fire_at=at(5)), False, True),
        (TimerFired(timestamp=at(2), timer_id=7, fire_at=at(5)), False, False),
        (TimerFired(timestamp=at(2), timer_id=-100, fire_at=at(1)), False, True),
        (EventRaised(timestamp=at(2), name=REQUEST), True, True),
        (EventRaised(timestamp=at(2), name="11111111-0b0a-0908-0706-050403020100"), True, False),
        (EventRaised(timestamp=at(2), name="anything"), False, True),
    ],
)
def test_a_result_is_due_once_history_holds_its_question(event: HistoryEvent, from_entity: bool, expected: bool) -> None:
    assert KNOWN.answers(event, from_entity=from_entity) is expected


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (SubOrchestrationInstanceCompleted(timestamp=at(30), task_scheduled_id=2), False),
        (TimerFired(timestamp=at(30), timer_id=1, fire_at=at(30)), False),
        (TaskCompleted(timestamp=at(15), task_scheduled_id=1), True),
        (TaskCompleted(timestamp=at(30), task_scheduled_id=0), True),
    ],
)
def test_what_a_rewind_has_undone_asks_for_nothing_that_comes_later(event: HistoryEvent, expected: bool) -> None:
    """A worker may have sent what it decided after the rewind under the same number, and died before it was stored."""
    known = KnownTasks()
    known.add(
        [
            TaskScheduled(timestamp=at(10), event_id=0, name="A"),
            GenericEvent(timestamp=at(10), event_id=1),
            GenericEvent(timestamp=at(20), event_id=2),
        ]
    )

    assert known.answers(event, from_entity=False) is expected


def test_a_late_answer_to_an_entity_request_that_a_rewind_has_undone_is_let_in_to_be_dropped() -> None:
    known = KnownTasks()
    known.add([GenericEvent(timestamp=at(10), event_id=1, data=REQUEST), GenericEvent(timestamp=at(20), data="reason")])

    assert known.answers(EventRaised(timestamp=at(30), name=REQUEST.upper()), from_entity=True)
    assert not known.answers(EventRaised(timestamp=at(30), name="reason"), from_entity=True)


@pytest.mark.parametrize(
    ("event", "target", "sender", "expected"),
    [
        (TaskCompleted(timestamp=at(1), task_scheduled_id=0), "i", "i", True),
        (EventRaised(timestamp=at(1), name="x"), "i", "", False),
        (EventRaised(timestamp=at(1), name="x"), "i", "@e@k", True),
        (EventRaised(timestamp=at(1), name="op"), "@e@k", "@e@other", False),
        (start(), "i", "", False),
    ],
)
def test_only_answers_can_be_too_early(event: HistoryEvent, target: str, sender: str, expected: bool) -> None:
    message = TaskMessage(event=event, target=OrchestrationInstance(instance_id=InstanceId(target)))

    assert is_result(message, sender) is expected


def test_a_start_of_another_execution_ends_the_session_and_its_own_does_not() -> None:
    message = TaskMessage(event=start("e2"), target=start("e2").instance)

    assert is_foreign_start(message, ExecutionId("e1"))
    assert not is_foreign_start(message, ExecutionId("e2"))


def test_a_child_start_that_its_parent_sent_twice_is_recognized() -> None:
    parent = ParentInstance(name="P", instance=OrchestrationInstance(instance_id=InstanceId("p")), task_schedule_id=3)
    again = TaskMessage(event=start("e2", parent=parent), target=start("e2").instance)

    assert repeats_child_start(again, [start("e1", parent=parent)])
    assert not repeats_child_start(again, [start("e1")])
    assert not repeats_child_start(TaskMessage(event=start("e2"), target=start("e2").instance), [start("e1")])


@pytest.mark.parametrize(
    ("event", "found", "dequeue_count", "expected"),
    [
        pytest.param(start(), row(), 1, StartVerdict.PROCESS, id="its own row"),
        pytest.param(start("E1"), row("e1"), 1, StartVerdict.PROCESS, id="ids ignore case"),
        pytest.param(
            start(), row(status=OrchestrationStatus.TERMINATED), 1, StartVerdict.DELETE, id="ended before it started"
        ),
        pytest.param(start(), row(None), 1, StartVerdict.PROCESS, id="a row without execution"),
        pytest.param(start(), None, 1, StartVerdict.DEFER, id="no row yet"),
        pytest.param(start(), None, 10, StartVerdict.DELETE, id="no row after ten deliveries"),
        pytest.param(start(at_ticks=2000), row("e0"), 1, StartVerdict.DELETE, id="lost against an earlier start"),
        pytest.param(start(at_ticks=500), row("e0"), 1, StartVerdict.DEFER, id="older than the row"),
        pytest.param(
            start(generation=1), row("e0", OrchestrationStatus.RUNNING, generation=0), 1, StartVerdict.DEFER, id="row late"
        ),
        pytest.param(
            start(),
            row("e0", OrchestrationStatus.RUNNING, created=1500),
            2,
            StartVerdict.DELETE,
            id="a later generation goes on",
        ),
        pytest.param(
            start("e2", generation=1),
            row("e1", OrchestrationStatus.RUNNING, generation=1),
            1,
            StartVerdict.PROCESS,
            id="the replaced generation has put its id back",
        ),
    ],
)
def test_a_start_message_is_judged_by_its_row(
    event: ExecutionStarted, found: InstanceRow | None, dequeue_count: int, expected: StartVerdict
) -> None:
    assert judge(event, found, dequeue_count) is expected


@pytest.mark.parametrize(
    ("due", "seconds"),
    [
        (None, 0),
        (timedelta(seconds=-5), 0),
        (timedelta(seconds=1), 0),
        (timedelta(seconds=1.5), 2),
        (timedelta(days=1), 86_400),
        (timedelta(days=30), 604_800),
    ],
)
def test_a_start_at_a_time_waits_for_it_as_long_as_a_queue_can_hide_it(due: timedelta | None, seconds: int) -> None:
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    scheduled = None if due is None else ticks_from_datetime(now + due)

    assert seconds_before_start(start(scheduled_start_time=scheduled), now) == seconds


RUNNING = OrchestrationStatus.RUNNING
ENDED = [start("e0"), ExecutionCompleted(timestamp=at(3), event_id=0, status=OrchestrationStatus.COMPLETED)]
EVENT = EventRaised(timestamp=at(4), name="x")
END = ExecutionTerminated(timestamp=at(4))


@pytest.mark.parametrize(
    ("event", "target", "found", "history", "expected"),
    [
        pytest.param(EVENT, None, row(), [], True, id="an event, the start is queued"),
        pytest.param(EVENT, "e1", row(), [], True, id="for that execution"),
        pytest.param(EVENT, "e7", row(), [], False, id="for another execution"),
        pytest.param(EVENT, None, None, [], False, id="no such instance"),
        pytest.param(EVENT, None, row(status=OrchestrationStatus.TERMINATED), [], False, id="ended before it started"),
        pytest.param(END, None, row(), [], False, id="ends it before it starts"),
        pytest.param(EVENT, None, row(), ENDED, True, id="started again"),
        pytest.param(EVENT, "e0", row(), ENDED, False, id="for the former run"),
        pytest.param(END, None, row(), ENDED, True, id="to end the new run"),
        pytest.param(EVENT, None, row("e0"), ENDED, False, id="the row of an ended run is behind"),
        pytest.param(EVENT, None, row(status=RUNNING), ENDED[:1], False, id="it runs"),
    ],
)
def test_messages_wait_for_a_start_that_is_on_its_way(
    event: HistoryEvent, target: str | None, found: InstanceRow | None, history: list[HistoryEvent], expected: bool
) -> None:
    execution_id = ExecutionId(target) if target else None
    message = TaskMessage(event=event, target=OrchestrationInstance(instance_id=InstanceId("i"), execution_id=execution_id))

    assert come_before_start([message], found, history, ExecutionId("e0") if history else None) is expected


BEGUN = [
    OrchestrationStatus.RUNNING,
    OrchestrationStatus.SUSPENDED,
    OrchestrationStatus.COMPLETED,
    OrchestrationStatus.FAILED,
]


@pytest.mark.parametrize("created", [1, 1000, 9_000_000])
@pytest.mark.parametrize("status", BEGUN)
def test_a_row_that_shows_another_run_which_has_begun_is_of_a_former_one_whatever_the_clocks_say(
    status: OrchestrationStatus, created: int
) -> None:
    assert is_row_of_former_run(row("former", status, created=created), [start("e1")])


@pytest.mark.parametrize("status", [*BEGUN, OrchestrationStatus.PENDING, OrchestrationStatus.TERMINATED])
@pytest.mark.parametrize("named", ["E1", None])
def test_a_row_that_names_the_run_in_history_or_none_is_not_of_a_former_one(
    status: OrchestrationStatus, named: str | None
) -> None:
    assert not is_row_of_former_run(row(named, status, created=1, completed=5), [start("e1")])


@pytest.mark.parametrize("created", [1, 1000, 9_000_000])
def test_a_pending_row_of_another_run_is_of_a_former_one_only_if_that_was_rewound(created: int) -> None:
    pending = OrchestrationStatus.PENDING

    assert not is_row_of_former_run(row("next", pending, created=created), [start("e1")])
    assert is_row_of_former_run(row("former", pending, created=created, completed=5), [start("e1")])


def test_of_a_terminated_row_of_another_run_the_times_tell_whether_it_is_of_one_that_never_began() -> None:
    terminated = OrchestrationStatus.TERMINATED

    assert is_row_of_former_run(row("former", terminated, created=1, completed=5), [start("e1", at_ticks=1000)])
    assert not is_row_of_former_run(row("next", terminated, created=2000, completed=2005), [start("e1", at_ticks=1000)])


@pytest.mark.parametrize("status", [OrchestrationStatus.PENDING, OrchestrationStatus.TERMINATED])
def test_the_row_of_the_generation_that_this_one_continues_is_a_former_one(status: OrchestrationStatus) -> None:
    earlier = ExecutionId("e1")
    second = start(next_execution_id(earlier), at_ticks=1000)

    assert is_row_of_former_run(row(earlier, status, created=9_000_000), [second])


def test_messages_of_an_ended_generation_do_not_wait_for_a_start_that_its_row_does_not_stand_for() -> None:
    second = start(next_execution_id(ExecutionId("e1")))
    ended = ExecutionCompleted(timestamp=at(2000), status=OrchestrationStatus.COMPLETED)
    event = TaskMessage(
        event=EventRaised(timestamp=at(1), name="e"), target=OrchestrationInstance(instance_id=InstanceId("i"))
    )

    assert not come_before_start([event], row("e1"), [second, ended], second.instance.execution_id)
    assert come_before_start([event], row("other"), [second, ended], second.instance.execution_id)


@pytest.mark.parametrize(
    ("left", "dequeue_count", "expected"),
    [
        pytest.param(None, 3, 8, id="no time of its own"),
        pytest.param(3600, 3, 8, id="long before"),
        pytest.param(100, 20, 101, id="the delay would end after the start"),
        pytest.param(-5, 20, 1, id="the start is late"),
        pytest.param(-3600, 20, 600, id="the start does not come"),
    ],
)
def test_a_message_is_hidden_for_longer_and_longer_but_not_past_the_time_of_the_start(
    left: int | None, dequeue_count: int, expected: int
) -> None:
    now = datetime(2026, 11, 22, 8, tzinfo=timezone.utc)
    due = None if left is None else ticks_from_datetime(now + timedelta(seconds=left))

    assert seconds_for_start(replace(row(), scheduled_start_at=due), dequeue_count, now) == expected
