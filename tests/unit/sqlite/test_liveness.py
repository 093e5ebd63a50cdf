"""A worker whose process has surely ended is known to be dead before its locks expire."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from durable_ext.backends.sqlite.liveness import has_ended, this_machine

pytestmark = pytest.mark.skipif(os.name != "posix", reason="process ids tell nothing here")


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as running:
        yield running
        running.kill()


def test_a_running_process_has_not_ended(process: subprocess.Popen[bytes]) -> None:
    assert not has_ended(process.pid, this_machine())


def test_a_stopped_process_has_not_ended(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)

    assert not has_ended(process.pid, this_machine())


def test_a_killed_process_has_ended(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()

    assert has_ended(process.pid, this_machine())


def test_a_killed_process_has_ended_before_its_parent_noticed(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    assert has_ended(process.pid, this_machine())


def test_nothing_is_known_of_processes_of_another_machine(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()

    assert not has_ended(process.pid, "another machine")


def test_this_process_has_not_ended() -> None:
    assert not has_ended(os.getpid(), this_machine())
