"""Worker processes of `chaos_app` on one hub: killed, stopped, continued and replaced while they work."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType

from durable_ext.backends.azure_storage.lease_table import LeaseTable
from durable_ext.runtime.settings import LocalActivities
from durable_ext.testing.eventually import eventually

_TESTS = Path(__file__).resolve().parents[1]
_OFTEN = timedelta(milliseconds=100)
_PATIENCE = timedelta(seconds=120)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityRun:
    """One run of an activity, as the activity wrote it down: the token it was given and the one it made."""

    instance_id: str
    label: str
    given: str
    token: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetMember:
    """One worker process; `worker_id` is what it writes into the leases it holds."""

    worker_id: str
    process: subprocess.Popen[bytes]


@dataclass(slots=True, kw_only=True)
class Fleet:
    """Processes that work on one hub; use with `with`. What they print goes to files beside the log."""

    folder: Path
    connection: str
    task_hub: str
    local_activities: LocalActivities
    leases: LeaseTable
    chance: random.Random
    members: list[FleetMember] = field(default_factory=list)
    _launched: int = 0

    @property
    def log(self) -> Path:
        return self.folder / "activities.log"

    @property
    def printed(self) -> str:
        """Whatever the processes have printed."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("worker-*.txt")))

    def runs(self) -> list[ActivityRun]:
        """Return all runs of activities, in the order in which they began."""
        if not self.log.exists():
            return []
        whole_lines = self.log.read_text().rpartition("\n")[0]  # the last line may be read while it is being written
        rows = (line.split() for line in whole_lines.splitlines())
        return [ActivityRun(instance_id=r[0], label=r[1], given=r[2], token=r[3], pid=int(r[4])) for r in rows]

    def launch(self, count: int = 1) -> None:
        """Start more processes; does not wait for them."""
        for _ in range(count):
            self._launched += 1
            worker_id = f"worker-{self._launched:03d}"
            arguments = [str(self.log), worker_id, self.connection, self.task_hub, self.local_activities]
            with (self.folder / f"{worker_id}.txt").open("wb") as printed:
                process = subprocess.Popen(
                    [sys.executable, "-m", "support.chaos_app", *arguments],
                    cwd=_TESTS,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join((str(_TESTS), str(_TESTS.parent)))},
                    stdin=subprocess.PIPE,
                    stdout=printed,
                    stderr=subprocess.STDOUT,
                )
            self.members.append(FleetMember(worker_id=worker_id, process=process))

    def check_alive(self) -> None:
        """Nobody ends but by our hand."""
        ended = [member.worker_id for member in self.members if member.process.poll() is not None]
        assert not ended, f"{ended} ended by themselves:\n{self.printed}"

    def kill_one(self) -> None:
        """SIGKILL to any process, and another one in its place."""
        self.check_alive()
        victim = self.members.pop(self.chance.randrange(len(self.members)))
        victim.process.kill()
        victim.process.communicate()
        self.launch()

    async def pause_one(self, meanwhile: Callable[[], Awaitable[None]], *, beyond_its_leases: bool) -> None:
        """SIGSTOP to a process that owns partitions, something else meanwhile, and SIGCONT.

        `beyond_its_leases` waits until others have taken its partitions.
        """
        self.check_alive()
        victim = await eventually(self._any_owner, "nobody owns a partition", within=_PATIENCE, every=_OFTEN)
        victim.process.send_signal(signal.SIGSTOP)
        try:
            await meanwhile()
            if beyond_its_leases:
                await eventually(lambda: self._owns_nothing(victim), self.printed, within=_PATIENCE, every=_OFTEN)
        finally:
            victim.process.send_signal(signal.SIGCONT)

    async def has_begun(self, runs: int) -> None:
        """Wait until so many activities have begun since the fleet was launched."""
        await eventually(lambda: len(self.runs()) >= runs, self.printed, within=_PATIENCE, every=_OFTEN)

    async def owners(self) -> Sequence[str]:
        """Return the owner of each partition that has one."""
        return [lease.owner for lease in await self.leases.load() if lease.owner is not None]

    async def _any_owner(self) -> FleetMember | None:
        owners = set(await self.owners())
        found = [member for member in self.members if member.worker_id in owners]
        return self.chance.choice(found) if found else None

    async def _owns_nothing(self, member: FleetMember) -> bool:
        return member.worker_id not in await self.owners()

    def stop(self) -> list[int]:
        """Let all processes end as they should; return their exit codes."""
        for member in self.members:
            assert member.process.stdin is not None
            member.process.stdin.close()
        codes = [member.process.wait(60) for member in self.members]
        self.members.clear()
        return codes

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for member in self.members:
            member.process.kill()
            member.process.communicate()
        if error is not None:
            print(self.printed[-20_000:])
