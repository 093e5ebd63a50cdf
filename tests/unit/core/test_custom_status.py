"""Custom status: when it is stored, cleared, kept and refused."""

from __future__ import annotations

from typing import Any

import pytest
from support.orchestration_bench import OrchestrationBench

from durable_ext.core.context import OrchestrationContext
from durable_ext.core.orchestrators import ReplayOptions


def showing(*values: Any) -> Any:
    def orchestrator(context: OrchestrationContext) -> Any:
        for value in values:
            context.set_custom_status(value)
            assert context.custom_status == value
            yield context.call_activity("a")
        yield context.call_activity("last")

    return orchestrator


def test_each_episode_reports_the_last_value() -> None:
    bench = OrchestrationBench(showing({"stage": "på"}, [1]))

    episodes = [bench.start(), bench.complete(0), bench.complete(1)]

    assert [episode.instance.custom_status for episode in episodes if episode.instance] == [
        '{"stage":"på"}',
        "[1]",
        "[1]",
    ]
    assert [episode.custom_status_changed for episode in episodes] == [True, True, False]
    assert [episode.can_run_locally for episode in episodes] == [False, False, True]


def test_a_reloaded_instance_keeps_its_status() -> None:
    bench = OrchestrationBench(showing("shown"))
    bench.start()
    bench.forget()

    episode = bench.complete(0)

    assert bench.custom_status == '"shown"'
    assert not episode.custom_status_changed


def test_none_clears_it() -> None:
    bench = OrchestrationBench(showing("shown", None))
    bench.start()

    bench.complete(0)

    assert bench.custom_status is None


@pytest.mark.parametrize(("value", "text"), [(0, "0"), ("", '""'), ([], "[]"), (False, "false")])
def test_a_falsy_value_is_a_value(value: Any, text: str) -> None:
    bench = OrchestrationBench(showing(value))

    bench.start()

    assert bench.custom_status == text


@pytest.mark.parametrize("value", [0, "", [], False])
def test_as_in_1x_a_falsy_value_clears_it(value: Any) -> None:
    bench = OrchestrationBench(showing("shown", value), options=ReplayOptions(fixes=False))
    bench.start()

    bench.complete(0)

    assert bench.custom_status is None


def test_a_status_that_is_changed_in_place_is_noticed() -> None:
    def orchestrator(context: OrchestrationContext) -> Any:
        status = {"done": 0}
        context.set_custom_status(status)
        yield context.call_activity("a")
        status["done"] = 1
        yield context.call_activity("b")

    bench = OrchestrationBench(orchestrator)
    bench.start()

    bench.complete(0)

    assert bench.custom_status == '{"done":1}'


def test_a_text_of_16_kb_is_the_largest() -> None:
    bench = OrchestrationBench(showing("x" * (17_407 // 2 - 2)))

    bench.start()

    assert bench.status == "Running"


def test_a_larger_status_fails_the_instance_and_names_the_line_that_set_it() -> None:
    bench = OrchestrationBench(showing("x" * (17_408 // 2)))

    bench.start()

    line = showing.__code__.co_firstlineno + 3
    assert bench.output == (
        f"Orchestrator function 'orchestrator' failed: The custom status set at {__file__}:{line} cannot be stored: The "
        f"UTF-16 size of the JSON-serialized payload must not exceed 16 KB. The current payload size is 17 KB. Show less of "
        f"it."
    )
    assert bench.custom_status is None


def test_as_in_1x_a_larger_status_fails_with_the_words_of_the_extension() -> None:
    bench = OrchestrationBench(showing("x" * (17_408 // 2)), options=ReplayOptions(fixes=False))

    bench.start()

    assert bench.output == (
        "Orchestrator function 'orchestrator' failed: The UTF-16 size of the JSON-serialized payload must not exceed 16 KB. "
        "The current payload size is 17 KB."
    )


def test_a_status_that_cannot_be_serialized_fails_the_instance() -> None:
    bench = OrchestrationBench(showing(object()))

    bench.start()

    assert bench.status == "Failed"
