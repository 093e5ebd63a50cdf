"""Every request that the real extension made gets its recorded answer (tests/compat/out_of_proc, specs/sdk.md 5)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from azure.functions import OrchestrationContext
from support.recorded_app import ORCHESTRATORS, counter

from durable_ext.sdk.out_of_proc import Entity, Orchestrator

RECORDED = Path(__file__).parent / "out_of_proc"
MARKER = "\n\n$OutOfProcData$:"


@dataclass(frozen=True)
class Episode:
    scenario: str
    number: int
    name: str
    request: str
    response: Any

    def __str__(self) -> str:
        return f"{self.scenario}-{self.number}"


def episodes(kind: str) -> list[Episode]:
    found = []
    for path in sorted(RECORDED.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        for number, each in enumerate(document.get(kind) or ()):
            found.append(Episode(path.stem, number, each.get("name", ""), each["request"], each["response"]))
    return found


ORCHESTRATED = episodes("episodes")
SUCCEEDED = [each for each in ORCHESTRATED if isinstance(each.response, str)]
FAILED = [each for each in ORCHESTRATED if not isinstance(each.response, str)]


def test_all_scenarios_are_here() -> None:
    assert len({each.scenario for each in ORCHESTRATED}) == 37
    assert len(ORCHESTRATED) >= 100


@pytest.mark.parametrize("episode", SUCCEEDED, ids=str)
def test_an_episode_is_answered_byte_for_byte(episode: Episode) -> None:
    handle = Orchestrator.create(ORCHESTRATORS[episode.name])

    assert handle(OrchestrationContext(episode.request)) == episode.response


@pytest.mark.parametrize("episode", FAILED, ids=str)
def test_a_failed_episode_raises_the_recorded_text_with_the_state(episode: Episode) -> None:
    handle = Orchestrator.create(ORCHESTRATORS[episode.name])

    with pytest.raises(Exception, match="OutOfProcData") as caught:
        handle(episode.request)

    message, state = str(caught.value).split(MARKER)
    expected_message, expected_state = episode.response["exception"].split(MARKER)
    assert message == expected_message
    assert state == expected_state


def without_times(response: str) -> Any:
    document = json.loads(response)
    for result in document["results"]:
        del result["duration"], result["startTime"]
    return document


@pytest.mark.parametrize("batch", episodes("entities"), ids=str)
def test_an_entity_batch_is_answered_as_recorded_but_for_its_times(batch: Episode) -> None:
    response = Entity.create(counter)(batch.request)

    assert without_times(response) == without_times(batch.response)
    assert list(json.loads(response)) == ["entityExists", "entityState", "results", "signals"]
    assert list(json.loads(response)["results"][0]) == ["isError", "duration", "startTime", "result"]
