"""What type checkers say about code that uses the package: nothing where it is right, everything where it is wrong."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
MISTAKES = [
    number
    for number, line in enumerate((HERE / "wrong_app.py").read_text(encoding="utf-8").splitlines(), 1)
    if line.endswith("# mistake")
]
CHECKERS = {
    "mypy": [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary"],
    "pyright": [sys.executable, "-m", "pyright", f"--pythonpath={sys.executable}"],
}


@pytest.fixture(params=sorted(CHECKERS))
def checker(request: pytest.FixtureRequest) -> list[str]:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed: pip install '.[test]'")
    return CHECKERS[request.param]


def _check(checker: list[str], name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*checker, str(HERE / name)], capture_output=True, text=True, cwd=HERE)


def test_a_sample_app_is_accepted_without_ignores(checker: list[str]) -> None:
    checked = _check(checker, "sample_app.py")

    assert checked.returncode == 0, checked.stdout


def test_mistakes_are_found_where_they_are(checker: list[str]) -> None:
    checked = _check(checker, "wrong_app.py")

    found = {int(line.split(":")[1]) for line in checked.stdout.splitlines() if "error" in line and "wrong_app.py:" in line}
    assert found == set(MISTAKES), checked.stdout


@pytest.mark.parametrize("checker", ["pyright"], indirect=True)  # mypy of the package is a step of tests/run.py
def test_the_package_itself_is_accepted(checker: list[str]) -> None:
    package = HERE.parents[1] / "durable_ext"

    checked = subprocess.run([*checker, str(package)], capture_output=True, text=True, cwd=HERE)

    assert checked.returncode == 0, checked.stdout
