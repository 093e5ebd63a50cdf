from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator

import pytest

from durable_ext.runtime.thread_crew import ThreadCrew
from durable_ext.testing.eventually import eventually

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


@pytest.fixture
async def crew() -> AsyncIterator[ThreadCrew]:
    crew = ThreadCrew("crew", 2)
    yield crew
    crew.close()


async def test_calls_return_their_results(crew: ThreadCrew) -> None:
    assert await asyncio.gather(*(crew.run(lambda n=n: n * 2) for n in range(20))) == [n * 2 for n in range(20)]  # type: ignore[misc]


async def test_no_more_threads_run_than_allowed(crew: ThreadCrew) -> None:
    names: set[str] = set()

    await asyncio.gather(*(crew.run(lambda: names.add(threading.current_thread().name)) for _ in range(50)))

    assert len(names) <= 2


async def test_calls_see_the_context_of_their_caller(crew: ThreadCrew) -> None:
    variable.set("mine")

    assert await crew.run(variable.get) == "mine"


async def test_what_a_call_sets_in_its_context_stays_there(crew: ThreadCrew) -> None:
    variable.set("mine")
    await crew.run(lambda: variable.set("yours"))

    assert variable.get() == "mine"


async def test_an_exception_belongs_to_its_caller(crew: ThreadCrew) -> None:
    with pytest.raises(ZeroDivisionError):
        await crew.run(lambda: 1 // 0)


async def test_system_exit_ends_neither_thread_nor_loop(crew: ThreadCrew) -> None:
    def leave() -> None:
        raise SystemExit(1)

    with pytest.raises(RuntimeError, match="SystemExit"):
        await crew.run(leave)
    assert await crew.run(lambda: "still here") == "still here"


async def test_a_thread_that_was_given_up_is_replaced(crew: ThreadCrew) -> None:
    release = threading.Event()
    hanging = [crew.run(lambda: release.wait(20)) for _ in range(2)]
    for future in hanging:
        crew.give_up(future, TimeoutError("too long"))

    assert await crew.run(lambda: "another thread") == "another thread"
    for future in hanging:
        with pytest.raises(TimeoutError):
            await future
    release.set()


async def test_a_cancelled_call_does_not_keep_others_from_running(crew: ThreadCrew) -> None:
    release = threading.Event()
    hanging = crew.run(lambda: release.wait(20))
    hanging.cancel()

    assert await crew.run(lambda: "beside it") == "beside it"
    release.set()
    await eventually(hanging.cancelled)
