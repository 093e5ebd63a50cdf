"""Time, ids, input and what else a context tells; vectors of specs/sdk.md 4.6."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

from support.orchestration_bench import START, OrchestrationBench

from durable_ext.core.context import OrchestrationContext
from durable_ext.core.timestamps import ticks_from_iso


def seen_by(read: Any, *, time: str | None = None, **start: Any) -> Any:
    seen: list[Any] = []

    def orchestrator(context: OrchestrationContext) -> None:
        seen.append(read(context))

    bench = OrchestrationBench(orchestrator)
    bench.time = ticks_from_iso(time) if time is not None else START
    bench.start(**start)
    assert bench.status == "Completed", bench.output
    return seen[0]


def test_uuids_and_guids_share_a_counter_and_equal_those_of_1x() -> None:
    ids = seen_by(
        lambda context: [context.new_uuid(), context.new_uuid(), context.new_guid(), context.new_guid()],
        time="2019-12-08T23:18:41.3240927Z",
    )

    assert ids == [
        "26e2cc5f-aed2-5994-a5aa-aacadda6a49c",
        "def590ed-71fa-5a9c-81bc-0c49ce37261c",
        uuid.UUID("ed885e7f-8fe7-5062-8e89-fa7cf3cdc322"),
        uuid.UUID("94cd5cea-0f68-50f4-8ebe-7aa3341dbb4d"),
    ]


def test_ids_at_a_whole_second_equal_those_of_1x() -> None:
    ids = seen_by(lambda context: [context.new_uuid(), context.new_guid()])

    assert ids == ["8e1902b2-0496-5aa4-84b1-8a7a587d100a", uuid.UUID("cdbf84ca-12ef-5afd-97cc-c3b1cfe01ddd")]


def test_time_is_that_of_the_episode_and_the_same_at_replay() -> None:
    seen: list[datetime] = []

    def orchestrator(context: OrchestrationContext) -> Any:
        seen.append(context.current_utc_datetime)
        yield context.call_activity("a")
        seen.append(context.current_utc_datetime)
        yield context.call_activity("b")

    bench = OrchestrationBench(orchestrator)
    bench.start()
    bench.wait(timedelta(seconds=3))
    bench.complete(0)
    first = list(seen)
    seen.clear()
    bench.forget()
    bench.wait(timedelta(seconds=3))
    bench.complete(1)

    midnight = datetime(2024, 1, 1, tzinfo=timezone.utc)
    assert first == seen == [midnight, midnight + timedelta(seconds=3)]


def test_time_never_goes_back() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        yield context.call_activity("a")
        return context.current_utc_datetime.isoformat()

    bench = OrchestrationBench(orchestrator)
    bench.start()
    bench.wait(timedelta(hours=-1))

    bench.complete(0)

    assert bench.output == "2024-01-01T00:00:00+00:00"


def test_time_can_be_set() -> None:
    later = datetime(2030, 1, 1, tzinfo=timezone.utc)

    def read(context: OrchestrationContext) -> datetime:
        context.current_utc_datetime = later
        return context.current_utc_datetime

    assert seen_by(read) == later


def test_code_knows_whether_it_has_run_before() -> None:
    seen: list[tuple[str, bool]] = []

    def orchestrator(context: OrchestrationContext) -> Any:
        seen.append(("start", context.is_replaying))
        yield context.call_activity("a")
        seen.append(("a", context.is_replaying))
        yield context.call_activity("b")

    bench = OrchestrationBench(orchestrator)
    bench.start()
    bench.forget()
    bench.complete(0)

    assert seen == [("start", False), ("start", True), ("a", False)]


def test_the_input_is_decoded_afresh_at_every_call() -> None:
    first, second = seen_by(lambda context: (context.get_input(), context.get_input()), input_={"a": [1]})

    assert first == second == {"a": [1]}
    assert first is not second


def test_no_input_is_none() -> None:
    assert seen_by(lambda context: context.get_input()) is None


def test_the_input_becomes_the_expected_type() -> None:
    assert seen_by(lambda context: context.get_input(tuple[int, int]), input_=[1, 2]) == (1, 2)


def test_a_context_tells_what_it_belongs_to() -> None:
    def read(context: OrchestrationContext) -> Any:
        context.function_context.extra = 1
        return (
            context.instance_id,
            context.parent_instance_id,
            context.version,
            len(context.histories),
            vars(context.function_context),
        )

    assert seen_by(read, version="3") == ("abc123", None, "3", 2, {"extra": 1})
