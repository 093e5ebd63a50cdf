"""Histories that the Durable extension recorded replay here to what it recorded next, played three ways."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from support.orchestration_bench import CODEC, CONVERTER
from support.recorded import RecordedEpisode, RecordedGeneration, Scenario, load, scenarios
from support.recorded_app import ORCHESTRATORS

from durable_ext.core.episode import Episode
from durable_ext.core.events import EventSent, ExecutionStarted, HistoryEvent, OrchestratorCompleted, TimerCreated
from durable_ext.core.ids import next_execution_id
from durable_ext.core.live import LiveOrchestration
from durable_ext.core.messages import ExecutionId, OrchestrationInstance, ReceivedMessage, TaskMessage
from durable_ext.core.orchestrators import OrchestratorDefinition, ReplayOptions

EXTENSION = ReplayOptions(max_timer=timedelta(days=6), long_timer_step=timedelta(days=3), fixes=False)
CORRECTED = replace(EXTENSION, fixes=True)
# The corrected `call_http` follows a 202 and a corrected custom status may be 0: differences by design.
CORRECTED_ON_PURPOSE = ("call-http-202", "custom-status-cleared")
# 1.x cannot read a bare string that a plain HTTP start gave; ours can (specs/sdk.md 7, row 12).
UNREADABLE_BY_1X = ("input-http-3", "input-http-5")
NEVER_ANSWERED = "unknown-activity"


def _cases(*without: str) -> pytest.MarkDecorator:
    names = [name for name in scenarios() if name not in (*UNREADABLE_BY_1X, NEVER_ANSWERED, *without)]
    as_before = [pytest.param(name, EXTENSION, id=f"{name}-as-1.x") for name in names]
    corrected = [pytest.param(name, CORRECTED, id=f"{name}-corrected") for name in names if name not in CORRECTED_ON_PURPOSE]
    return pytest.mark.parametrize(("name", "options"), as_before + corrected)


def _live(generation: RecordedGeneration, history: tuple[HistoryEvent, ...], options: ReplayOptions) -> LiveOrchestration:
    return LiveOrchestration(
        instance=generation.started.instance,
        history=history,
        custom_status=None,
        lookup=lambda name: OrchestratorDefinition(name=name, function=ORCHESTRATORS[name]),
        converter=CONVERTER,
        entity_codec=CODEC,
        options=options,
        new_execution_id=lambda: ExecutionId("next"),
    )


def _play(live: LiveOrchestration, recorded: RecordedEpisode, *events: HistoryEvent) -> Episode:
    target = OrchestrationInstance(instance_id=live.instance.instance_id)
    messages = [
        ReceivedMessage(message_id=str(number), message=TaskMessage(event=event, target=target))
        for number, event in enumerate(events)
        if not isinstance(event, OrchestratorCompleted)
    ]
    return live.play(messages, lambda: recorded.began.timestamp)


def _decided(*episodes: Episode) -> list[tuple[str, int, str | None]]:
    return [
        (type(event).__name__, event.event_id, getattr(event, "name", None))
        for episode in episodes
        for event in episode.decisions
        if not isinstance(event, OrchestratorCompleted)
    ]


def _without_rewound(
    decided: list[tuple[str, int, str | None]], recorded: list[tuple[str, int, str | None]]
) -> list[tuple[str, int, str | None]]:
    """Blank what a later rewind blanked in the recording; place and id stay."""
    blank = ("GenericEvent", None)
    return [
        (blank[0], ours[1], blank[1]) if theirs[0] == blank[0] else ours
        for ours, theirs in zip(decided, recorded, strict=True)
    ]


def _assert_final(scenario: Scenario, generation: RecordedGeneration, live: LiveOrchestration, episode: Episode) -> None:
    row = scenario.final[generation.started.instance.instance_id]
    assert episode.instance is not None
    assert live.state.status.value == row["runtimeStatus"]
    status = episode.instance.custom_status
    assert (None if status is None else json.loads(status)) == row["customStatus"]
    output = live.state.output
    if row["runtimeStatus"] == "Completed":
        assert (None if output is None else json.loads(output)) == row["output"]
    else:
        assert output == row["output"]


@_cases()
def test_each_recorded_prefix_leads_to_the_recorded_next_decisions(name: str, options: ReplayOptions) -> None:
    for generation in load(name).generations:
        for number, expected in enumerate(generation.decided):
            recorded = generation.episodes[number]

            episode = _play(_live(generation, recorded.past, options), recorded, *recorded.received)

            assert _without_rewound(_decided(episode), list(expected)) == list(expected)


@_cases()
def test_the_last_recorded_episode_ends_as_recorded(name: str, options: ReplayOptions) -> None:
    scenario = load(name)
    last = {generation.started.instance.instance_id: generation for generation in scenario.generations}
    for generation in last.values():
        recorded = generation.episodes[-1]
        live = _live(generation, recorded.past, options)

        episode = _play(live, recorded, *recorded.received)

        _assert_final(scenario, generation, live, episode)


@_cases("rewind")
def test_an_instance_kept_in_memory_decides_the_same_event_by_event(name: str, options: ReplayOptions) -> None:
    scenario = load(name)
    for generation in scenario.generations:
        live = _live(generation, (), options)
        episodes: list[Episode] = []
        for recorded in generation.episodes:
            batches = [recorded.received] if not episodes else [(event,) for event in recorded.received]
            episodes.extend(_play(live, recorded, *batch) for batch in batches)
        recorded_in_all = [decision for each in generation.decided for decision in each]

        assert _decided(*episodes)[: len(recorded_in_all)] == recorded_in_all


@_cases("rewind")
def test_an_instance_reloaded_from_its_own_history_decides_the_same(name: str, options: ReplayOptions) -> None:
    for generation in load(name).generations:
        history: list[HistoryEvent] = []
        for number, expected in enumerate(generation.decided):
            recorded = generation.episodes[number]

            episode = _play(_live(generation, tuple(history), options), recorded, *recorded.received)

            assert _decided(episode) == list(expected)
            history.extend((*episode.opening, *episode.decisions))


def test_continue_as_new_leads_to_the_recorded_next_generation() -> None:
    generations = load("continue-as-new").generations
    for generation, following in itertools.pairwise(generations):
        recorded = generation.episodes[-1]
        live = _live(generation, recorded.past, EXTENSION)

        episode = _play(live, recorded, *recorded.received)

        assert episode.starts_generation
        assert [type(event) for event in episode.opening] == [type(event) for event in (*following.episodes[1].past[:3],)]
        started = next(event for event in episode.opening if isinstance(event, ExecutionStarted))
        execution_id = generation.started.instance.execution_id
        assert execution_id is not None
        assert started == replace(
            following.started,
            timestamp=started.timestamp,
            instance=replace(following.started.instance, execution_id=next_execution_id(execution_id)),
            is_played=False,
        )
        assert _decided(episode) == list(following.decided[0])


def test_retry_timers_fire_at_the_recorded_times() -> None:
    generation = load("retry-gives-up").generations[0]
    last = generation.episodes[-1].past
    expected = [event.fire_at for event in last if isinstance(event, TimerCreated)]
    live = _live(generation, (), EXTENSION)

    episodes = [_play(live, recorded, *recorded.received) for recorded in generation.episodes]

    fire_times = [event.fire_at for each in episodes for event in each.decisions if isinstance(event, TimerCreated)]
    assert fire_times == expected


def test_entity_requests_are_the_recorded_texts() -> None:
    generation = load("entity-from-orchestrator").generations[0]
    recorded_texts = [event.input for event in generation.episodes[-1].past if isinstance(event, EventSent)]
    live = _live(generation, (), EXTENSION)

    episodes = [_play(live, recorded, *recorded.received) for recorded in generation.episodes]

    sent = [each.message.event.input for episode in episodes for each in episode.messages]  # type: ignore[attr-defined]
    assert sent == recorded_texts


def test_an_unknown_activity_fails_where_the_extension_hangs() -> None:
    generation = load(NEVER_ANSWERED).generations[0]
    recorded = generation.episodes[0]
    live = LiveOrchestration(
        instance=generation.started.instance,
        history=(),
        custom_status=None,
        lookup=lambda name: OrchestratorDefinition(name=name, function=ORCHESTRATORS[name]),
        converter=CONVERTER,
        entity_codec=CODEC,
        options=EXTENSION,
        new_execution_id=lambda: ExecutionId("next"),
        activity_names=lambda: ("SayHello", "Boom"),
    )

    _play(live, recorded, *recorded.received)

    assert live.state.output == (
        "Orchestrator function 'UnknownActivity' failed: The function 'NoSuchActivity' doesn't exist, is disabled, or is "
        "not an activity function. Additional info: The following are the known activity functions: 'Boom', 'SayHello'."
    )


@pytest.mark.parametrize("name", UNREADABLE_BY_1X)
def test_a_bare_string_of_a_plain_http_start_is_readable(name: str) -> None:
    generation = load(name).generations[0]
    recorded = generation.episodes[0]
    live = _live(generation, (), EXTENSION)

    episode = _play(live, recorded, *recorded.received)

    assert _decided(episode) == [("TaskScheduled", 0, "Echo1")]
