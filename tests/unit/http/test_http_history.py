"""`historyEvents` as the management API shows them."""

from __future__ import annotations

import json
from typing import Any

from durable_ext.core.events import (
    ExecutionCompleted,
    ExecutionStarted,
    GenericEvent,
    HistoryEvent,
    OrchestrationStatus,
    OrchestratorCompleted,
    OrchestratorStarted,
    SubOrchestrationInstanceCreated,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
    UnknownEvent,
)
from durable_ext.core.messages import InstanceId, OrchestrationInstance
from durable_ext.core.timestamps import Ticks, ticks_from_iso
from durable_ext.failure import FailureDetails
from durable_ext.http.history import HistoryView, history_json

NOW = ticks_from_iso("2024-05-01T10:00:00.9Z")
LATER = ticks_from_iso("2024-05-01T10:00:01.2Z")
STARTED = ExecutionStarted(
    timestamp=NOW, instance=OrchestrationInstance(instance_id=InstanceId("i")), name="Hello", input='"x"', generation=0
)
SAY = TaskScheduled(timestamp=NOW, event_id=0, name="Say")
SAID = TaskCompleted(timestamp=LATER, task_scheduled_id=0, result='{"a": 1}')
ENDED = ExecutionCompleted(timestamp=LATER, event_id=1, status=OrchestrationStatus.COMPLETED, result='"out"')


def _shown(*events: HistoryEvent, **view: bool) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = json.loads(history_json(events, HistoryView(**view)))
    return shown


def test_a_finished_run_looks_as_the_extension_shows_it() -> None:
    opened = OrchestratorStarted(timestamp=NOW)

    text = history_json([opened, STARTED, SAY, OrchestratorCompleted(timestamp=NOW), SAID, ENDED], HistoryView())

    assert text == (
        '[{"EventType":"ExecutionStarted","Input":"\\"x\\"","Correlation":null,"ParentTraceContext":null,'
        '"ScheduledStartTime":null,"Generation":0,"GenerateNewTrace":false,"Timestamp":"2024-05-01T10:00:00.9Z",'
        '"FunctionName":"Hello"},'
        '{"EventType":"TaskCompleted","Timestamp":"2024-05-01T10:00:01.2Z","ScheduledTime":"2024-05-01T10:00:00.9+00:00",'
        '"FunctionName":"Say","Input":null},'
        '{"EventType":"ExecutionCompleted","OrchestrationStatus":"Completed","FailureDetails":null,'
        '"Timestamp":"2024-05-01T10:00:01.2Z"}]'
    )


def test_results_are_shown_as_json_when_asked_for() -> None:
    said, ended = _shown(SAY, SAID, ENDED, show_output=True)

    assert (said["Result"], ended["Result"]) == ({"a": 1}, "out")


def test_inputs_are_left_out_when_not_asked_for() -> None:
    started, said = _shown(STARTED, SAY, SAID, show_input=False)

    assert "Input" not in started
    assert "Input" not in said


def test_an_activity_that_has_not_finished_is_shown_as_scheduled() -> None:
    (scheduled,) = _shown(SAY)

    assert list(scheduled) == ["EventType", "Name", "Input", "ParentTraceContext", "Tags", "Timestamp"]


def test_a_failed_activity_keeps_reason_and_details() -> None:
    inner = FailureDetails(error_type="KeyError", error_message="k")
    failure = FailureDetails(error_type="ValueError", error_message="bad", inner_failure=inner)

    (failed,) = _shown(SAY, TaskFailed(timestamp=LATER, task_scheduled_id=0, reason="r", details="d", failure=failure))

    assert (failed["Reason"], failed["Details"], failed["FunctionName"]) == ("r", "d", "Say")
    assert failed["FailureDetails"]["InnerFailure"]["ErrorType"] == "KeyError"


def test_timers_show_when_they_fire() -> None:
    created, fired = _shown(
        TimerCreated(timestamp=NOW, event_id=2, fire_at=LATER), TimerFired(timestamp=NOW, timer_id=2, fire_at=LATER)
    )

    assert created["FireAt"] == fired["FireAt"] == "2024-05-01T10:00:01.2Z"
    assert "TimerId" not in fired


def test_a_child_shows_its_instance_id() -> None:
    (child,) = _shown(
        SubOrchestrationInstanceCreated(timestamp=NOW, event_id=0, instance_id="c", name="Child", tags={"t": "1"})
    )

    assert (child["InstanceId"], child["Name"], child["Tags"]) == ("c", "Child", {"t": "1"})


def test_a_generic_event_begins_with_its_data() -> None:
    (generic,) = _shown(GenericEvent(timestamp=Ticks(NOW), data="why"))

    assert list(generic) == ["Data", "EventType", "Timestamp"]


def test_an_event_of_an_unknown_kind_keeps_its_name() -> None:
    (unknown,) = _shown(UnknownEvent(timestamp=NOW, kind="Novelty", raw="{}"))

    assert unknown["EventType"] == "Novelty"
