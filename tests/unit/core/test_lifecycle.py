"""Start, suspend, resume, terminate, restart, rewind, and letting go of an instance."""

from __future__ import annotations

import contextvars
from datetime import timedelta
from typing import Any

import pytest
from support.orchestration_bench import OrchestrationBench, kinds

from durable_ext.core.context import OrchestrationContext
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.events import (
    ExecutionCompleted,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    GenericEvent,
    OrchestrationStatus,
    OrchestratorCompleted,
)
from durable_ext.core.inbox import AdmissionKind
from durable_ext.core.messages import ExecutionId, OrchestrationInstance
from durable_ext.core.rewind import plan_rewind, rewound


def waiting(context: OrchestrationContext) -> Any:
    value = yield context.wait_for_external_event("go")
    return [value, (yield context.call_activity("after"))]


def test_the_first_episode_fills_the_row() -> None:
    bench = OrchestrationBench(waiting)

    row = bench.start({"n": 1}, version="2", tags={"k": "v"}, generation=3).instance

    assert row is not None
    assert (row.status, row.name, row.version, row.tags) == (OrchestrationStatus.RUNNING, "orchestrator", "2", {"k": "v"})
    assert (row.input, row.created_at, row.generation) == ('"{\\"n\\": 1}"', bench.time, 3)
    assert (row.execution_id, row.last_updated_at, row.output) == ("first", bench.time, None)


def test_the_last_episode_ends_the_row() -> None:
    bench = OrchestrationBench(lambda context: "out")

    row = bench.start().instance

    assert row is not None
    assert (row.status, row.output, row.completed_at) == (OrchestrationStatus.COMPLETED, '"out"', bench.time)


def test_a_suspended_instance_says_so_with_the_reason_as_output() -> None:
    bench = OrchestrationBench(waiting)
    bench.start()

    row = bench.suspend("pause").instance

    assert row is not None
    assert (bench.status, row.status, row.output) == ("Suspended", OrchestrationStatus.SUSPENDED, "pause")


@pytest.mark.parametrize("keep", [OrchestrationBench.forget, lambda bench: None], ids=["reloaded", "kept"])
def test_what_comes_while_suspended_is_played_after_the_resume(keep: Any) -> None:
    bench = OrchestrationBench(waiting)
    bench.start()
    bench.suspend()

    meanwhile = bench.raise_event("go", 1)
    keep(bench)
    episode = bench.resume("go on")

    assert kinds(meanwhile) == []
    assert meanwhile.instance is not None
    assert meanwhile.instance.status is None
    assert kinds(episode) == [("TaskScheduled", 0)]
    assert episode.instance is not None
    assert (episode.instance.status, episode.instance.output) == (OrchestrationStatus.RUNNING, "go on")
    bench.complete(0, 2)
    assert bench.output == [1, 2]


def test_decisions_of_the_batch_that_suspends_are_held_until_the_resume() -> None:
    bench = OrchestrationBench(waiting)
    bench.start()
    both = bench.deliver(bench.raised("go", 1), suspend_event(bench))

    episode = bench.resume()

    assert kinds(both) == []
    assert kinds(episode) == [("TaskScheduled", 0)]


def suspend_event(bench: OrchestrationBench) -> ExecutionSuspended:
    return ExecutionSuspended(timestamp=bench.time, reason="pause")


def test_an_end_in_the_batch_that_suspends_waits_for_the_resume() -> None:
    bench = OrchestrationBench(lambda context: (yield context.wait_for_external_event("go")))
    bench.start()
    bench.deliver(bench.raised("go", 1), suspend_event(bench))
    assert bench.status == "Suspended"
    bench.forget()

    bench.resume()

    assert bench.output == 1


def test_suspending_again_while_queued_events_are_played_holds_the_rest() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        values = []
        for _ in range(2):
            values.append((yield context.wait_for_external_event("go")))
        return values

    bench = OrchestrationBench(orchestrator)
    bench.start()
    bench.suspend()
    bench.suspend("twice")
    bench.raise_event("go", 1)
    bench.resume()
    bench.raise_event("go", 2)

    assert bench.output == [1, 2]


def test_time_of_what_came_while_suspended_is_that_of_its_episode() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        yield context.wait_for_external_event("go")
        return context.current_utc_datetime.isoformat()

    bench = OrchestrationBench(orchestrator)
    bench.start()
    bench.suspend()
    bench.wait(timedelta(seconds=1))
    bench.raise_event("go")
    bench.wait(timedelta(hours=1))

    bench.resume()

    assert bench.output == "2024-01-01T00:00:01+00:00"


def test_terminating_ends_at_once_with_the_reason_as_output() -> None:
    bench = OrchestrationBench(lambda context: (yield context.call_activity("slow")))
    bench.start()

    episode = bench.terminate("enough")

    assert episode.is_terminal
    assert (bench.status, bench.output) == ("Terminated", "enough")
    assert episode.instance is not None
    assert (episode.instance.status, episode.instance.output) == (OrchestrationStatus.TERMINATED, "enough")


def test_a_suspended_instance_can_be_terminated() -> None:
    bench = OrchestrationBench(waiting)
    bench.start()
    bench.suspend()
    bench.forget()

    bench.terminate()

    assert bench.status == "Terminated"


def test_termination_beats_continue_as_new_and_new_activities_but_signals_leave() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        yield context.wait_for_external_event("go")
        context.signal_entity(EntityId("counter", "a"), "add")
        yield context.call_activity("never")

    bench = OrchestrationBench(orchestrator)
    bench.start()

    stop = ExecutionTerminated(timestamp=bench.time, input="stop")
    episode = bench.deliver(bench.raised("go"), stop, bench.raised("go"))

    assert episode.activities == ()
    assert [type(event).__name__ for event in episode.decisions] == [
        "EventSent",
        "ExecutionCompleted",
        "OrchestratorCompleted",
    ]


