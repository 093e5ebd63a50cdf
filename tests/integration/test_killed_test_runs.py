"""What a run of tests that is killed leaves behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from azurite import require_azurite

from durable_ext.testing.eventually import eventually

pytestmark = pytest.mark.azurite

TESTS = Path(__file__).parents[1]
RUN = """
import sys
from azurite import running_azurite

with running_azurite() as azurite:
    print(azurite.process.pid, azurite.queue_port, flush=True)
    sys.stdin.read()
"""


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return False
    return True


async def test_an_emulator_ends_with_the_process_that_started_it_however_that_ends() -> None:
    require_azurite()
    pipe = asyncio.subprocess.PIPE
    run = await asyncio.create_subprocess_exec(sys.executable, "-c", RUN, cwd=TESTS, stdin=pipe, stdout=pipe)
    assert run.stdout is not None
    emulator, port = map(int, (await run.stdout.readline()).split())
    was_there = answers(port)

    run.kill()
    await run.wait()
    try:
        await eventually(lambda: not answers(port), "the emulator is still there")
    except AssertionError:
        os.kill(emulator, signal.SIGKILL)
        raise

    assert was_there
