from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from durable_ext.errors import EpisodeTimeoutError
from durable_ext.runtime.orchestrator_thread import OrchestratorThread
from durable_ext.testing.eventually import eventually

SOON = timedelta(milliseconds=40)


@pytest.fixture
async def thread() -> AsyncIterator[OrchestratorThread]:
    thread = OrchestratorThread()
    yield thread
    thread.close()


@pytest.fixture
async def release() -> AsyncIterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def test_calls_run_in_order_on_one_other_thread(thread: OrchestratorThread) -> None:
    ran: list[tuple[int, int]] = []

    def call(number: int) -> int:
        ran.append((number, threading.get_ident()))
        return number

    results = await asyncio.gather(*(thread.play(lambda n=number: call(n), "i") for number in range(50)))  # type: ignore[misc]

    assert results == list(range(50))
    assert [number for number, _ in ran] == list(range(50))
    assert {ident for _, ident in ran} & {threading.get_ident()} == set()
    assert len({ident for _, ident in ran}) == 1


async def test_an_exception_belongs_to_its_caller(thread: OrchestratorThread) -> None:
    with pytest.raises(ZeroDivisionError):
        await thread.play(lambda: 1 // 0, "i")


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), StopIteration(3)])
async def test_what_would_stop_a_loop_arrives_as_an_error_that_names_it(
    thread: OrchestratorThread, error: BaseException
) -> None:
    def call() -> None:
        raise error

    with pytest.raises(RuntimeError, match=type(error).__name__):
        await thread.play(call, "i")


async def test_a_cancelled_caller_does_not_disturb_the_thread(thread: OrchestratorThread, release: threading.Event) -> None:
    first = thread.play(release.wait, "i")
    second = thread.play(lambda: "second", "j")
    first.cancel()
    release.set()

    assert await second == "second"


