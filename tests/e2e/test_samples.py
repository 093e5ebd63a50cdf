"""Every sample does under the real CLI, over HTTP, what its README says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.host_process import HostProcess
from support.readme_session import Step, perform, read_steps

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "function_app_samples"
NAMES = sorted(path.parent.name for path in SAMPLES.glob("*/function_app.py"))


def _session(name: str) -> list[Step]:
    return [step for step in read_steps(SAMPLES / name / "README.md") if step.command.startswith("curl ")]


def _hold_the_session(name: str, host: HostProcess) -> None:
    steps = _session(name)
    for step in steps:
        perform(step, host.origin)
    assert len(steps) >= 2


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


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_behaves_as_its_readme_says(
    name: str, sample: Callable[[str], Path], launch: Callable[..., HostProcess]
) -> None:
    host = launch(sample(name), options=("--drain", "1")).wait_until_ready()

    _hold_the_session(name, host)

    assert "(embedded, " in host.output
    assert host.interrupt() == 0


@pytest.mark.azurite
@pytest.mark.parametrize("name", NAMES)
def test_a_sample_does_the_same_on_azure_storage(
    name: str, sample: Callable[[str], Path], on_azure: Callable[[Path], HostProcess]
) -> None:
    host = on_azure(sample(name)).wait_until_ready(60)

    _hold_the_session(name, host)

    assert "(azure, connection Storage), because AzureWebJobsStorage is set" in host.output
    assert host.interrupt() == 0


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


@pytest.mark.parametrize("name", [name for name in NAMES if name != "compat_tour"])
def test_function_names_begin_with_the_folder(name: str) -> None:
    code = "import function_app; print(*[found.get_function_name() for found in function_app.app.get_functions()])"

    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=SAMPLES / name, capture_output=True, text=True, check=True
    ).stdout

    names = printed.split()
    assert names
    assert [found for found in names if not found.startswith(name)] == []
