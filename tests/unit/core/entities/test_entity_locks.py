"""Locks of an entity: held, given back, and kept when a worker dies (specs/azure-storage.md 10.6, 8.5)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.entity_bench import CODEC, EntityBench, call, lock, sent, signal

from durable_ext.core.entities.definitions import EntityOptions
from durable_ext.core.entities.messages import EntityRelease, Stamp
from durable_ext.core.entities.recent import KEPT_OF_RELEASES, KEPT_OF_SESSION
from durable_ext.core.events import EventRaised, ExecutionStarted


def release(parent: str, lock_request_id: str, bench: EntityBench) -> EventRaised:
    text = CODEC.release_text(EntityRelease(parent=parent, lock_request_id=lock_request_id), typed=True)
    return EventRaised(timestamp=bench.now, name="release", input=text)


def test_a_lock_request_for_one_entity_locks_it_and_is_answered() -> None:
    bench = EntityBench()
    request = lock("owner", "one")

    episode = bench.run(request)

    ((target, name, text),) = sent(episode)
    assert (target, name) == ("owner", request.request_id)
    assert CODEC.read_response(text or "").result == "Lock Acquisition Completed"
    assert bench.stored.locked_by == "owner"
    assert episode.instance is not None
    assert episode.instance.custom_status == '{"lockedBy":"owner"}'


def test_a_lock_request_travels_on_with_everything_but_its_position_as_it_was() -> None:
    bench = EntityBench()
    request = lock("owner", "one", "two", timestamp=Stamp(bench.now, False))

    ((target, name, text),) = sent(bench.run(request))

    assert (target, name) == ("@counter@two", "op")
    assert text == CODEC.request_text(CODEC.read_request(text or ""), typed=True)
    forwarded = CODEC.read_request(text or "")
    assert forwarded.position == 1
    assert (forwarded.request_id, forwarded.timestamp, forwarded.predecessor, forwarded.parent_execution) == (
        request.request_id,
        request.timestamp,
        request.predecessor,
        request.parent_execution,
    )


def test_operations_after_a_lock_request_wait_for_its_release() -> None:
    bench = EntityBench()

    bench.run(signal("add", 1), lock("owner", "one"), signal("add", 2))

    assert bench.state == "1"
    assert len(bench.stored.queue) == 1


def test_a_second_lock_request_of_the_owner_is_answered_without_another_message() -> None:
    bench = EntityBench()
    first, second = lock("owner", "one"), lock("owner", "one")

    bench.run(first, second)

    assert bench.stored.locked_by == "owner"
    assert bench.stored.suspended, "its own continue message goes on"
    bench.run(EventRaised(timestamp=bench.now, name="continue"))
    assert bench.stored.queue == ()
    assert bench.stored.locked_by == "owner"


def test_the_owner_of_the_lock_overtakes_what_waits() -> None:
    bench = EntityBench(options=EntityOptions(deliver_in_order=True))
    bench.run(lock("owner", "one"))
    bench.run(signal("add", 100))

    episode = bench.run(call("add", 5, parent="owner"))

    assert CODEC.read_response(sent(episode)[0][2] or "").result == "5"
    assert len(bench.stored.queue) == 1


def test_a_release_lets_the_queue_go_on() -> None:
    bench = EntityBench()
    request = lock("owner", "one")
    bench.run(request, signal("add", 3))

    bench.run(release("owner", request.request_id, bench))

    assert bench.state == "3"
    assert bench.stored.locked_by is None


def test_a_release_of_somebody_else_changes_nothing() -> None:
    bench = EntityBench()
    bench.run(lock("owner", "one"), signal("add", 3))

    episode = bench.run(release("other", "fix-orphaned-lock", bench))

    assert bench.stored.locked_by == "owner"
    assert not episode.starts_generation


def test_a_second_lock_request_waits_for_the_first_owners_release() -> None:
    bench = EntityBench()
    first, second = lock("first", "one"), lock("second", "one")
    bench.run(first, second)

    episode = bench.run(release("first", first.request_id, bench))

    assert bench.stored.locked_by == "second"
    assert sent(episode)[0][0] == "second"


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("position", [0, 1])
def test_a_request_whose_sender_has_given_up_locks_nothing_wherever_it_is(in_order: bool, position: int) -> None:
    bench = EntityBench(options=EntityOptions(deliver_in_order=in_order))
    held, waiting, coming = lock("holder", "one"), lock("a", "one", position=0), lock("b", "zero", "one", position=position)
    bench.run(held, waiting, signal("add", 1))

    bench.run(release("a", waiting.request_id, bench), release("b", coming.request_id, bench))
    bench.reload()
    bench.run(coming)
    episode = bench.run(release("holder", held.request_id, bench))

    assert sent(episode) == []
    assert (bench.state, bench.stored.locked_by, bench.stored.queue) == ("1", None, ())


# A worker that dies.


def test_a_lock_is_stored_before_its_holder_hears_of_it_and_granted_by_whoever_loads_that() -> None:
    bench = EntityBench()
    request = lock("owner", "one")

    first = bench.run(signal("add", 2), request, dies_before_grant=True)

    assert sent(first) == []
    assert (bench.state, bench.stored.locked_by, bench.stored.queue) == ("2", "owner", (request,))
    bench.reload()
    again = bench.run(request, signal("add", 100))
    assert [(target, name) for target, name, _ in sent(again)] == [("owner", request.request_id)]
    assert (bench.state, bench.stored.locked_by) == ("2", "owner")
    assert [waiting.operation for waiting in bench.stored.queue] == ["add"]


def test_a_store_that_commits_and_sends_at_once_grants_at_once() -> None:
    bench = EntityBench(options=EntityOptions(deliver_in_order=True))

    episode = bench.run(lock("owner", "one"), dies_before_grant=True)

    assert [target for target, _, _ in sent(episode)] == ["owner"]
    assert bench.stored.queue == ()


def test_a_lock_that_was_granted_and_given_back_before_the_grant_was_stored_is_not_granted_again() -> None:
    bench = EntityBench()
    request = lock("owner", "one")
    bench.run(request, dies_before_grant=True)
    bench.reload()

    bench.run(release("owner", request.request_id, bench))
    bench.reload()
    late = bench.run(request, signal("add", 1))

    assert sent(late) == []
    assert (bench.state, bench.stored.locked_by, bench.stored.queue) == ("1", None, ())


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("stamped", [False, True])
def test_a_request_for_a_lock_that_comes_again_after_its_release_locks_nothing(position: int, stamped: bool) -> None:
    bench = EntityBench()  # a worker that knew nothing of the lock had granted it: nothing of it was stored
    request = lock("owner", "zero", "one", position=position)
    if stamped:
        request = replace(request, timestamp=Stamp(bench.now))
    bench.run(release("owner", request.request_id, bench))
    bench.reload()

    episode = bench.run(request, signal("add", 1))

    assert sent(episode) == []
    assert (bench.state, bench.stored.locked_by) == ("1", None)


def test_a_request_that_comes_long_after_its_release_locks_nothing_however_much_came_meanwhile() -> None:
    bench = EntityBench()
    request = lock("owner", "zero", "one", position=1)
    bench.run(release("owner", request.request_id, bench))
    for _ in range(3):
        bench.run(*(signal("add", 1) for _ in range(100)))

    episode = bench.run(request)

    assert sent(episode) == []
    assert (bench.state, bench.stored.locked_by) == ("300", None)


def test_locks_that_are_taken_and_given_back_leave_no_more_in_the_state_than_signals_do() -> None:
    bench = EntityBench()
    for number in range(300):
        request = lock("owner", "one", timestamp=Stamp(bench.now + number))
        bench.run(request)
        bench.run(release("owner", request.request_id, bench))

    assert sum(len(batch.ids) for batch in bench.stored.recent) <= KEPT_OF_SESSION


@pytest.mark.parametrize("waiting", [10, 250])
def test_locks_that_many_wait_for_leave_no_more_in_the_state_than_signals_do(waiting: int) -> None:
    bench = EntityBench()
    requests = [lock(f"owner{number}", "one") for number in range(waiting + 600)]
    bench.run(*requests[:waiting])
    for holder, request in zip(requests, requests[waiting:], strict=False):
        bench.run(release(holder.parent or "", holder.request_id, bench), request)

    assert sum(len(batch.ids) for batch in bench.stored.recent) <= KEPT_OF_SESSION + 2  # those of the last work item


@pytest.mark.parametrize("in_order", [True, False])
def test_of_releases_whose_requests_have_not_come_the_last_ones_are_remembered(in_order: bool) -> None:
    bench = EntityBench(options=EntityOptions(deliver_in_order=in_order))
    requests = [lock("owner", "zero", "one", position=1) for _ in range(3 * KEPT_OF_RELEASES // 2)]
    for first in range(0, len(requests), 20):
        bench.run(*(release("owner", request.request_id, bench) for request in requests[first : first + 20]))
    remembered = bench.stored.recent
    bench.reload()

    late = bench.run(*requests[-KEPT_OF_RELEASES:])

    assert [len(batch.ids) for batch in remembered] == [20] * 10
    assert sent(late) == []
    assert bench.status.locked_by is None


def test_a_request_that_another_provider_took_in_is_known_after_its_release_however_much_came_meanwhile() -> None:
    bench = EntityBench()
    request = lock("owner", "one")
    bench.run(lock("holder", "one"), request)
    written = CODEC.state_text(replace(bench.stored, lock_request=None, recent=()))
    bench.history = tuple(
        [replace(event, input=written) if isinstance(event, ExecutionStarted) else event for event in bench.history]
    )
    bench.reload()
    bench.run(release("owner", request.request_id, bench))  # its message may be a dead worker's, which comes back
    for _ in range(3):
        bench.run(*(lock("late", "one") for _ in range(100)))

    bench.run(request)

    assert request not in bench.stored.queue


def test_a_call_of_the_holder_overtakes_the_grant_that_is_sent_again() -> None:
    bench = EntityBench()
    request = lock("owner", "one")
    bench.run(request, dies_before_grant=True)
    bench.reload()

    episode = bench.run(signal("add", 100), call("add", 5, parent="owner"))

    assert [target for target, _, _ in sent(episode)] == ["owner", "owner"]
    assert CODEC.read_response(sent(episode)[0][2] or "").result == "5"
    assert (bench.stored.locked_by, len(bench.stored.queue)) == ("owner", 1)


def test_a_call_of_the_holder_that_was_answered_before_its_worker_died_stays_before_the_next_one() -> None:
    bench = EntityBench()
    bench.run(lock("owner", "one"), signal("add", 100))
    opening = bench.run(call("add", 5, parent="owner")).opening
    assert opening is not None
    bench.history = opening.new_events
    bench.reload()

    episode = bench.run(call("get", parent="owner"))

    assert [CODEC.read_response(text or "").result for _, _, text in sent(episode)] == ["5", "5"]
    assert (bench.state, len(bench.stored.queue)) == ("5", 1)


@pytest.mark.parametrize("in_order", [True, False])
def test_what_waits_of_the_holder_comes_first_once_it_holds_the_lock(in_order: bool) -> None:
    bench = EntityBench(options=EntityOptions(deliver_in_order=in_order))

    bench.run(lock("owner", "one"), signal("add", 100), call("add", 5, parent="owner"))
    bench.run(EventRaised(timestamp=bench.now, name="continue"))

    assert bench.state == "5"
    assert len(bench.stored.queue) == 1


@pytest.mark.parametrize("released_in_time", [True, False])
def test_a_release_of_an_earlier_section_that_comes_late_leaves_the_present_one_alone(released_in_time: bool) -> None:
    bench = EntityBench()
    earlier, present = lock("owner", "one"), lock("owner", "one")
    bench.run(earlier)
    if released_in_time:  # and once more later
        bench.run(release("owner", earlier.request_id, bench))
    bench.run(present)
    bench.reload()

    bench.run(release("owner", earlier.request_id, bench))
    assert bench.stored.locked_by == "owner"
    bench.run(release("owner", present.request_id, bench))
    assert bench.stored.locked_by is None


def test_an_orphaned_lock_is_given_up_whichever_it_is_and_as_often_as_it_takes() -> None:
    bench = EntityBench()

    for _ in range(2):
        bench.run(lock("owner", "one"))
        assert bench.stored.locked_by == "owner"
        bench.run(release("owner", "fix-orphaned-lock", bench))
        assert bench.stored.locked_by is None


def test_what_came_with_a_lock_request_counts_once_if_the_worker_dies_before_it_deletes_that() -> None:
    bench = EntityBench()
    many = [signal("add", 1) for _ in range(300)]  # more than a session remembers of what it committed earlier
    bench.run(*many, lock("owner", "one"))
    bench.reload()

    bench.run(*many)

    assert (bench.state, bench.stored.queue) == ("300", ())
