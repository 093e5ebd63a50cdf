"""Calls in processes of their own: what they return, raise, and what becomes of them when their process ends."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import pytest

from durable_ext.runtime.process_crew import ProcessCall, ProcessCrew, ProcessDiedError
from durable_ext.testing.eventually import eventually

MASK_OF_A_PROGRAM = "import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, []))"
WORKER = """
import asyncio, time
from durable_ext.runtime.process_crew import ProcessCall, ProcessCrew

async def main():
    crew, busy = ProcessCrew(2), asyncio.Event()
    long = asyncio.ensure_future(crew.run(time.sleep, 600, ProcessCall(), busy.set))
    await busy.wait()
    await crew.run(abs, 1, ProcessCall(), lambda: None)
    print("one is busy, one is idle", flush=True)
    await long

asyncio.run(main())
"""


DRAINING_WORKER = """
import asyncio, signal, time
from durable_ext.runtime.process_crew import ProcessCall, ProcessCrew

async def main():
    crew, told = ProcessCrew(1), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    call = asyncio.ensure_future(crew.run(time.sleep, 1, ProcessCall(), lambda: print("begins", flush=True)))
    await told.wait()
    print("told to stop", flush=True)
    await call
    print("the call has ended", flush=True)
    crew.close()

asyncio.run(main())
"""


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


def exit_codes_of_terminated_forks(count: int) -> set[int | None]:
    codes = set()
    for _ in range(count):
        fork = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        fork.start()
        fork.terminate()
        fork.join(5)
        codes.add(fork.exitcode)
        fork.kill()
        fork.join()
    return codes


def babble(file: Path) -> None:
    """Send what is no answer, and work on."""
    file.write_text(str(os.getpid()))
    answers = next(each for each in gc.get_objects() if isinstance(each, SimpleQueue))
    answers._writer.send_bytes(b"?")  # type: ignore[attr-defined]
    time.sleep(600)


def output_of(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


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
@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP", "SIGTERM"])
async def test_what_a_terminal_or_a_service_tells_all_its_processes_is_left_to_the_worker(
    crew: ProcessCrew, name: str
) -> None:
    assert await run(crew, signalled, name) == "went on"


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP", "SIGTERM"])
async def test_so_it_is_while_a_process_starts(crew: ProcessCrew, name: str) -> None:
    before = multiprocessing.active_children()
    call = asyncio.ensure_future(run(crew, process_id, 0))

    def starting() -> int | None:
        return next((child.pid for child in multiprocessing.active_children() if child not in before), None)

    pid = await eventually(starting, "no process starts")
    os.kill(pid, getattr(signal, name))

    assert await call == pid


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
async def test_a_program_that_a_call_runs_hears_what_a_terminal_sends(crew: ProcessCrew) -> None:
    assert await run(crew, output_of, MASK_OF_A_PROGRAM) == "set()"


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
async def test_a_process_that_a_call_forks_can_be_terminated_from_its_first_moment(crew: ProcessCrew) -> None:
    assert await run(crew, exit_codes_of_terminated_forks, 20) == {-signal.SIGTERM}


@pytest.mark.skipif(sys.platform == "win32", reason="no process groups")
async def test_a_call_ends_when_its_worker_lets_it_though_the_whole_group_was_told_to_stop() -> None:
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DRAINING_WORKER, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert worker.stdout is not None
    began = await worker.stdout.readline()
    try:
        os.killpg(worker.pid, signal.SIGTERM)
        said = await asyncio.wait_for(worker.stdout.read(), 20)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        await worker.wait()

    assert (began, said) == (b"begins\n", b"told to stop\nthe call has ended\n")
    assert worker.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no process groups")
async def test_processes_end_with_the_worker_whatever_ends_it() -> None:
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert worker.stdout is not None
    await worker.stdout.readline()
    try:
        worker.kill()

        await asyncio.wait_for(worker.stdout.read(), 10)  # it ends when the last process that inherited it has ended
    finally:
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        await worker.wait()


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


@pytest.mark.skipif(sys.platform == "win32", reason="its processes cannot hold back what ends them")
async def test_a_process_whose_answers_cannot_be_read_is_ended(crew: ProcessCrew, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with pytest.raises(ProcessDiedError):
        await run(crew, babble, file)
    pid = int(file.read_text())

    def is_gone() -> bool:
        with suppress(ProcessLookupError):
            os.kill(pid, 0)
            return False
        return True

    await eventually(is_gone, "the process is still there")


async def test_cancelling_a_caller_ends_the_process(crew: ProcessCrew) -> None:
    started = asyncio.Event()
    call = asyncio.ensure_future(crew.run(process_id, 60, ProcessCall(), started.set))
    await started.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)

    assert len({await run(crew, process_id, 0) for _ in range(3)}) == 1
