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


@pytest.fixture(scope="module", params=sorted(CHECKERS))
def checker(request: pytest.FixtureRequest) -> list[str]:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed: pip install '.[test]'")
    return CHECKERS[request.param]


def _check(checker: list[str], *paths: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*checker, *map(str, paths)], capture_output=True, text=True, cwd=HERE)


@pytest.fixture(scope="module")
def errors(checker: list[str]) -> list[str]:
    """Return the lines of what a checker says about both apps that tell of an error."""
    checked = _check(checker, HERE / "sample_app.py", HERE / "wrong_app.py")
    assert checked.returncode == 1, checked.stdout + checked.stderr
    return [line for line in checked.stdout.splitlines() if "error:" in line]


def test_a_sample_app_is_accepted_without_ignores(errors: list[str]) -> None:
    assert [line for line in errors if "wrong_app.py:" not in line] == []


def test_mistakes_are_found_where_they_are(errors: list[str]) -> None:
    found = {int(line.split(":")[1]) for line in errors if "wrong_app.py:" in line}
    assert found == set(MISTAKES), errors


@pytest.mark.slow  # half a minute; mypy of the package is a step of tests/run.py
@pytest.mark.parametrize("checker", ["pyright"], indirect=True)
def test_the_package_itself_is_accepted(checker: list[str]) -> None:
    checked = _check(checker, HERE.parents[1] / "durable_ext")

    assert checked.returncode == 0, checked.stdout
