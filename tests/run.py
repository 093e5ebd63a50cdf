"""Sets everything up and checks everything: lint, types, tests; standard library only.

Usage: python3 tests/run.py [full] [pytest arguments]

The environment is `.venv` in the root of the repository, Azurite comes from `tests/package.json` by npm. Exit code 0 if
all is green; the last line printed is pytest's own. `full` adds the tests marked `slow`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "function_app_samples"))
from environment import PYTHON, SetupError, ensure_environment

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
# Functions in tests are handed to the engine as users write them: some without annotations, compared to anything.
MYPY_OF_TESTS = ("--allow-untyped-defs", "--no-strict-equality")


def main(arguments: list[str]) -> int:
    full = arguments[:1] == ["full"]
    rest = arguments[1:] if full else arguments
    try:
        projects = [".[test]"]
        if (ROOT / "compat" / "pyproject.toml").exists():
            projects.append("./compat[openai]")
        ensure_environment(*projects)
        _install_azurite()
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1

    python = str(PYTHON)
    checks = [
        ["ruff", python, "-m", "ruff", "check", "."],
        ["ruff format", python, "-m", "ruff", "format", "--check", "."],
        ["mypy", python, "-m", "mypy"],
        ["mypy of tests", python, "-m", "mypy", *MYPY_OF_TESTS, "tests/support", "tests/unit"],
    ]
    failed = [name for name, *command in checks if _run(name, command) != 0]
    tests = [python, "-m", "pytest", "-n", "2", "--dist", "loadfile", "-q", *(["-m", "not bench"] if full else []), *rest]
    code = _run("pytest", tests)
    return code or (1 if failed else 0)


def _install_azurite() -> None:
    """Install the Azurite that `tests/package.json` pins; without node the tests that need it are skipped or fail in CI."""
    package = TESTS / "package.json"
    npm = shutil.which("npm")
    if not package.exists():
        return
    if npm is None:
        print("npm not found: tests on Azurite need node.", file=sys.stderr)
        return
    lock = TESTS / "package-lock.json"
    stamp = TESTS / "node_modules" / ".package-lock.json"
    newest = max(path.stat().st_mtime for path in (package, lock) if path.exists())
    if stamp.exists() and stamp.stat().st_mtime >= newest:
        return
    command = [npm, "ci" if lock.exists() else "install", "--no-audit", "--no-fund", "--loglevel=error"]
    if subprocess.run(command, cwd=TESTS, stdin=subprocess.DEVNULL).returncode != 0:
        raise SetupError("npm could not install Azurite; its message is above.")


def _run(name: str, command: list[str]) -> int:
    began = time.monotonic()
    if name != "pytest":
        print(f"--- {name} ...", flush=True)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    code = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, env=environment).returncode
    if name != "pytest":
        print(f"--- {name}: {'ok' if code == 0 else 'FAILED'} in {time.monotonic() - began:.1f} s", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
