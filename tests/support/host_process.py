"""`durable start` as a real process on a free port."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

MANAGEMENT = "/runtime/webhooks/durabletask"
FINAL = {"Completed", "Failed", "Terminated", "Canceled"}


def free_port() -> int:
    """Return a TCP port on which nobody listened a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(attempt: Callable[[], Any], *, seconds: float = 20.0, message: str = "") -> Any:
    """Return the first truthy result of `attempt`, which is called every 20 ms; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        result = attempt()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(message or f"Still {result!r} after {seconds:g} s.")
        time.sleep(0.02)


def hub_environment(connection_string: str, task_hub: str) -> dict[str, str]:
    """Return the environment of a host on this task hub in Azure Storage."""
    return {
        "AzureWebJobsStorage": connection_string,
        "AzureFunctionsJobHost__extensions__durableTask__hubName": task_hub,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back over HTTP."""

    status: int
    headers: dict[str, str]
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


def request(
    method: str, url: str, *, body: str | None = None, headers: dict[str, str] | None = None, timeout: float = 30.0
) -> Answer:
    """Do one HTTP request; statuses of 400 and more are answers too."""
    data = body.encode() if body is not None else (b"" if method == "POST" else None)
    call = urllib.request.Request(url, method=method, data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(call, timeout=timeout) as response:
            return Answer(status=response.status, headers=dict(response.headers), text=response.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(status=error.code, headers=dict(error.headers), text=error.read().decode())


@dataclass(slots=True, kw_only=True)
class HostProcess:
    """One `durable start`; use with `with`. Its output goes to a file, which is printed at the end."""

    script_root: Path
    log: Path
    port: int = field(default_factory=free_port)
    options: tuple[str, ...] = ("--hub", "embedded")
    environment: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    before_start: Callable[[], None] | None = None  # runs in the new process
    process: subprocess.Popen[bytes] | None = None

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def management(self) -> str:
        return self.origin + MANAGEMENT

    @property
    def output(self) -> str:
        """Everything printed so far, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text(encoding="utf-8", errors="replace"))

    def launch(self) -> HostProcess:
        """Start the process without waiting for it to listen."""
        durable = Path(sys.executable).parent / "durable"
        command = [str(durable), "start", "--port", str(self.port), *self.options]
        command += ["--script-root", str(self.script_root)] if self.cwd is None else []
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AzureWebJobs")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.cwd or self.script_root,
                env={**inherited, "PYTHONUNBUFFERED": "1", **self.environment},
                stdin=subprocess.DEVNULL,
                preexec_fn=self.before_start,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def wait_until_ready(self, seconds: float = 30.0) -> HostProcess:
        """Return when the host answers and has its task hub; fail with its output if it ends instead."""
        eventually(self._answers, seconds=seconds, message=f"The host does not answer.\n{self.output}")
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"The host ended with {self.process.returncode}:\n{self.output}"
        try:
            return request("GET", self.management + "/instances/nobody", timeout=2).status == 404
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def wait_for_exit(self, seconds: float = 30.0) -> int:
        """Return the exit code."""
        assert self.process is not None
        return self.process.wait(seconds)

    def interrupt(self, seconds: float = 30.0) -> int:
        """Press Ctrl-C and return the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.wait_for_exit(seconds)

    def kill(self) -> None:
        """End it without warning."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def get(self, path: str) -> Answer:
        return request("GET", self.origin + path)

    def post(self, path: str, body: Any = None) -> Answer:
        """POST; a body that is not None is sent as JSON."""
        if body is None:
            return request("POST", self.origin + path)
        return request("POST", self.origin + path, body=json.dumps(body), headers={"Content-Type": "application/json"})

    def start(self, name: str, instance_id: str, client_input: Any = None) -> Answer:
        """Start an orchestration over the management API."""
        return self.post(f"{MANAGEMENT}/orchestrators/{name}/{instance_id}", client_input)

    def status(self, instance_id: str, query: str = "") -> Any:
        """Return the status JSON of an instance."""
        return self.get(f"{MANAGEMENT}/instances/{instance_id}{query}").json()

    def finished(self, instance_id: str, seconds: float = 30.0) -> Any:
        """Wait until the instance is final and return its status JSON."""
        return eventually(
            lambda: (found := self.status(instance_id))["runtimeStatus"] in FINAL and found,
            seconds=seconds,
            message=f"Instance {instance_id} did not finish.",
        )

    def __enter__(self) -> HostProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        if self.log.exists():  # pytest shows it for tests that failed
            print(f"--- {self.script_root.name} on {self.port} printed:\n{self.output}")


def resident_mb(host: HostProcess) -> float:
    """Return how much memory a host has, as Linux tells it."""
    assert host.process is not None
    status = Path(f"/proc/{host.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024
