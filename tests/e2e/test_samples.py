"""Every sample does under the real CLI, over HTTP, what its README says."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.host_process import HostProcess, hub_environment
from support.readme_session import Step, perform, read_steps
from support.samples import NAMES, SAMPLES, copy_sample

ROOT = SAMPLES.parent
STORES = {"embedded": "(embedded, ", "azure": "(azure, connection Storage), because AzureWebJobsStorage is set"}
SIDE_BY_SIDE = 4


def _session(name: str) -> list[Step]:
    return [step for step in read_steps(SAMPLES / name / "README.md") if step.command.startswith("curl ")]


def test_the_patterns_are_all_there() -> None:
    assert set(NAMES) >= {
        "function_chaining",
        "fan_out_fan_in",
        "async_http_api",
        "monitor",
        "human_interaction",
        "aggregator",
        "async_orchestrator",
        "sub_orchestrations",
        "eternal_orchestration",
        "call_http_polling",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A host that has done and printed all that a README says."""

    output: str
    exit_code: int


@pytest.fixture(scope="module", params=["embedded", pytest.param("azure", marks=pytest.mark.azurite)])
def store(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def sessions(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, store: str
) -> Iterator[Mapping[str, Future[Session]]]:
    """Hold the sessions of all chosen samples, each with a host of its own and some of them at a time.

    They mostly wait, for the timers of the samples.
    """
    connection = request.getfixturevalue("azurite").connection_string if store == "azure" else ""

    def hold(name: str) -> Session:
        folder = tmp_path_factory.mktemp(name)
        log = folder / "host.log"
        log.touch()
        with HostProcess(
            script_root=copy_sample(name, folder),
            log=log,
            options=("--drain", "1"),
            environment=hub_environment(connection, f"Hub{uuid.uuid4().hex[:12]}") if connection else {},
        ) as host:
            host.launch().wait_until_ready(60)
            for step in _session(name):
                perform(step, host.origin)
            return Session(exit_code=host.interrupt(), output=host.output)

    chosen = {
        item.callspec.params.get("name")
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
    }
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        yield {name: pool.submit(hold, name) for name in NAMES if name in chosen}


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_behaves_as_its_readme_says(name: str, store: str, sessions: Mapping[str, Future[Session]]) -> None:
    session = sessions[name].result()

    assert len(_session(name)) >= 2
    assert STORES[store] in session.output
    assert session.exit_code == 0


def test_one_host_serves_all_samples_together(sample: Callable[[str], Path], launch: Callable[..., HostProcess]) -> None:
    host = launch(sample(".")).wait_until_ready()

    for name in ("function_chaining", "fan_out_fan_in", "aggregator"):
        for step in _session(name):
            perform(step, host.origin)

    listed = {found["name"] for found in host.get("/admin/functions").json()}
    assert {name for name in NAMES if name != "compat_tour"} <= listed


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_is_a_complete_app(name: str) -> None:
    folder = SAMPLES / name

    assert {"host.json", "function_app.py", "requirements.txt", "README.md"} <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["function_app_samples", *[f"function_app_samples/{name}" for name in NAMES]])
def test_host_json_is_that_of_the_root(name: str) -> None:
    assert json.loads((ROOT / name / "host.json").read_text()) == json.loads((ROOT / "host.json").read_text())


def test_pyproject_toml_names_the_script_root(
    launch: Callable[..., HostProcess], sample: Callable[[str], Path], tmp_path: Path
) -> None:
    script_root = sample("function_chaining")
    (tmp_path / "pyproject.toml").write_text(f'[tool.durable_ext]\nscript_root = "{script_root.name}"\n')

    host = launch(script_root, cwd=tmp_path).wait_until_ready()

    assert "function_chaining_start" in host.output


@pytest.fixture(scope="module")
def function_names() -> Mapping[str, list[str]]:
    """Load every sample in one process and return the names of its functions."""
    code = """
import importlib, json, os, sys
found = {}
for name in sys.argv[1:]:
    os.chdir(name)
    sys.path[0] = os.getcwd()
    app = importlib.import_module("function_app").app
    found[name] = [function.get_function_name() for function in app.get_functions()]
    del sys.modules["function_app"]
    os.chdir("..")
print(json.dumps(found))
"""
    run = subprocess.run([sys.executable, "-c", code, *NAMES], cwd=SAMPLES, capture_output=True, text=True, check=True)
    found: Mapping[str, list[str]] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("name", [name for name in NAMES if name != "compat_tour"])
def test_function_names_begin_with_the_folder(name: str, function_names: Mapping[str, list[str]]) -> None:
    assert function_names[name]
    assert [found for found in function_names[name] if not found.startswith(name)] == []
