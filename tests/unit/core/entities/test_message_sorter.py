"""MessageSorter: order and duplicates for each sender (specs/execution-semantics.md 12.5)."""

from __future__ import annotations

import random
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from durable_ext.core.entities.messages import NO_STAMP, EntityRequest, Stamp
from durable_ext.core.entities.sorter import MessageSorter
from durable_ext.core.timestamps import TICKS_PER_SECOND, Ticks, ticks_from_iso

WINDOW = timedelta(minutes=30)
NOW = ticks_from_iso("2026-11-21T11:18:14.7232019Z")
MINUTE = 60 * TICKS_PER_SECOND


def stamped(
    sender: MessageSorter, number: int, *, now: Ticks = NOW, parent: str = "p", execution: str | None = "e"
) -> EntityRequest:
    timestamp, predecessor = sender.stamp("@counter@one", now)
    return EntityRequest(
        request_id=str(number),
        operation="add",
        parent=parent,
        parent_execution=execution,
        timestamp=timestamp,
        predecessor=predecessor,
    )


def delivered(receiver: MessageSorter, *requests: EntityRequest) -> list[str]:
    return [each.request_id for request in requests for each in receiver.receive(request)]


def three(sender: MessageSorter | None = None) -> tuple[EntityRequest, EntityRequest, EntityRequest]:
    sender = sender or MessageSorter(WINDOW)
    return stamped(sender, 1), stamped(sender, 2), stamped(sender, 3)


def test_stamps_of_one_moment_are_forced_apart_and_lose_their_z() -> None:
    first, second, third = three()

    assert [each.timestamp for each in (first, second, third)] == [
        Stamp(NOW),
        Stamp(NOW + 1, False),
        Stamp(NOW + 2, False),
    ]
    assert [each.predecessor for each in (first, second, third)] == [NO_STAMP, Stamp(NOW), Stamp(NOW + 1, False)]


def test_requests_that_overtook_each_other_are_delivered_in_order() -> None:
    first, second, third = three()

    receiver = MessageSorter(WINDOW)

    assert delivered(receiver, third, second) == []
    assert delivered(receiver, first) == ["1", "2", "3"]


def test_a_request_that_was_delivered_is_dropped() -> None:
    first, second, _ = three()

    assert delivered(MessageSorter(WINDOW), first, second, first, second) == ["1", "2"]


def test_what_waits_survives_in_the_state() -> None:
    first, second, third = three()
    receiver = MessageSorter(WINDOW)
    assert delivered(receiver, third, second) == []

    assert delivered(MessageSorter(WINDOW, receiver.state), first) == ["1", "2", "3"]


def test_senders_do_not_wait_for_each_other() -> None:
    _, second, _ = three()
    other = stamped(MessageSorter(WINDOW), 9, parent="q")

    assert delivered(MessageSorter(WINDOW), second, other) == ["9"]


def test_a_new_execution_of_a_sender_lets_go_what_waited_and_begins_anew() -> None:
    first, _, third = three()
    again = stamped(MessageSorter(WINDOW), 9, execution="f")

    assert delivered(MessageSorter(WINDOW), first, third, again) == ["1", "3", "9"]


def test_what_waited_for_the_first_request_of_a_former_execution_is_let_go_too() -> None:
    _, _, third = three()
    again = stamped(MessageSorter(WINDOW), 9, execution="f")

    assert delivered(MessageSorter(WINDOW), third, again) == ["3", "9"]


def test_a_lost_predecessor_is_waited_for_until_it_falls_out_of_the_window() -> None:
    sender, receiver = MessageSorter(WINDOW), MessageSorter(WINDOW)
    _, second, _ = three(sender)
    assert delivered(receiver, second) == []

    late = stamped(MessageSorter(WINDOW), 9, now=Ticks(NOW + 31 * MINUTE), parent="q")

    assert delivered(receiver, late) == ["2", "9"]


def test_a_request_older_than_the_window_passes_straight() -> None:
    receiver = MessageSorter(WINDOW)
    recent = stamped(MessageSorter(WINDOW), 1, now=Ticks(NOW + 60 * MINUTE), parent="q")

    assert delivered(receiver, recent, *three()[1:]) == ["1", "2", "3"]