async def test_a_stuck_thread_is_reported_with_its_stack_and_replaced(
    release: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    def look_for_me() -> str:
        release.wait(20)
        return "late"

    thread = OrchestratorThread(warning=SOON)
    with caplog.at_level(logging.WARNING):
        stuck = thread.play(look_for_me, "the-instance")
        behind = thread.play(lambda: "behind", "other")
        assert await behind == "behind"
        assert thread.stuck == 1
        assert thread.healthy
        release.set()
        assert await stuck == "late"
    await eventually(lambda: thread.stuck == 0)
    thread.close()

    assert "the-instance" in caplog.text
    assert "look_for_me" in caplog.text
    assert "it may keep using a core until its code returns or the host is restarted" in caplog.text


async def test_at_the_limit_the_caller_is_released_and_a_late_result_is_dropped(release: threading.Event) -> None:
    thread = OrchestratorThread(warning=timedelta(seconds=5), limit=SOON)

    with pytest.raises(EpisodeTimeoutError) as raised:
        await thread.play(lambda: release.wait(20), "i")
    release.set()
    await eventually(lambda: thread.stuck == 0)
    after = await thread.play(lambda: "after", "j")
    thread.close()

    assert (raised.value.label, raised.value.limit) == ("i", SOON)
    assert after == "after"


async def test_what_blocks_a_thread_beyond_the_limit_is_not_played_again_meanwhile(release: threading.Event) -> None:
    thread = OrchestratorThread(warning=SOON, limit=SOON, max_stuck=2)
    with pytest.raises(EpisodeTimeoutError):
        await thread.play(lambda: release.wait(20), "i")

    for _ in range(3):
        with pytest.raises(EpisodeTimeoutError):
            await thread.play(lambda: release.wait(20), "i")
    beside = await thread.play(lambda: "beside", "j")
    stuck = thread.stuck
    release.set()
    await eventually(lambda: thread.stuck == 0)
    after = await thread.play(lambda: "after", "i")
    thread.close()

    assert (beside, stuck, after) == ("beside", 1, "after")


async def test_without_threads_left_it_is_unhealthy_and_work_waits_for_one_to_come_back(release: threading.Event) -> None:
    thread = OrchestratorThread(warning=SOON, max_stuck=2)
    for _ in range(2):
        thread.play(lambda: release.wait(20), "i")
    await eventually(lambda: not thread.healthy, "it stayed healthy")
    waiting = thread.play(lambda: "at last", "j")

    release.set()

    assert await waiting == "at last"
    assert thread.healthy
    thread.close()


async def test_an_episode_that_takes_a_while_is_told_once_with_instance_and_function(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "durable_ext.runtime")
    release = threading.Event()
    thread = OrchestratorThread(notice=SOON)
    try:
        slow = thread.play(lambda: release.wait(30), "i1", lambda: "slow_one")
        await eventually(lambda: caplog.messages)
        await asyncio.sleep(SOON.total_seconds() * 3)  # time for it to be told again
        release.set()
        assert await slow
    finally:
        release.set()
        thread.close()

    (line,) = caplog.messages
    assert line.startswith("i1: orchestrator 'slow_one' has blocked its thread for 0.")
    assert "large inputs and results" in line
    assert thread.stuck == 0


class Store:
    """Takes what was played, and answers when the test says so."""

    def __init__(self) -> None:
        self.taken: list[tuple[object, int]] = []
        self.flushes: list[bool] = []
        self.answers: list[Callable[[], None]] = []

    def take(self, outcome: object, answered: Callable[[], None]) -> bool:
        self.taken.append((outcome, threading.get_ident()))
        self.answers.append(answered)
        return True


async def test_what_was_played_goes_to_the_store_from_its_thread_and_comes_back_when_it_is_stored() -> None:
    store = Store()
    thread = OrchestratorThread(flush=store.flushes.append)

    ident = await thread.play(threading.get_ident, "i")
    played = thread.play(lambda: "played", "i", store=store.take)
    await eventually(lambda: True in store.flushes)
    unanswered = not played.done()
    store.answers[0]()
    thread.close()

    assert store.taken == [("played", ident)]
    assert unanswered
    assert await played == "played"


async def test_many_at_once_are_left_to_the_store_and_a_few_may_be_written_at_once(release: threading.Event) -> None:
    store = Store()
    thread = OrchestratorThread(flush=store.flushes.append)

    first = thread.play(release.wait, "i")
    for _ in range(20):
        thread.play(lambda: None, "i", store=store.take)
    release.set()
    await first
    await eventually(lambda: len(store.taken) == 20 and bool(store.flushes))
    many = list(store.flushes)
    thread.play(lambda: None, "i", store=store.take)
    await eventually(lambda: True in store.flushes)
    thread.close()

    assert set(many) == {False}


async def test_what_the_store_refuses_is_handed_back_as_it_is(thread: OrchestratorThread) -> None:
    def refuse(outcome: object, answered: Callable[[], None]) -> bool:
        raise ValueError("refused")

    assert await thread.play(lambda: "played", "i", store=refuse) == "played"
    assert await thread.play(lambda: "nothing to store", "i", store=lambda *_: False) == "nothing to store"


async def test_what_was_given_up_is_not_stored_when_it_ends_after_all(release: threading.Event) -> None:
    store = Store()
    thread = OrchestratorThread(warning=timedelta(seconds=5), limit=SOON, flush=store.flushes.append)

    with pytest.raises(EpisodeTimeoutError):
        await thread.play(lambda: release.wait(20), "i", store=store.take)
    release.set()
    await eventually(lambda: thread.stuck == 0)
    thread.close()

    assert store.taken == []


async def test_what_a_written_off_thread_has_played_in_the_end_is_handed_back_unstored(release: threading.Event) -> None:
    store = Store()
    thread = OrchestratorThread(warning=SOON, flush=store.flushes.append)

    late = thread.play(lambda: release.wait(20), "i", store=store.take)
    await eventually(lambda: thread.stuck == 1)
    release.set()

    assert await late
    assert store.taken == []
    thread.close()


async def test_what_was_played_before_an_episode_that_blocks_is_not_held_back_by_it(release: threading.Event) -> None:
    store = Store()
    thread = OrchestratorThread(notice=SOON, flush=store.flushes.append)
    gate = threading.Event()

    thread.play(lambda: gate.wait(20), "h")
    thread.play(lambda: None, "i", store=store.take)
    blocked = thread.play(lambda: release.wait(20), "j")
    gate.set()
    await eventually(lambda: len(store.taken) == 1)
    store.flushes.clear()
    await eventually(lambda: False in store.flushes)

    assert not blocked.done()
    release.set()
    await blocked
    thread.close()


async def test_what_nobody_waits_for_any_more_is_not_stored(release: threading.Event) -> None:
    store = Store()
    thread = OrchestratorThread(flush=store.flushes.append)

    first = thread.play(lambda: release.wait(20), "i")
    thread.play(lambda: None, "i", store=store.take).cancel()
    release.set()
    await first
    await thread.play(lambda: None, "i")
    thread.close()

    assert store.taken == []
