"""Entity states that the real provider has written, through us and back; and what of ours it does not know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.core.entities.messages import RecentBatch, SchedulerState, SenderRecord, SorterState, Stamp
from durable_ext.core.timestamps import Ticks, ticks_from_iso

FIXTURES = Path(__file__).parents[2] / "interop"
PROVIDERS_MEMBERS = {"exists", "state", "queue", "lockedBy", "suspended", "sorter"}  # specs/azure-storage.md 10.6


def texts_in(value: Any) -> Iterator[str]:
    """Every string of a JSON value, also those within strings that hold JSON."""
    if isinstance(value, dict):
        for member in value.values():
            yield from texts_in(member)
    elif isinstance(value, list):
        for element in value:
            yield from texts_in(element)
    elif isinstance(value, str):
        yield value
        if value[:1] == "{":
            try:
                yield from texts_in(json.loads(value))
            except ValueError:
                return


def recorded_states() -> list[str]:
    found: set[str] = set()
    for path in sorted(FIXTURES.glob("*.json")):
        found |= {text for text in texts_in(json.loads(path.read_text())) if text.endswith("}") and '"sorter":' in text}
    states = []
    for text in sorted(found):
        try:
            members = json.loads(text)
        except ValueError:
            continue
        if "sorter" in members:
            states.append(text)
    return states


@pytest.mark.parametrize("text", recorded_states())
def test_a_state_that_the_provider_wrote_is_written_back_as_it_was(text: str) -> None:
    codec = JsonEntityCodec()

    assert codec.state_text(codec.read_state(text)) == text


def test_there_are_recorded_states() -> None:
    assert len(recorded_states()) >= 10
    assert set().union(*(json.loads(text) for text in recorded_states())) <= PROVIDERS_MEMBERS


def test_a_state_of_ours_is_one_of_the_provider_and_last_members_that_a_reader_may_leave_out() -> None:
    codec = JsonEntityCodec()
    remembered = RecentBatch(at=ticks_from_iso("2024-05-06T07:08:09.1234567Z"), ids=("0123456789ab",))
    plain = SchedulerState(exists=True, state="5", locked_by="abc")
    ours = SchedulerState(exists=True, state="5", locked_by="abc", lock_request="def", recent=(remembered,))

    members = json.loads(codec.state_text(ours))
    known = {name: value for name, value in members.items() if name in PROVIDERS_MEMBERS}

    assert list(members) == [*known, "lockRequest", "recent"]
    assert codec.read_state(codec.state_text(ours)) == ours
    assert json.dumps(known, separators=(",", ":")) == codec.state_text(plain)
    # Json.NET does not mind the case.
    assert not [name for name in PROVIDERS_MEMBERS if name.lower() in ("lockrequest", "recent")]


@pytest.mark.parametrize(
    "granted",
    [
        SchedulerState(),
        SchedulerState(locked_by="other"),
        SchedulerState(locked_by="abc", recent=(RecentBatch(at=Ticks(1), ids=("0123456789ab",)),)),
        SchedulerState(locked_by="abc", sorter=SorterState(received={"abc": SenderRecord(last=Stamp(5))})),
    ],
)
def test_the_request_of_a_lock_is_ignored_once_a_writer_that_carries_it_along_has_granted_another_one(
    granted: SchedulerState,
) -> None:
    codec = JsonEntityCodec()
    ours = json.loads(codec.state_text(SchedulerState(locked_by="abc", lock_request="def")))

    carried = {**json.loads(codec.state_text(granted)), "lockRequest": ours["lockRequest"]}

    assert codec.read_state(json.dumps(carried)) == granted


@pytest.mark.parametrize("member", ["def", None, 5, {}, {"by": "abc", "id": "def"}, {"by": "abc", "id": "def", "seen": 1}])
def test_the_request_of_a_lock_in_another_form_is_ignored(member: object) -> None:
    codec = JsonEntityCodec()

    assert codec.read_state(json.dumps({"lockedBy": "abc", "sorter": {}, "lockRequest": member})).lock_request is None
