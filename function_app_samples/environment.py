"""Makes `.venv` in the root of the repository and installs the project into it; standard library only."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv"
SCRIPTS = FOLDER / ("Scripts" if os.name == "nt" else "bin")
PYTHON = SCRIPTS / ("python.exe" if os.name == "nt" else "python")
OLDEST = (3, 10)


class SetupError(RuntimeError):
    """The environment cannot be made; the text says what to do."""


def ensure_environment(*projects: str) -> Path:
    """Return the interpreter of `.venv`, with these projects installed in place.

    Does nothing the second time, unless a `pyproject.toml` has changed.

    Args:
        projects: What `pip install` gets after `-e`, relative to the root: `"."`, `".[test]"`, `"./compat"`.
    """
    if sys.version_info < OLDEST:
        raise SetupError(f"This is Python {sys.version.split()[0]}; durable_ext needs 3.10 or newer.")
    if not _usable():
        _make()
    stamp = FOLDER / ".installed"
    wanted = _fingerprint(projects)
    done = stamp.read_text().split() if stamp.exists() else []
    if wanted not in done:
        _install(projects)
        stamp.write_text("\n".join([*done, wanted]) + "\n")
    return PYTHON


def script(name: str) -> Path:
    """Return the path of a console script in `.venv`."""
    return SCRIPTS / (name + (".exe" if os.name == "nt" else ""))


def _usable() -> bool:
    check = "import sys, pip; sys.exit(sys.version_info < (3, 10))"
    return PYTHON.exists() and subprocess.run([str(PYTHON), "-c", check], capture_output=True).returncode == 0


def _make() -> None:
    if importlib.util.find_spec("ensurepip") is None:
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        raise SetupError(
            f"This Python has no ensurepip, so `python3 -m venv` cannot work. Install one package and run this again:\n"
            f"    sudo apt install {package}"
        )
    try:
        venv.create(FOLDER, with_pip=True, clear=True, symlinks=os.name != "nt")
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError(f"{FOLDER} could not be made: {error}") from error


def _install(projects: tuple[str, ...]) -> None:
    command: list[str] = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for project in projects:
        command += ["-e", project]
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace"
    )
    if done.returncode != 0:
        raise SetupError(f"{done.stdout.rstrip()}\npip could not install the project; its message is above.")


def _fingerprint(projects: tuple[str, ...]) -> str:
    digest = hashlib.sha256(repr(projects).encode())
    for project in projects:
        digest.update((ROOT / project.partition("[")[0] / "pyproject.toml").read_bytes())
    return digest.hexdigest()