def test_a_sender_with_recent_and_waiting_requests_survives_the_advance_of_the_window() -> None:
    receiver, sender, other = MessageSorter(WINDOW), MessageSorter(WINDOW), MessageSorter(WINDOW)
    recent = Ticks(NOW + 20 * MINUTE)
    first, _, third = (stamped(sender, number, now=recent) for number in (1, 2, 3))
    assert delivered(receiver, stamped(other, 8, parent="q"), first, third) == ["8", "1"]

    late = stamped(MessageSorter(WINDOW), 9, now=Ticks(NOW + 31 * MINUTE), parent="r")

    assert delivered(receiver, late) == ["9"]
    assert set(receiver.state.received) == {"p", "r"}
    assert len(receiver.state.received["p"].buffered) == 1


def test_a_client_request_takes_no_part() -> None:
    request = EntityRequest(request_id="c", operation="add")

    assert delivered(MessageSorter(WINDOW), request, request) == ["c", "c"]


def test_a_window_of_zero_stamps_and_sorts_nothing() -> None:
    sorter = MessageSorter(timedelta(0))

    assert sorter.stamp("@counter@one", NOW) == (NO_STAMP, NO_STAMP)
    assert delivered(sorter, *reversed(three())) == ["3", "2", "1"]


def test_destinations_that_were_not_sent_to_for_the_window_are_forgotten() -> None:
    sender = MessageSorter(WINDOW)
    sender.stamp("@counter@old", NOW)

    sender.stamp("@counter@new", Ticks(NOW + 31 * MINUTE))

    assert list(sender.state.last_sent) == ["@counter@new"]


@given(st.integers(1, 12), st.randoms(use_true_random=False), st.lists(st.integers(0, 11), max_size=6))
def test_any_order_with_any_duplicates_is_delivered_once_and_in_order(
    count: int, shuffle: random.Random, repeats: list[int]
) -> None:
    sender = MessageSorter(WINDOW)
    requests = [stamped(sender, number) for number in range(count)]
    arriving = requests + [requests[index] for index in repeats if index < count]
    shuffle.shuffle(arriving)

    assert delivered(MessageSorter(WINDOW), *arriving) == [str(number) for number in range(count)]


def test_what_a_sender_repeats_of_the_generation_before_is_dropped_and_so_is_what_follows() -> None:
    end, end_again = stamped(MessageSorter(WINDOW), 1), stamped(MessageSorter(WINDOW), 1)
    begin, begin_again = (stamped(MessageSorter(WINDOW), 2, now=Ticks(NOW + 10), execution="f") for _ in range(2))

    assert delivered(MessageSorter(WINDOW), end, begin, end_again, begin_again) == ["1", "2"]


def test_a_straggler_of_the_generation_before_is_delivered_once() -> None:
    first, second, _ = three()
    following = stamped(MessageSorter(WINDOW), 9, now=Ticks(NOW + 10), execution="f")

    assert delivered(MessageSorter(WINDOW), first, following, second, second) == ["1", "9", "2"]


def generations(count: int, every: int) -> list[EntityRequest]:
    """One request of each of so many generations of one sender, which begin so many ticks after one another."""
    return [stamped(MessageSorter(WINDOW), n, now=Ticks(NOW + n * every), execution=f"{n:032x}"[::-1]) for n in range(count)]


def test_what_short_generations_repeat_minutes_later_is_dropped() -> None:
    requests = generations(100, every=MINUTE // 60)
    receiver = MessageSorter(WINDOW)
    delivered(receiver, *requests)

    assert delivered(MessageSorter(WINDOW, receiver.state), *requests) == []


def test_of_long_generations_the_last_eight_are_remembered() -> None:
    receiver = MessageSorter(WINDOW)
    delivered(receiver, *generations(12, every=MINUTE))

    assert [stamp.ticks for stamp in receiver.state.received["p"].former.values()] == [
        NOW + n * MINUTE for n in range(3, 11)
    ]


def test_no_sender_makes_the_state_grow_for_ever() -> None:
    receiver = MessageSorter(WINDOW)
    delivered(receiver, *generations(1000, every=1))

    assert len(receiver.state.received["p"].former) == 400
