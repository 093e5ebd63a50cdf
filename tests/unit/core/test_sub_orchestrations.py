"""Sub-orchestrations: start messages, results for the parent, refusals."""

from __future__ import annotations

from typing import Any

import pytest
from support.orchestration_bench import ME, OrchestrationBench, kinds

from durable_ext.core.checkpoint import child_tags
from durable_ext.core.context import OrchestrationContext
from durable_ext.core.episode import Episode
from durable_ext.core.events import (
    ExecutionStarted,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
)
from durable_ext.core.messages import ExecutionId, InstanceId, OrchestrationInstance, ParentInstance
from durable_ext.core.orchestrators import ReplayOptions

PARENT = ParentInstance(
    name="parent",
    instance=OrchestrationInstance(instance_id=InstanceId("parent-1"), execution_id=ExecutionId("p")),
    task_schedule_id=4,
)


def calling(*arguments: Any, **named: Any) -> Any:
    return lambda context: (yield context.call_sub_orchestrator("child", *arguments, **named))


def bench_of(function: Any, **fields: Any) -> OrchestrationBench:
    return OrchestrationBench(function, others=["child"], **fields)


def test_a_child_gets_a_start_message_and_leaves_an_event() -> None:
    bench = bench_of(calling({"n": 1}))

    episode = bench.start()

    created = SubOrchestrationInstanceCreated(
        timestamp=bench.time, event_id=0, instance_id="first:0", name="child", version=""
    )
    child = OrchestrationInstance(instance_id=InstanceId("first:0"), execution_id=ExecutionId("execution-1"))
    start = ExecutionStarted(
        timestamp=bench.time,
        instance=child,
        name="child",
        version="",
        input='"{\\"n\\": 1}"',
        parent=ParentInstance(name="orchestrator", instance=ME, task_schedule_id=0),
    )
    assert episode.decisions[0] == created
    assert (episode.messages[0].message.event, episode.messages[0].message.target) == (start, child)
    assert episode.messages[0].message.tags == {}


def test_history_keeps_the_input_of_a_child_if_it_is_told_to() -> None:
    bench = bench_of(calling(5), options=ReplayOptions(store_inputs=True))

    created = bench.start().decisions[0]

    assert isinstance(created, SubOrchestrationInstanceCreated)
    assert created.input == '"5"'


@pytest.mark.parametrize("given", [None, ""])
def test_a_child_without_an_id_is_named_after_execution_and_task(given: str | None) -> None:
    bench = bench_of(calling(None, given))

    assert bench.start().messages[0].message.target.instance_id == "first:0"


def test_a_child_can_have_an_id_and_a_version() -> None:
    bench = bench_of(calling(None, "mine", "2.0"))

    start = bench.start().messages[0].message.event

    assert isinstance(start, ExecutionStarted)
    assert (start.instance.instance_id, start.version) == ("mine", "2.0")


def test_a_child_inherits_tags_but_not_the_one_that_silences_it() -> None:
    bench = bench_of(calling())

    message = bench.start(tags={"team": "blue", "FireAndForget": ""}).messages[0].message

    assert isinstance(message.event, ExecutionStarted)
    assert message.event.tags == {"team": "blue"}
    assert message.tags == {"team": "blue", "FireAndForget": ""}  # of the orchestration that sends it


def test_the_result_of_a_child_comes_back() -> None:
    bench = bench_of(calling())
    bench.start()

    bench.child_completed(0, {"said": "hi"})

    assert bench.output == {"said": "hi"}


def test_the_failure_of_a_child_raises_with_the_text_of_1x() -> None:
    bench = bench_of(calling())
    bench.start()

    bench.child_failed(0, "Orchestrator function 'child' failed: boom")

    assert bench.output == ("Orchestrator function 'orchestrator' failed: Orchestrator function 'child' failed: boom \n d")


@pytest.mark.parametrize("taken", ["abc123", "ABC123", "parent-1"])
def test_a_child_must_not_have_the_id_of_its_parents(taken: str) -> None:
    bench = bench_of(calling(None, taken))

    bench.start(parent=PARENT)

    assert str(bench.output).endswith(
        "The instance ID of a sub-orchestration must be different than the instance ID of a parent orchestration."
    )


def test_a_child_must_not_have_the_id_of_an_entity() -> None:
    bench = bench_of(calling(None, "@counter@a"))

    bench.start()

    assert "must not start with '@'" in str(bench.output)


def test_a_child_that_is_not_registered_fails_the_instance_at_once() -> None:
    bench = OrchestrationBench(calling())

    episode = bench.start()

    assert not episode.messages
    assert "is not an orchestrator function" in str(bench.output)


def test_a_function_can_be_given_instead_of_a_name() -> None:
    def child(context: OrchestrationContext) -> None: ...

    bench = bench_of(lambda context: (yield context.call_sub_orchestrator(child)))

    assert kinds(bench.start()) == [("SubOrchestrationInstanceCreated", 0)]


def test_the_same_child_can_be_yielded_twice() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        child = context.call_sub_orchestrator("child", [1], expected_type=int)
        yield context.task_any([child, context.call_activity("a")])
        return (yield child)

    bench = bench_of(orchestrator)
    bench.start()
    bench.complete(1)

    bench.child_completed(0, 7)

    assert bench.output == 7


def _told(episode: Episode) -> Any:
    (sent,) = episode.messages
    assert sent.message.target == PARENT.instance
    return sent.message.event


def test_a_child_tells_its_parent_the_result() -> None:
    bench = OrchestrationBench(lambda context: [context.parent_instance_id])

    told = _told(bench.start(parent=PARENT))

    assert told == SubOrchestrationInstanceCompleted(timestamp=bench.time, task_scheduled_id=4, result='["parent-1"]')


def test_a_child_tells_its_parent_the_failure_with_details() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        raise ValueError("boom")

    bench = OrchestrationBench(orchestrator)

    told = _told(bench.start(parent=PARENT))

    assert isinstance(told, SubOrchestrationInstanceFailed)
    assert told.reason == "Orchestrator function 'orchestrator' failed: boom"
    assert str(told.details).startswith("Message: boom, StackTrace: ")
    assert told.failure is not None
    assert told.failure.error_type == "ValueError"


def test_a_terminated_child_tells_its_parent_the_reason() -> None:
    bench = OrchestrationBench(lambda context: (yield context.call_activity("a")))
    bench.start(parent=PARENT)

    told = _told(bench.terminate("enough"))

    assert told == SubOrchestrationInstanceFailed(timestamp=bench.time, task_scheduled_id=4, reason="enough")


def test_a_silenced_child_tells_nothing() -> None:
    bench = OrchestrationBench(lambda context: 1)

    assert not bench.start(parent=PARENT, tags={"FireAndForget": ""}).messages


def test_a_function_can_be_called_with_an_expected_type() -> None:
    def child(context: OrchestrationContext) -> None: ...

    bench = bench_of(lambda context: isinstance((yield context.call_sub_orchestrator(child, expected_type=tuple)), tuple))
    bench.start()

    bench.child_completed(0, [1])

    assert bench.output is True


def test_a_childs_own_tags_go_over_its_parents() -> None:
    assert child_tags({"a": "1", "b": "1"}, {"b": "2", "FireAndForget": ""}) == {"a": "1", "b": "2", "FireAndForget": ""}
