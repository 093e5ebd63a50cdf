"""Processes that play a scenario and kill themselves, with SIGKILL, before or after their n-th storage call.

Run as a program it is a nursery: it has imported everything, and forks one process for each order it reads, a line of JSON
(`Order`); when one has ended it prints the order's number and how: a negative signal or an exit code.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from durable_ext.runtime.settings import LocalActivities
from durable_ext.testing.faults import FailingTransport, Send, When, is_work
from support.crash_matrix import CrashMatrix, Scenario, Story, azure_processes, room_for_runs, running_process
from support.crash_scenarios import EVERYTHING

_TESTS = Path(__file__).resolve().parents[1]
_KILLED = -signal.SIGKILL


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a process plays, and at which side of which storage call it dies."""

    connection: str
    partitions: int
    hub: str
    scenario: str
    local: LocalActivities
    n: int
    when: str
    journal: str


class KillingTransport(FailingTransport):
    """Lets `n - 1` counted calls through; the n-th is the last thing that its process does."""

    async def __call__(self, call: Any, send: Send) -> Any:
        if not self.armed or not self._counts(call):
            return await send()
        self.count += 1
        if self.count < self._n:
            return await send()
        if self.count > self._n:
            return await asyncio.get_running_loop().create_future()  # another call is the last one
        try:
            if self._when is When.AFTER:
                await send()
        finally:  # also if it was refused
            os.kill(os.getpid(), signal.SIGKILL)


async def play(order: Order) -> None:
    """Play until the end, or until the process dies."""
    scenario: Scenario = next(kind for kind in EVERYTHING if kind.__name__ == order.scenario)()
    story = Story(Path(order.journal))
    transport = KillingTransport(order.n, When(order.when), is_work)
    backend = azure_processes(order.connection, order.partitions)(order.hub, transport)
    async with running_process(backend, scenario.registry(story), order.local) as process:
        transport.armed = True
        await scenario.play(process.client, story)


def main() -> None:
    """Fork a process for each order; they run side by side."""
    gc.freeze()  # or each process would copy all of it when it collects
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # watchers are not waited for
    for line in sys.stdin:
        if os.fork() == 0:
            _watch(Order(**json.loads(line)))


def _watch(order: Order) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        asyncio.run(play(order))
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    os.write(sys.stdout.fileno(), f"{order.n} {os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


class Nursery:
    """A nursery as its customer sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._waiting: dict[int, asyncio.Future[int]] = {}

    async def run(self, order: Order) -> int:
        """Let a process carry out an order, numbered by its `n`; return how it ended."""
        assert self._process.stdin is not None
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[order.n] = ended
        self._process.stdin.write(f"{json.dumps(asdict(order))}\n".encode())
        return await ended

    async def listen(self) -> None:
        """Hear how processes end, until the nursery has none and is closed."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            n, code = line.split()
            self._waiting.pop(int(n)).set_result(int(code))
        for ended in self._waiting.values():
            ended.set_exception(RuntimeError("The nursery has ended before its process did."))


@asynccontextmanager
async def nursery() -> AsyncIterator[Nursery]:
    """Launch a nursery."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "support.killed_process",
        cwd=_TESTS,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(_TESTS), str(_TESTS.parent)))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    launched = Nursery(process)
    listening = asyncio.ensure_future(launched.listen())
    try:
        yield launched
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await listening
        await process.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class KillMatrix:
    """Plays a scenario once for every storage call, killing a process before or after it, and goes on in this one."""

    connection: str
    partitions: int
    first: LocalActivities
    second: LocalActivities
    folder: Path

    async def run(self, scenario: type[Scenario], when: When) -> int:
        """Return how many processes were killed.

        Raises:
            AssertionError: Some runs did not end as they should; the text names the calls.
        """
        remaining = iter(range(1, 1000))
        killed: list[int] = []
        failures: list[str] = []
        open_backend = azure_processes(self.connection, self.partitions)
        matrix = CrashMatrix(open_backend=open_backend, first=self.first, second=self.second)
        side_by_side = await room_for_runs(open_backend)

        async def one_after_the_other(parent: Nursery) -> None:
            for n in remaining:
                hub = f"Hub{scenario.__name__}{self.first}{when.value}{n}"
                journal = self.folder / f"{hub}.txt"
                order = Order(
                    connection=self.connection,
                    partitions=self.partitions,
                    hub=hub,
                    scenario=scenario.__name__,
                    local=self.first,
                    n=n,
                    when=when.value,
                    journal=str(journal),
                )
                ended = await parent.run(order)
                if ended == 0:
                    return  # it has fewer calls
                if ended != _KILLED:
                    failures.append(f"{when.value} call {n}: the process ended with {ended}")
                    continue
                killed.append(n)
                try:
                    await matrix.go_on(scenario(), hub, Story(journal))
                except (AssertionError, Exception) as error:
                    failures.append(f"{when.value} call {n}: {type(error).__name__} {error}")

        async with nursery() as parent:
            await asyncio.gather(*(one_after_the_other(parent) for _ in range(side_by_side)))
        assert not failures, f"{len(failures)} of {len(killed)} runs:\n" + "\n".join(sorted(failures))
        return len(killed)


if __name__ == "__main__":
    main()
