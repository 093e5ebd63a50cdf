"""Apps in folders of their own and real hosts that serve them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from azurite import Azurite, running_azurite
from support.host_process import HostProcess, hub_environment
from support.samples import copy_sample

HOST_JSON = '{"version": "2.0", "extensions": {"durableTask": {"hubName": "EndToEnd"}}}'

LaunchHost = Callable[..., HostProcess]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[LaunchHost]:
    """Launch `durable start` for a script root; every host still running at the end is killed."""
    with ExitStack() as hosts:

        def launch_host(script_root: Path, **settings: Any) -> HostProcess:
            log = tmp_path / f"host-{len(list(tmp_path.glob('host-*.log')))}.log"
            log.touch()
            host = HostProcess(script_root=script_root, log=log, **settings)
            hosts.enter_context(host)
            return host.launch()

        yield launch_host


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """Run one Azurite for all tests of this process; each test has a task hub of its own in it."""
    with running_azurite(location=tmp_path_factory.mktemp("azurite")) as running:
        yield running


@pytest.fixture
def on_azure(azurite: Azurite, launch: LaunchHost, task_hub: str) -> Callable[[Path], HostProcess]:
    """Launch a host on the test's task hub in Azurite, which `AzureWebJobsStorage` names."""

    def launch_on_azure(script_root: Path) -> HostProcess:
        environment = hub_environment(azurite.connection_string, task_hub)
        return launch(script_root, options=("--drain", "1"), environment=environment)

    return launch_on_azure


@pytest.fixture
def sample(tmp_path: Path) -> Callable[[str], Path]:
    """Copy a sample (or `"."`: all of them) to a folder of its own."""
    return lambda name: copy_sample(name, tmp_path)


@pytest.fixture
def make_app(tmp_path: Path) -> Callable[..., Path]:
    """Write a function app from the text of its `function_app.py`."""

    def write(code: str, *, host_json: str | None = HOST_JSON, name: str = "app") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "function_app.py").write_text(code, encoding="utf-8")
        if host_json is not None:
            (folder / "host.json").write_text(host_json, encoding="utf-8")
        return folder

    return write
