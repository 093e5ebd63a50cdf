"""azure-functions-durable beside durable-ext-compat, in a real environment: the two share a folder."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UPSTREAM = "azure-functions-durable==1.7.0"
APP = """
import azure.durable_functions as df

app = df.DFApp()


@app.orchestration_trigger(context_name="context")
def hello(context):
    yield context.create_timer(context.current_utc_datetime)
"""
pytestmark = pytest.mark.slow


class Environment:
    """A fresh one, with the dependencies of the one that runs the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder / "venv", with_pip=True)
        self.python = folder / "venv" / "bin" / "python"
        (folder / "app").mkdir()
        (folder / "app" / "function_app.py").write_text(APP)
        (folder / "app" / "host.json").write_text('{"version": "2.0"}')

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        dependencies = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
        return subprocess.run(
            [str(self.python), *arguments], capture_output=True, text=True, env=dependencies, cwd=self.folder, timeout=120
        )

    def pip(self, *arguments: str) -> None:
        subprocess.run([str(self.python), "-m", "pip", "-q", *arguments], check=True, timeout=300)

    def start(self) -> subprocess.CompletedProcess[str]:
        return self.run(
            "-c", "from durable_ext.cli.main import main; main()", "start", "--port", "0", "--script-root", "app"
        )


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    made = Environment(tmp_path_factory.mktemp("environment"))
    made.pip("install", "--no-deps", str(ROOT), str(ROOT / "compat"))
    return made


def upstream_replaces_our_files(environment: Environment) -> None:
    environment.pip("install", "--no-deps", "--force-reinstall", UPSTREAM)


def our_files_replace_those_of_upstream(environment: Environment) -> None:
    environment.pip("install", "--no-deps", "--force-reinstall", UPSTREAM)
    environment.pip("install", "--no-deps", "--force-reinstall", str(ROOT / "compat"))


def upstream_is_uninstalled_and_takes_our_files_along(environment: Environment) -> None:
    environment.pip("install", "--no-deps", "--force-reinstall", UPSTREAM)
    environment.pip("uninstall", "-y", "azure-functions-durable")


@pytest.mark.parametrize(
    ("step", "advice"),
    [
        (our_files_replace_those_of_upstream, "pip uninstall azure-functions-durable"),
        (upstream_replaces_our_files, "pip uninstall azure-functions-durable"),
        (upstream_is_uninstalled_and_takes_our_files_along, "--force-reinstall"),
    ],
)
def test_a_start_says_what_to_do(environment: Environment, step: Callable[[Environment], None], advice: str) -> None:
    step(environment)

    started = environment.start()

    assert started.returncode == 1
    assert advice in started.stderr
    assert "Traceback" not in started.stderr


def test_an_import_of_our_files_beside_upstream_is_refused(environment: Environment) -> None:
    our_files_replace_those_of_upstream(environment)

    imported = environment.run("-c", "import azure.durable_functions")

    assert "azure-functions-durable 1.7.0 and durable-ext-compat are both installed" in imported.stderr


def test_a_test_of_an_app_of_upstream_is_refused_too(environment: Environment) -> None:
    upstream_replaces_our_files(environment)

    tested = environment.run(
        "-c",
        "import sys; sys.path.insert(0, 'app'); import function_app; from durable_ext.sdk import discovery; "
        "discovery.indexed_functions(function_app.app)",
    )

    assert "RegistrationError" in tested.stderr
    assert "pip uninstall azure-functions-durable" in tested.stderr
