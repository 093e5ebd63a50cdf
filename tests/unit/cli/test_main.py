"""The command line: what is printed and how the process ends when a command cannot do its work."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from durable_ext.cli.main import main


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AzureWebJobsScriptRoot", raising=False)
    environment, path = dict(os.environ), list(sys.path)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield tmp_path
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.path[:] = path
    os.environ.clear()
    os.environ.update(environment)


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["durable", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_mistake_of_the_user_is_one_line_on_stderr_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    code = _run(monkeypatch, "start")

    printed = capsys.readouterr()
    assert code == 1
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert str(folder) in printed.err


def test_a_bad_option_is_exit_code_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(monkeypatch, "start", "--hub", "nonsense") == 2
    assert "nonsense" in capsys.readouterr().err


def test_help_is_exit_code_0(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(monkeypatch, "start", "--help") == 0
    assert "--script-root" in capsys.readouterr().out


def test_a_broken_app_is_one_line_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    (folder / "host.json").write_text('{"version": "2.0"}')
    (folder / "function_app.py").write_text("import there_is_no_such_package\n")

    code = _run(monkeypatch, "start", "--port", "0", "--hub", "embedded")

    printed = capsys.readouterr()
    assert code == 1
    assert len(printed.err.splitlines()) == 1
    assert "function_app.py:1" in printed.err
    assert "Traceback" not in printed.out + printed.err


def test_the_version_is_one_line_and_exit_code_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"durable_ext {version('durable-ext')}\n"


@pytest.mark.parametrize(
    ("arguments", "host", "named"),
    [
        (("--functions", "nosuch"), {}, "'nosuch'"),
        (("--host", "203.0.113.9"), {}, "address 203.0.113.9 is not one of this machine"),
        ((), {"extensions": {"durableTask": {"hubName": "%NOPE%"}}}, "the setting NOPE does not exist"),
        ((), {"functions": ["Nope"]}, "host.json: functions is 'Nope', and the app has: echo."),
        ((), {"functions": "echo"}, "host.json: functions is 'echo'; it must be a list of names."),
        ((), {"functions": [5]}, "host.json: functions has 5; it must be a list of names."),
    ],
)
def test_what_is_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    arguments: tuple[str, ...],
    host: dict[str, object],
    named: str,
) -> None:
    (folder / "host.json").write_text(json.dumps({"version": "2.0", **host}))
    (folder / "function_app.py").write_text(
        "import durable_ext as df\napp = df.DFApp()\n"
        "@app.activity_trigger(input_name='x')\ndef echo(x: str) -> str:\n    return x\n"
    )

    code = _run(monkeypatch, "start", "--port", "0", *arguments)

    assert code == 1
    assert named in capsys.readouterr().err.splitlines()[-1]


def test_an_app_whose_functions_are_all_switched_off_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    (folder / "host.json").write_text('{"version": "2.0"}')
    (folder / "function_app.py").write_text(
        "import durable_ext as df\napp = df.DFApp()\n"
        "@app.activity_trigger(input_name='x')\ndef echo(x: str) -> str:\n    return x\n"
    )
    monkeypatch.setenv("AzureWebJobs.echo.Disabled", "true")

    code = _run(monkeypatch, "start", "--port", "0", "--hub", "embedded")

    assert code == 1
    assert capsys.readouterr().err.strip().endswith("all of them are disabled, by AzureWebJobs.echo.Disabled.")


def test_the_package_runs_as_a_module_too(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "durable_ext", "start"], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert str(folder) in done.stderr


def test_the_help_of_the_module_names_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "durable_ext", "--help"], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0
    assert done.stdout.startswith("Usage: durable [OPTIONS]")
