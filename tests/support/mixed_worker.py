"""Our worker as a process that stops itself (SIGSTOP) at a storage call, on a hub that it shares with the model's.

Run as a program: `python -m support.mixed_worker CONNECTION HUB WORKER FOLDER LOCAL`. It reads lines `VERB TABLE-OR-QUEUE`:
before the next such call it stops. It ends at the end of its input.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from xml.sax.saxutils import unescape

from azure_hub import run_azure_hub, short_settings
from interop_app import ActivityRuns

from durable_ext.backends.azure_storage.transport.http import StorageCall
from durable_ext.backends.azure_storage.transport.wire import HttpAnswer
from durable_ext.runtime.settings import LocalActivities, WorkerSettings
from durable_ext.testing.eventually import eventually
from durable_ext.testing.faults import Send
from support.mixed_app import mixed_registry

NAP_SECONDS: Final = 5
"""Who sleeps longer has lost its leases and messages; who is only slow, on a busy machine, has not."""
NAP_LOCKS: Final = {
    "control_queue_visibility": timedelta(seconds=NAP_SECONDS),
    "work_item_queue_visibility": timedelta(seconds=NAP_SECONDS),
    "lease_interval": timedelta(seconds=NAP_SECONDS),
}
_TESTS: Final = Path(__file__).resolve().parents[1]
_TEXT: Final = re.compile(r"<MessageText>(.*)</MessageText>", re.DOTALL)
_PATIENCE: Final = timedelta(seconds=60)


def message_text(call: StorageCall) -> str | None:
    """Return the text of the message that a call puts, if it puts one."""
    if call.verb != "queue.put":
        return None
    found = _TEXT.search(call.body.decode("utf-8", "surrogatepass"))
    return unescape(found[1], {"&quot;": '"', "&apos;": "'"}) if found else None


class StoppingTransport:
    """An interceptor that notes what is put, and stops its process once before a call of the kind that is wanted."""

    def __init__(self, sent: Path) -> None:
        self._sent = sent
        self.wanted: tuple[str, str] | None = None

    async def __call__(self, call: StorageCall, send: Send) -> HttpAnswer:
        if self.wanted is not None and call.verb.startswith(self.wanted[0]) and self._is_about(call, self.wanted[1]):
            self.wanted = None
            os.kill(os.getpid(), signal.SIGSTOP)
        answer = await send()
        text = message_text(call)
        if text is not None:
            with self._sent.open("a") as file:
                file.write(f"{json.dumps(text)}\n")
        return answer

    @staticmethod
    def _is_about(call: StorageCall, name: str) -> bool:
        return name in call.resource or f"{name}(".encode() in call.body


class NotedRuns(ActivityRuns):
    """Runs that are written to a file as well."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.all = _NotingList(path)


class _NotingList(list[tuple[str, Any]]):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def append(self, run: tuple[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(f"{json.dumps(run)}\n")
        super().append(run)


async def main(connection: str, hub: str, worker_id: str, folder: Path, local: LocalActivities) -> None:
    """Work until the other end of the input is closed."""
    transport = StoppingTransport(folder / "sent.txt")
    settings = short_settings(connection, hub, use_app_lease=False, worker_id=worker_id, **NAP_LOCKS)
    worker = WorkerSettings(local_activities=local)
    registry = mixed_registry(NotedRuns(folder / "ran.txt"))
    async with run_azure_hub(settings, registry, worker_settings=worker, interceptor=transport):
        while line := await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
            verb, name = line.split()
            transport.wanted = (verb, name)


class MixedWorker:
    """Such a process as a test sees it; use with `with`, which lets it end as it should."""

    def __init__(self, connection: str, hub: str, worker_id: str, folder: Path, local: LocalActivities) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.mixed_worker", connection, hub, worker_id, str(folder), local],
            cwd=_TESTS,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(_TESTS), str(_TESTS.parent)))},
            stdin=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> MixedWorker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.wake()
        self._process.communicate()
        assert self._process.returncode == 0, f"ended with {self._process.returncode}"

    def stop_before(self, verb: str, name: str) -> None:
        """Let it stop before its next call of a kind."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{verb} {name}\n")
        self._process.stdin.flush()

    async def has_stopped(self) -> None:
        """Wait until it has."""
        await eventually(self._is_stopped, "the process stops", within=_PATIENCE)

    def _is_stopped(self) -> bool:
        return os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None

    def wake(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    @property
    def runs(self) -> list[tuple[str, Any]]:
        """The activities that ran, with their arguments."""
        return [(name, argument) for name, argument in self._lines("ran.txt")]

    @property
    def sent(self) -> list[str]:
        """The texts of the messages that were put."""
        return self._lines("sent.txt")

    def _lines(self, name: str) -> list[Any]:
        path = self._folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]), sys.argv[5]))  # type: ignore[arg-type]