def test_an_ended_instance_discards_messages_and_says_what_its_row_should_be() -> None:
    bench = OrchestrationBench(lambda context: "out")
    bench.start()
    bench.forget()

    episode = bench.complete(0)

    assert episode.admission.kind is AdmissionKind.DISCARD
    assert episode.instance is not None
    assert (episode.instance.status, episode.instance.output) == (OrchestrationStatus.COMPLETED, '"out"')
    assert episode.execution_id == "first"


def test_a_new_start_of_an_ended_instance_begins_from_nothing() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        context.set_custom_status(context.get_input())
        return context.get_input()

    bench = OrchestrationBench(orchestrator)
    bench.start("old")
    again = OrchestrationInstance(instance_id=bench.instance.instance_id, execution_id=ExecutionId("second"))

    episode = bench.deliver(ExecutionStarted(timestamp=bench.time, instance=again, name="orchestrator", input='"\\"new\\""'))

    assert episode.starts_generation
    assert (episode.execution_id, bench.output, bench.custom_status) == ("second", "new", '"new"')
    assert len(bench.history) == 4


def test_a_failed_instance_that_is_rewound_runs_only_its_failed_step_again() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        first = yield context.call_activity("good")
        return [first, (yield context.call_activity("flaky"))]

    bench = OrchestrationBench(orchestrator)
    bench.start()
    bench.complete(0, "kept")
    bench.fail(1)
    assert bench.status == "Failed"
    bench.history = list(rewound(bench.history, plan_rewind(bench.history).neutralized))
    bench.forget()

    episode = bench.deliver(GenericEvent(timestamp=bench.time, data="try again"))
    bench.complete(1, "repaired")

    assert kinds(episode) == [("TaskScheduled", 1)]
    assert bench.output == ["kept", "repaired"]


def test_an_instance_is_let_go_without_a_trace() -> None:
    seen = []

    def orchestrator(context: OrchestrationContext) -> Any:
        try:
            yield context.call_activity("a")
        finally:
            context.set_custom_status("late")
            context.signal_entity(EntityId("counter", "a"), "add")
            context.continue_as_new(1)
            seen.append((context.custom_status, context.will_continue_as_new))

    bench = OrchestrationBench(orchestrator)
    bench.start()

    assert bench.live.close() is None
    assert bench.live.close() is None
    assert seen == [(None, False)]


def test_what_code_raises_while_it_is_let_go_is_returned() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        try:
            yield context.call_activity("a")
        finally:
            raise ValueError("while closing")

    bench = OrchestrationBench(orchestrator)
    bench.start()

    assert str(bench.live.close()) == "while closing"


def test_a_keyboard_interrupt_while_letting_go_is_returned() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        try:
            yield context.call_activity("a")
        finally:
            raise KeyboardInterrupt

    bench = OrchestrationBench(orchestrator)
    bench.start()

    assert isinstance(bench.live.close(), KeyboardInterrupt)


def test_context_variables_of_instances_are_apart() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    def orchestrator(context: OrchestrationContext) -> Any:
        variable.set(context.get_input())
        yield context.call_activity("a")
        return variable.get()

    one, other = OrchestrationBench(orchestrator), OrchestrationBench(orchestrator)
    one.start("one")
    other.start("other")

    one.complete(0)
    other.complete(0)

    assert (one.output, other.output, variable.get()) == ("one", "other", "none")


def test_an_episode_closes_with_orchestrator_completed() -> None:
    bench = OrchestrationBench(lambda context: 1)

    decisions = bench.start().decisions

    assert isinstance(decisions[-1], OrchestratorCompleted)
    assert decisions[-2].event_id == 0
    assert isinstance(decisions[-2], ExecutionCompleted)


def test_an_instance_that_has_returned_but_waits_for_a_task_can_be_terminated() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        yield context.task_any([context.call_activity("slow"), context.call_activity("fast")])

    bench = OrchestrationBench(orchestrator)
    bench.start()
    bench.complete(1)
    assert bench.status == "Running"

    bench.terminate("enough")

    assert (bench.status, bench.output) == ("Terminated", "enough")


def test_an_orchestrator_of_other_hosts_is_left_to_them() -> None:
    bench = OrchestrationBench(waiting, is_left=lambda name: name == "orchestrator")

    episode = bench.start()

    assert episode.admission.kind is AdmissionKind.ABANDON
    assert "'orchestrator' is not served here" in (episode.admission.reason or "")
    assert (episode.opening, episode.decisions) == ((), ())


def test_what_opens_an_episode_is_told_before_its_code_runs() -> None:
    told: list[list[str]] = []

    def orchestrator(context: OrchestrationContext) -> Any:
        told.append(["code"])
        yield context.wait_for_external_event("go")

    bench = OrchestrationBench(
        orchestrator, on_opening=lambda events: told.append([type(event).__name__ for event in events])
    )

    bench.start()
    bench.raise_event("go")

    assert told == [["OrchestratorStarted", "ExecutionStarted"], ["code"], ["OrchestratorStarted", "EventRaised"]]


def test_an_output_that_cannot_be_serialized_fails_the_instance_with_the_error_of_its_own_code() -> None:
    class Proud:
        @staticmethod
        def to_json(value: object) -> str:
            raise LookupError("no words for it")

    bench = OrchestrationBench(lambda context: Proud())

    bench.start()

    assert (bench.status, bench.output) == ("Failed", "Orchestrator function 'orchestrator' failed: no words for it")
