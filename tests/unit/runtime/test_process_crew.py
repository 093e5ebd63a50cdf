"""Calls in processes of their own: what they return, raise, and what becomes of them when their process ends."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from durable_ext.runtime.process_crew import ProcessCall, ProcessCrew, ProcessDiedError
from durable_ext.testing.eventually import eventually


class TwoArgumentsError(Exception):
    """Cannot be rebuilt from its `args`."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def process_id(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def signalled(name: str) -> str:
    os.kill(os.getpid(), getattr(signal, name))
    return "went on"


def leave(value: Any) -> None:
    os._exit(3)


def raise_error(value: Any) -> None:
    raise ValueError(value)


def raise_what_cannot_travel(value: Any) -> None:
    raise TwoArgumentsError("this", "that")


def exit_python(value: Any) -> None:
    raise SystemExit(value)


def return_a_function(value: Any) -> Any:
    return lambda: value


@pytest.fixture
async def crew() -> AsyncIterator[ProcessCrew]:
    crew = ProcessCrew(2)
    yield crew
    crew.close()


async def run(crew: ProcessCrew, call: Any, value: Any) -> Any:
    return await crew.run(call, value, ProcessCall(), lambda: None)


async def test_a_process_is_used_again(crew: ProcessCrew) -> None:
    first = await run(crew, process_id, 0)
    second = await run(crew, process_id, 0)

    assert first == second != os.getpid()


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
async def test_what_a_terminal_tells_all_its_processes_is_left_to_the_worker(crew: ProcessCrew, name: str) -> None:
    assert await run(crew, signalled, name) == "went on"


async def test_so_many_processes_run_side_by_side_and_no_more(crew: ProcessCrew) -> None:
    ids = await asyncio.gather(*(run(crew, process_id, 0.2) for _ in range(6)))

    assert len(set(ids)) == 2


async def test_an_exception_arrives_with_the_place_where_it_was_raised(crew: ProcessCrew) -> None:
    with pytest.raises(ValueError, match="no good") as raised:
        await run(crew, raise_error, "no good")

    assert "raise_error" in str(raised.value.__cause__)


async def test_an_exception_that_cannot_be_rebuilt_arrives_as_its_text_and_harms_nobody(crew: ProcessCrew) -> None:
    with pytest.raises(RuntimeError, match="TwoArgumentsError: this and that"):
        await run(crew, raise_what_cannot_travel, None)

    assert await run(crew, process_id, 0) > 0


async def test_a_result_that_cannot_travel_is_a_failure(crew: ProcessCrew) -> None:
    with pytest.raises(Exception, match="lambda"):
        await run(crew, return_a_function, 1)


async def test_an_exit_of_user_code_leaves_the_process_alive(crew: ProcessCrew) -> None:
    before = await run(crew, process_id, 0)
    with pytest.raises(SystemExit):
        await run(crew, exit_python, 3)

    assert await run(crew, process_id, 0) == before


async def test_a_function_of_a_module_that_a_process_cannot_import_is_named(
    crew: ProcessCrew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "function_app.py"
    file.write_text("def answer(value):\n    return value\n")
    spec = importlib.util.spec_from_file_location("app_under_another_name", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "app_under_another_name", module)
    spec.loader.exec_module(module)

    with pytest.raises(ModuleNotFoundError, match="No module named 'app_under_another_name'"):
        await run(crew, module.answer, 1)

    assert await run(crew, process_id, 0) > 0


async def test_a_call_that_ends_its_process_fails_alone(crew: ProcessCrew) -> None:
    beside = asyncio.ensure_future(run(crew, process_id, 0.5))
    with pytest.raises(ProcessDiedError):
        await run(crew, leave, None)

    assert await beside > 0
    assert await run(crew, process_id, 0) > 0


async def test_a_process_that_was_killed_while_idle_is_replaced_before_the_next_call(crew: ProcessCrew) -> None:
    before = await run(crew, process_id, 0)
    os.kill(before, 9)

    async def is_gone() -> bool:
        try:
            os.kill(before, 0)
        except ProcessLookupError:
            return True
        return False

    await eventually(is_gone, "the process is still there")

    assert await run(crew, process_id, 0) != before


async def test_a_call_can_be_killed_from_outside(crew: ProcessCrew) -> None:
    handle, started = ProcessCall(), asyncio.Event()
    call = asyncio.ensure_future(crew.run(process_id, 60, handle, started.set))
    await started.wait()
    handle.kill()

    with pytest.raises(ProcessDiedError):
        await call


async def test_cancelling_a_caller_ends_the_process(crew: ProcessCrew) -> None:
    started = asyncio.Event()
    call = asyncio.ensure_future(crew.run(process_id, 60, ProcessCall(), started.set))
    await started.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)

    assert len({await run(crew, process_id, 0) for _ in range(3)}) == 1
