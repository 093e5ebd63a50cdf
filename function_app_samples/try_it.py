"""Sets everything up, runs one orchestration in front of your eyes and stops again; standard library only.

Usage: python3 function_app_samples/try_it.py
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from environment import ROOT, SetupError, ensure_environment, script

SAMPLE = "function_chaining"
FINAL = {"Completed", "Failed", "Terminated", "Canceled"}
START_SECONDS = 20.0
RUN_SECONDS = 20.0


class TryItError(RuntimeError):
    """The sample did not run to its end; the text says where it stopped."""


def main() -> int:
    began = time.monotonic()
    print("1. Setting up .venv (the first time takes a while) ...", flush=True)
    try:
        ensure_environment(".")
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"   ready after {time.monotonic() - began:.1f} s")

    ours = time.monotonic()
    with tempfile.TemporaryFile() as log:
        port = _free_port()
        host = _start_host(port, log)
        try:
            _run_sample(host, f"http://localhost:{port}")
        except TryItError as error:
            log.seek(0)
            print(f"{error}\n--- what the host printed ---\n{log.read().decode(errors='replace')}", file=sys.stderr)
            return 1
        finally:
            _stop_host(host)
    print(f"5. The host is stopped. Start, run and stop took {time.monotonic() - ours:.1f} s.")
    return 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start_host(port: int, log: Any) -> subprocess.Popen[bytes]:
    options = ["start", "--script-root", f"function_app_samples/{SAMPLE}", "--port", str(port), "--hub", "embedded"]
    print(f"2. durable {' '.join(options)}", flush=True)
    flags = subprocess.CREATE_NEW_PROCESS_GROUP if os.name == "nt" else 0  # type: ignore[attr-defined,unused-ignore]
    return subprocess.Popen(
        [str(script("durable")), *options],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        creationflags=flags,
    )


def _stop_host(host: subprocess.Popen[bytes]) -> None:
    if host.poll() is None:
        host.send_signal(signal.CTRL_BREAK_EVENT if os.name == "nt" else signal.SIGINT)  # type: ignore[attr-defined,unused-ignore]
    try:
        host.wait(15)
    except subprocess.TimeoutExpired:
        host.kill()
        host.wait()


def _run_sample(host: subprocess.Popen[bytes], origin: str) -> None:
    instance_id = f"try-it-{uuid.uuid4().hex[:8]}"
    url = f"{origin}/api/{SAMPLE}/{instance_id}"
    links = _start_instance(host, url)
    print(f"3. POST {url}\n   started instance {links['id']}; its history:")

    shown: list[str] = []
    deadline = time.monotonic() + RUN_SECONDS
    while time.monotonic() < deadline:
        status = _request("GET", links["statusQueryGetUri"] + "&showHistory=true&showHistoryOutput=true")
        lines = [_describe(event) for event in status.get("historyEvents") or []]
        for line in lines[len(shown) :]:
            print(f"   {line}", flush=True)
        shown = lines if len(lines) > len(shown) else shown
        if status["runtimeStatus"] in FINAL:
            print(f"4. {status['runtimeStatus']}: {json.dumps(status['output'])}")
            if status["runtimeStatus"] != "Completed":
                raise TryItError("The orchestration did not complete.")
            return
        time.sleep(0.02)
    raise TryItError(f"The orchestration was not done after {RUN_SECONDS:g} s.")


def _start_instance(host: subprocess.Popen[bytes], url: str) -> dict[str, str]:
    """Ask until the host listens; it is asked once successfully, because a start is not repeatable."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if host.poll() is not None:
            raise TryItError(f"The host ended with exit code {host.returncode}.")
        try:
            return _request("POST", url)
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise TryItError(f"The host did not answer within {START_SECONDS:g} s.")


def _request(method: str, url: str) -> dict[str, Any]:
    request = urllib.request.Request(url, method=method, data=b"" if method == "POST" else None)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            answer: dict[str, Any] = json.loads(response.read())
            return answer
    except urllib.error.HTTPError as error:
        raise TryItError(f"{method} {url} answered {error.code}: {error.read().decode(errors='replace')}") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionRefusedError):
            raise error.reason from error
        raise TryItError(f"{method} {url} failed: {error.reason}") from error


def _describe(event: dict[str, Any]) -> str:
    name: str | None = event.get("FunctionName") or event.get("Name")
    parts = [event["Timestamp"][11:23], event["EventType"]]
    if name:
        parts.append(name)
    if event.get("Result") is not None:
        parts.append(f"-> {json.dumps(event['Result'])}")
    return "  ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
