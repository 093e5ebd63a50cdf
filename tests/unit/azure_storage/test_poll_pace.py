"""Waits of one process take turns to read: the shortest pause first, sooner after news, later after reads in vain."""

from __future__ import annotations

import asyncio

from durable_ext.aio.wakeups import Wakeup
from durable_ext.backends.azure_storage.poll_pace import LONGEST_PAUSE_SECONDS, Poll, PollPace


async def turn_of(pace: PollPace, poll: Poll, order: list[Poll]) -> None:
    pace.ask(poll)
    await took_turn(pace, poll, order)


async def took_turn(pace: PollPace, poll: Poll, order: list[Poll]) -> None:
    while not poll.is_due:
        await poll.wakeup.wait(10)
    order.append(poll)
    pace.has_read(poll, news=False)


async def begun(pace: PollPace, poll: Poll) -> None:
    pace.ask(poll)
    while not poll.is_due:
        await poll.wakeup.wait(10)


async def test_the_first_turn_is_at_once_and_the_others_wait_for_theirs() -> None:
    pace = PollPace()
    first, second = (pace.begin(Wakeup(), 0.1) for _ in range(2))

    pace.ask(first)
    pace.ask(second)

    assert (first.is_due, second.is_due) == (True, False)
    pace.has_read(first, news=False)
    assert await second.wakeup.wait(10)
    assert (first.is_due, second.is_due) == (False, True)


async def test_while_a_read_is_under_way_nobody_else_reads_before_one_has_brought_news() -> None:
    pace = PollPace()
    first, second, third = (pace.begin(Wakeup(), 0.1) for _ in range(3))
    pace.ask(first)
    pace.ask(second)
    assert not await second.wakeup.wait(10 * pace.gap)

    pace.has_read(first, news=True)
    await begun(pace, second)
    await asyncio.wait_for(begun(pace, third), 10)

    assert (second.is_due, third.is_due) == (True, True)


async def test_a_read_that_hangs_does_not_keep_the_others_for_long() -> None:
    pace = PollPace()
    first, second = (pace.begin(Wakeup(), 0.1) for _ in range(2))
    pace.ask(first)

    await asyncio.wait_for(begun(pace, second), 10)

    assert first.is_due


async def test_a_wait_that_ends_while_it_reads_leaves_its_turn_to_the_next() -> None:
    pace = PollPace()
    first, second = (pace.begin(Wakeup(), 0.1) for _ in range(2))
    pace.ask(first)
    pace.ask(second)

    pace.end(first)

    await asyncio.wait_for(begun(pace, second), 10)


async def test_after_a_rest_the_first_reads_are_as_slow_as_ever() -> None:
    pace = PollPace()
    slow = pace.gap
    poll = pace.begin(Wakeup(), 0.1)
    for _ in range(10):
        pace.has_read(poll, news=True)
    assert pace.gap < slow
    pace.end(poll)

    first, second = (pace.begin(Wakeup(), 0.1) for _ in range(2))
    pace.ask(first)
    pace.ask(second)

    assert pace.gap == slow
    assert not await second.wakeup.wait(10 * slow)


async def test_whoever_waits_with_short_pauses_has_its_turn_before_those_that_wait_for_long() -> None:
    pace, order = PollPace(), list[Poll]()
    first, young = (pace.begin(Wakeup(), 0.1) for _ in range(2))
    long_ones = [pace.begin(Wakeup(), LONGEST_PAUSE_SECONDS) for _ in range(5)]
    for poll in (first, *long_ones, young):  # the first one reads while the others ask
        pace.ask(poll)

    await asyncio.gather(*(took_turn(pace, poll, order) for poll in (first, *long_ones, young)))

    assert order == [first, young, *long_ones]


async def test_a_wait_that_is_over_has_no_turn_and_delays_nobody() -> None:
    pace, order = PollPace(), list[Poll]()
    await turn_of(pace, pace.begin(Wakeup(), 0.1), order)
    left, kept = (pace.begin(Wakeup(), 0.1) for _ in range(2))
    pace.ask(left)
    pace.end(left)

    await turn_of(pace, kept, order)

    assert order[1:] == [kept]
    assert not left.is_due


async def test_asking_again_takes_the_place_of_what_was_asked_before() -> None:
    pace, order = PollPace(), list[Poll]()
    first, impatient, other = (pace.begin(Wakeup(), 0.1) for _ in range(3))
    for poll in (first, impatient, other, impatient):  # the first one reads meanwhile
        pace.ask(poll)

    everybody = asyncio.gather(*(took_turn(pace, poll, order) for poll in (first, impatient, other)))
    await asyncio.wait_for(everybody, 10)

    assert order == [first, other, impatient]


def test_a_read_in_vain_makes_pauses_and_gaps_longer_and_news_make_the_gap_shorter() -> None:
    pace = PollPace()
    poll = pace.begin(Wakeup(), 0.1)

    pace.has_read(poll, news=True)
    after_news = pace.gap
    for _ in range(2):
        pace.has_read(poll, news=False)

    assert pace.gap > after_news
    assert poll.pause > 0.2


def test_many_waits_have_all_a_turn_within_the_longest_pause() -> None:
    pace = PollPace()
    polls = [pace.begin(Wakeup(), 0.1) for _ in range(1_000)]

    for poll in polls:
        pace.has_read(poll, news=False)

    assert pace.gap * len(polls) <= LONGEST_PAUSE_SECONDS
    for poll in polls[10:]:
        pace.end(poll)
    for _ in range(100):
        pace.has_read(polls[0], news=False)
    assert polls[0].pause == LONGEST_PAUSE_SECONDS
    assert pace.gap * 10 < LONGEST_PAUSE_SECONDS
