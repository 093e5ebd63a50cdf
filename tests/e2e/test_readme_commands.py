"""The first command of the README, and what it says where it cannot work."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "function_app_samples"


@pytest.mark.skipif(not (ROOT / ".venv").exists(), reason="needs the environment that tests/run.py makes")
def test_the_first_command_shows_an_orchestration_step_by_step() -> None:
    ran = subprocess.run(
        [sys.executable, str(SAMPLES / "try_it.py")], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    steps = ["ExecutionStarted", "Hello Tokyo!", "Hello Seattle!", "Hello London!", "ExecutionCompleted", "Completed: "]
    positions = [ran.stdout.find(step) for step in steps]
    assert positions == sorted(positions)
    assert -1 not in positions
    assert '["Hello Tokyo!", "Hello Seattle!", "Hello London!"]' in ran.stdout
    seconds = re.search(r"Start, run and stop took ([\d.]+) s", ran.stdout)
    assert seconds is not None
    assert float(seconds.group(1)) < 10


@pytest.mark.parametrize("script", ["function_app_samples/try_it.py", "tests/run.py"])
def test_without_ensurepip_the_one_package_to_install_is_named(script: str, tmp_path: Path) -> None:
    for folder in ("function_app_samples", "tests"):
        (tmp_path / folder).mkdir()
    for name in ("function_app_samples/environment.py", "function_app_samples/try_it.py", "tests/run.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    hidden = f"import runpy, sys; sys.modules['ensurepip'] = None; runpy.run_path({script!r}, run_name='__main__')"

    ran = subprocess.run([sys.executable, "-c", hidden], cwd=tmp_path, capture_output=True, text=True)

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert ran.returncode == 1
    assert f"apt install python{version}-venv" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for Python")
@pytest.mark.parametrize(("code", "shown"), [(0, False), (1, True)])
def test_what_pip_says_is_shown_only_if_it_fails(code: int, shown: bool, tmp_path: Path) -> None:
    (tmp_path / "function_app_samples").mkdir()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    shutil.copy(SAMPLES / "environment.py", tmp_path / "function_app_samples")
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *install*) echo "a word of pip"; echo "another word" >&2; exit {code};; esac\n'
    )
    python.chmod(0o755)
    program = "import environment\ntry: environment.ensure_environment('.')\nexcept environment.SetupError as e: print(e)"

    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / "function_app_samples", capture_output=True, text=True
    )

    printed = ran.stdout + ran.stderr
    assert ran.returncode == 0, printed
    assert ("a word of pip" in printed, "another word" in printed) == (shown, shown)
    assert ("pip could not install the project" in printed) is shown
