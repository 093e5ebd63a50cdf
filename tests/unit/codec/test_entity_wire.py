"""Entity JSON against every text that the extension recorded (specs/azure-storage.md 10.5, 10.6)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable_ext.codec.entity_wire import JsonEntityCodec
from durable_ext.core.entities.ids import EntityId
from durable_ext.core.entities.messages import (
    EntityRelease,
    EntityRequest,
    EntityResponse,
    EntityStatus,
    RecentBatch,
    SchedulerState,
    SenderRecord,
    SorterState,
    Stamp,
)
from durable_ext.core.timestamps import Ticks, ticks_from_iso

CODEC = JsonEntityCodec()
RECORDED = json.loads((Path(__file__).parent / "entity_texts.json").read_text(encoding="utf-8"))


def recorded(kind: str) -> list[str]:
    return [each["text"] for each in RECORDED if each["kind"] == kind]


def is_typed(text: str) -> bool:
    return text.startswith('{"$type"')


@pytest.mark.parametrize("text", recorded("request"))
def test_a_recorded_request_is_written_as_it_was_read(text: str) -> None:
    assert CODEC.request_text(CODEC.read_request(text), typed=is_typed(text)) == text


@pytest.mark.parametrize("text", recorded("response"))
def test_a_recorded_response_is_written_as_it_was_read(text: str) -> None:
    assert CODEC.response_text(CODEC.read_response(text), typed=is_typed(text)) == text


@pytest.mark.parametrize("text", recorded("release"))
def test_a_recorded_release_is_written_as_it_was_read(text: str) -> None:
    assert CODEC.release_text(CODEC.read_release(text), typed=is_typed(text)) == text


@pytest.mark.parametrize("text", recorded("state"))
def test_a_recorded_scheduler_state_is_written_as_it_was_read(text: str) -> None:
    assert CODEC.state_text(CODEC.read_state(text)) == text


@pytest.mark.parametrize("text", recorded("status"))
def test_a_recorded_status_is_written_as_it_was_read(text: str) -> None:
    assert CODEC.status_text(CODEC.read_status(text)) == text


def test_a_forced_stamp_is_written_without_z_and_read_as_utc() -> None:
    text = '{"op":"add","id":"i","Timestamp":"2026-11-21T11:18:14.723202","Predecessor":"2026-11-21T11:18:14.7232019Z"}'

    request = CODEC.read_request(text)

    assert request.timestamp == Stamp(ticks_from_iso("2026-11-21T11:18:14.723202Z"), False)
    assert request.predecessor == Stamp(ticks_from_iso("2026-11-21T11:18:14.7232019Z"), True)


def test_members_that_only_the_core_dispatcher_writes_are_kept() -> None:
    text = (
        '{"op":null,"id":"i","parent":"p","parentExecution":"e","Timestamp":"2024-05-06T07:08:09.1234567Z",'
        '"Predecessor":"0001-01-01T00:00:00","lockset":[{"name":"counter","key":"a"},{"name":"counter","key":"b"}],'
        '"pos":1,"IsLockRequest":true,"createTrace":false}'
    )

    request = CODEC.read_request(text)

    assert request.is_lock
    assert request.lock_set == (EntityId("counter", "a"), EntityId("counter", "b"))
    assert request.position == 1
    assert CODEC.request_text(request, typed=False) == text


NOVELTIES = ',"requestTime":"2024-05-06T07:08:09.1234567+00:00","novelty":{"a":[1,null,"åß"],"b":{}}'


def test_what_newer_writers_add_to_requests_and_states_is_written_back() -> None:
    request = f'{{"op":"add","id":"i","Timestamp":"0001-01-01T00:00:00","Predecessor":"0001-01-01T00:00:00"{NOVELTIES}}}'
    buffered = f'{{"a":{{"Last":"0001-01-01T00:00:00","Buffered":{{"2024-05-06T07:08:09Z":{request}}}}}}}'
    state = f'{{"state":"5","queue":[{request}],"sorter":{{"ReceivedFromInstance":{buffered}}}{NOVELTIES}}}'

    assert CODEC.request_text(CODEC.read_request(request), typed=False) == request
    assert CODEC.state_text(CODEC.read_state(state)) == state.replace("{", '{"exists":true,', 1)


def test_a_state_of_the_core_dispatcher_exists_if_it_has_a_state() -> None:
    assert CODEC.read_state('{"state":"5","sorter":{}}').exists
    assert not CODEC.read_state('{"sorter":{}}').exists


def test_an_entity_that_python_deleted_does_not_exist_although_a_null_is_left() -> None:
    state = CODEC.read_state('{"state":"null","sorter":{}}')

    assert not state.exists
    assert CODEC.state_text(state) == '{"state":"null","sorter":{}}'


def test_everything_a_scheduler_remembers_survives_writing_and_reading() -> None:
    at = Ticks(638_000_000_000_000_001)
    request = EntityRequest(request_id="r", operation="add", input="5", parent="p", timestamp=Stamp(at, False))
    state = SchedulerState(
        exists=True,
        state='"h\u00e5j \u2028"',
        queue=(request,),
        locked_by="owner",
        suspended=True,
        sorter=SorterState(
            last_sent={"@counter@b": Stamp(at)},
            received={"p": SenderRecord(last=Stamp(at), execution_id="e", buffered={Stamp(at, False): request})},
            receive_horizon=Stamp(at - 5),
            send_horizon=Stamp(at - 6),
        ),
        recent=(RecentBatch(at=at, ids=("0123456789ab",)),),
    )

    assert CODEC.read_state(CODEC.state_text(state)) == state


def test_a_failure_of_a_grpc_worker_is_read_with_its_inner_failure() -> None:
    response = CODEC.read_response(
        '{"result":null,"failureDetails":{"ErrorType":"ValueError","ErrorMessage":"no",'
        '"InnerFailure":{"ErrorType":"KeyError","ErrorMessage":"k"}}}'
    )

    assert response.is_failure
    assert response.failure is not None
    assert response.failure.inner_failure is not None
    assert response.failure.inner_failure.error_type == "KeyError"


def test_a_host_timeout_is_a_failure_although_it_names_no_exception() -> None:
    assert EntityResponse(result="Timeout value of 00:05:00 exceeded").is_failure
    assert not EntityResponse(result='"Timeout value of"').is_failure


@pytest.mark.parametrize("text", ["", "[]", "5", '{"op":"add"}', '{"op":"add","id":7}', "not json"])
def test_what_is_no_request_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="is no entity request"):
        CODEC.read_request(text)


def test_an_operation_name_with_quotes_and_lone_surrogates_survives() -> None:
    request = EntityRequest(request_id="r", operation='say "\ud800"\n')

    text = CODEC.request_text(request, typed=False)

    assert text.encode("utf-8")
    assert CODEC.read_request(text) == request


def test_a_release_carries_the_id_of_the_lock_request() -> None:
    text = CODEC.release_text(EntityRelease(parent="o", lock_request_id="i"), typed=False)

    assert text == '{"parent":"o","id":"i"}'


@pytest.mark.parametrize("text", [None, "", "Internal Error: boom", "5", "null"])
def test_a_custom_status_that_is_no_entity_status_reads_as_empty(text: str | None) -> None:
    assert CODEC.read_status(text) == EntityStatus()


def test_a_queue_size_of_true_is_no_number() -> None:
    assert CODEC.status_text(CODEC.read_status('{"entityExists":true,"queueSize":true}')) == '{"entityExists":true}'


ODD = st.sampled_from([None, True, 5, -1, 10**30, 1.5, "", "x", "2024-05-06T07:08:09Z", [], [5], {}, {"a": 1}, {"x": [5]}])
READERS: Final[dict[str, Callable[[str], str]]] = {
    "request": lambda text: CODEC.request_text(CODEC.read_request(text), typed=False),
    "response": lambda text: CODEC.response_text(CODEC.read_response(text)),
    "release": lambda text: CODEC.release_text(CODEC.read_release(text), typed=False),
    "state": lambda text: CODEC.state_text(CODEC.read_state(text)),
    "status": lambda text: CODEC.status_text(CODEC.read_status(text)),
}


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, member in inner for place in _places(member, (*path, key)))]


def _replaced(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    if not path:
        return odd
    copy = value.copy()
    copy[path[0]] = _replaced(value[path[0]], path[1:], odd)
    return copy


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_an_entity_text_with_an_odd_member_is_refused_or_can_be_written(data: st.DataObject) -> None:
    recorded_text = data.draw(st.sampled_from(RECORDED))
    value = json.loads(recorded_text["text"])
    odd = _replaced(value, data.draw(st.sampled_from(_places(value))), data.draw(ODD))

    try:
        written = READERS[recorded_text["kind"]](json.dumps(odd))
    except ValueError:
        return

    json.loads(written)


@pytest.mark.parametrize("kind", ["request", "response", "release", "state"])
def test_an_entity_text_nested_without_end_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="Purge the entity"):
        READERS[kind]('{"id":' + "[" * 100_000)
