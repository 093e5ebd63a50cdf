"""Versions: which instances a worker takes, how the others end, what children are stamped with."""

from __future__ import annotations

from typing import Any

import pytest
from support.entity_bench import EntityBench
from support.orchestration_bench import OrchestrationBench

from durable_ext.core.context import OrchestrationContext
from durable_ext.core.entities.context import EntityContext
from durable_ext.core.entities.definitions import EntityOptions
from durable_ext.core.entities.messages import EntityRequest
from durable_ext.core.events import ExecutionCompleted, ExecutionStarted, SubOrchestrationInstanceCreated
from durable_ext.core.inbox import AdmissionKind
from durable_ext.core.orchestrators import ReplayOptions
from durable_ext.core.versioning import VersionMatch, VersionMismatch, WorkerVersion, compare_versions

MISMATCH = "VersionMismatch: Orchestration version did not comply with Worker Versioning"


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (None, "0.1"),
        (" ", "a"),
        ("1.9", "1.10"),
        ("1.2", "1.2.0"),
        ("1.2.3.4", "1.2.3.5"),
        ("Alpha", "beta"),
        ("10", "9"),  # one number is no version of .NET: text
    ],
)
def test_an_older_version_comes_before_a_newer_one(older: str | None, newer: str | None) -> None:
    assert compare_versions(older, newer) < 0 < compare_versions(newer, older)


@pytest.mark.parametrize(("left", "right"), [(None, ""), ("", "  "), ("1.02", "1.2"), ("ALPHA", "alpha")])
def test_versions_that_say_the_same_are_equal(left: str | None, right: str | None) -> None:
    assert compare_versions(left, right) == 0


@pytest.mark.parametrize(
    ("match", "accepted"),
    [
        (VersionMatch.NONE, [None, "1.0", "2.0", "3.0"]),
        (VersionMatch.STRICT, ["2.0"]),
        (VersionMatch.CURRENT_OR_OLDER, [None, "1.0", "2.0"]),
    ],
)
def test_a_worker_takes_the_versions_of_its_strategy(match: VersionMatch, accepted: list[str | None]) -> None:
    worker = WorkerVersion(version="2.0", match=match)

    assert [version for version in (None, "1.0", "2.0", "3.0") if worker.accepts(version)] == accepted


def _bench(function: Any, mismatch: VersionMismatch) -> OrchestrationBench:
    worker = WorkerVersion(version="1.0", match=VersionMatch.CURRENT_OR_OLDER, mismatch=mismatch)
    return OrchestrationBench(function, options=ReplayOptions(worker_version=worker), others=["child"])


def _never(context: OrchestrationContext) -> Any:
    raise AssertionError("code of another version ran")


def test_a_rejected_instance_is_given_back_as_it_was() -> None:
    bench = _bench(_never, VersionMismatch.REJECT)

    episode = bench.start(version="2.0")

    assert episode.admission.kind is AdmissionKind.ABANDON
    assert (episode.opening, episode.decisions, episode.instance) == ((), (), None)
    assert "'2.0'" in (episode.admission.reason or "")
    assert "'1.0'" in (episode.admission.reason or "")


def test_a_refused_instance_fails_without_a_run_of_its_code() -> None:
    bench = _bench(_never, VersionMismatch.FAIL)

    episode = bench.start(version="2.0")

    assert (bench.status, bench.output) == ("Failed", MISMATCH)
    assert episode.is_terminal
    assert episode.failure is not None
    assert episode.failure.error_type == "VersionMismatch"


def test_an_instance_that_runs_already_fails_with_an_id_after_its_last() -> None:
    def calls(context: OrchestrationContext) -> Any:
        yield context.call_activity("step")

    bench = OrchestrationBench(calls)
    bench.start(version="2.0")
    bench.options = ReplayOptions(
        worker_version=WorkerVersion(version="1.0", match=VersionMatch.STRICT, mismatch=VersionMismatch.FAIL)
    )
    bench.forget()

    episode = bench.complete(0)

    ends = [event for event in episode.decisions if isinstance(event, ExecutionCompleted)]
    assert [(end.event_id, end.result) for end in ends] == [(1, MISMATCH)]


def test_an_accepted_instance_runs() -> None:
    bench = _bench(lambda context: context.version, VersionMismatch.FAIL)

    bench.start(version="0.9")

    assert bench.output == "0.9"


@pytest.mark.parametrize(("named", "stamped"), [(None, "1.0"), ("0.5", "0.5"), ("", "")])
def test_a_child_gets_the_version_of_the_worker_unless_the_call_names_one(named: str | None, stamped: str) -> None:
    bench = _bench(lambda context: (yield context.call_sub_orchestrator("child", version=named)), VersionMismatch.REJECT)

    episode = bench.start(version="0.9")

    created, start = episode.decisions[0], episode.messages[0].message.event
    assert isinstance(created, SubOrchestrationInstanceCreated)
    assert isinstance(start, ExecutionStarted)
    assert (created.version, start.version) == (stamped, stamped)


def test_an_orchestration_that_an_entity_starts_gets_the_version_of_the_worker() -> None:
    def starting(context: EntityContext) -> None:
        context.start_new_orchestration("Hello")

    bench = EntityBench(starting, options=EntityOptions(default_version="1.0"))

    episode = bench.run(EntityRequest(request_id="r1", operation="go", is_signal=True))

    start = episode.messages[0].message.event
    assert isinstance(start, ExecutionStarted)
    assert start.version == "1.0"
