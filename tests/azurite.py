"""Starts a real Azurite for tests: free ports, in memory or on disk, gone with the test, or with the run that is killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).parent / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
_END_WITH_STARTER = Path(__file__).parent / "support" / "end_with_starter.cjs"
_ACCOUNT = "devstoreaccount1"
_FRESH_SECONDS = 30.0
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True, slots=True, kw_only=True)
class Azurite:
    """A running emulator; `process` can be stopped and continued to play a frozen service."""

    blob_port: int
    queue_port: int
    table_port: int
    process: subprocess.Popen[bytes]
    scheme: str = "http"

    @property
    def endpoints(self) -> dict[str, str]:
        """The endpoints of `Blob`, `Queue` and `Table`."""
        return _endpoints([self.blob_port, self.queue_port, self.table_port], self.scheme)

    @property
    def connection_string(self) -> str:
        return connection_string_of([self.blob_port, self.queue_port, self.table_port], self.scheme)


def _endpoints(ports: Sequence[int], scheme: str) -> dict[str, str]:
    return {
        name: f"{scheme}://127.0.0.1:{port}/{_ACCOUNT}" for name, port in zip(("Blob", "Queue", "Table"), ports, strict=True)
    }


def connection_string_of(ports: Sequence[int], scheme: str = "http") -> str:
    """Return the connection string of an emulator on these ports of blob, queue and table, whether it runs or not."""
    endpoints = "".join(f"{name}Endpoint={uri};" for name, uri in _endpoints(ports, scheme).items())
    return f"DefaultEndpointsProtocol={scheme};AccountName={_ACCOUNT};AccountKey={_KEY};{endpoints}"


def require_azurite() -> None:
    """Skip at a desk without Azurite or node, fail in CI."""
    if _SCRIPT.exists() and shutil.which("node"):
        return
    reason = "Azurite is missing: run `npm ci` in tests/ (needs node)."
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def free_ports(count: int = 3) -> list[int]:
    """Return ports on which nobody listened a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def running_azurite(
    *,
    location: Path | None = None,
    certificate: tuple[Path, Path] | None = None,
    ports: Sequence[int] | None = None,
) -> Iterator[Azurite]:
    """Run an emulator; in memory unless a folder is given, on free ports unless those of blob, queue and table are.

    With a certificate and its key (PEM) it speaks TLS, and takes bearer tokens whose claims fit, whoever signed them.
    """
    require_azurite()
    blob, queue, table = ports or free_ports(3)
    with tempfile.TemporaryDirectory(prefix="azurite-") as scratch:
        storage = ["--location", str(location)] if location else ["--inMemoryPersistence"]
        if certificate is not None:
            storage += ["--cert", str(certificate[0]), "--key", str(certificate[1]), "--oauth", "basic"]
        process = subprocess.Popen(
            [
                *("node", "--require", str(_END_WITH_STARTER)),
                str(_SCRIPT),
                "--silent",
                "--skipApiVersionCheck",
                "--disableTelemetry",
                *storage,
                *("--blobHost", "127.0.0.1", "--queueHost", "127.0.0.1", "--tableHost", "127.0.0.1"),
                *("--blobPort", str(blob), "--queuePort", str(queue), "--tablePort", str(table)),
            ],
            cwd=scratch,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        scheme = "http" if certificate is None else "https"
        azurite = Azurite(blob_port=blob, queue_port=queue, table_port=table, process=process, scheme=scheme)
        try:
            _wait_until_listening(azurite)
            yield azurite
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdin is not None
            process.stdin.close()


class AzuriteInTurns:
    """An emulator in memory for one module of tests after the other; use with `with`.

    A start takes most of a second of a core. In memory it stands still while it removes what a minute of heavy use has
    left: the module that begins when one has run for half of that gets a fresh one.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._running: Azurite | None = None
        self._began = 0.0

    def next(self) -> Azurite:
        """Return the emulator for the next module; hubs of former ones may lie in it."""
        running = self._running
        if running is None or running.process.poll() is not None or time.monotonic() - self._began > _FRESH_SECONDS:
            self._stack.close()
            running = self._running = self._stack.enter_context(running_azurite())
            self._began = time.monotonic()
        return running

    def __enter__(self) -> AzuriteInTurns:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _wait_until_listening(azurite: Azurite) -> None:
    deadline = time.monotonic() + 60
    for port in (azurite.blob_port, azurite.queue_port, azurite.table_port):
        while True:
            if azurite.process.poll() is not None:
                raise RuntimeError(f"Azurite ended with code {azurite.process.returncode} while starting.")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
