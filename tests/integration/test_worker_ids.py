"""Which worker ids are those of processes that have ended: only what is certain counts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from durable_ext.backends.azure_storage.worker_ids import has_ended_here, new_worker_id

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/ns/pid"), reason="only there processes can tell")

SAY = "from durable_ext.backends.azure_storage.worker_ids import new_worker_id; print(new_worker_id(), flush=True); input()"


def launch() -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen([sys.executable, "-c", SAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_a_process_that_runs_has_not_ended_and_one_that_was_killed_has() -> None:
    process, worker_id = launch()

    while_it_runs = has_ended_here(worker_id)
    process.kill()
    process.communicate()

    assert (while_it_runs, has_ended_here(worker_id)) == (False, True)


def test_another_worker_in_this_process_has_not_ended() -> None:
    assert not has_ended_here(new_worker_id())


def test_a_former_life_with_the_process_id_of_this_one_has_ended() -> None:
    place, pid, _, end = new_worker_id().rsplit("-", 3)

    assert has_ended_here(f"{place}-{pid}-00000000-{end}")


@pytest.mark.parametrize("worker_id", ["", "worker-a", "RD0003FF-4", "host-00000000-4194999-00000000-0000"])
def test_of_other_machines_and_other_kinds_of_workers_nothing_is_known(worker_id: str) -> None:
    assert not has_ended_here(worker_id)
