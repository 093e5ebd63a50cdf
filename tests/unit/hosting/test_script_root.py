"""Where the app is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from durable_ext.errors import ConfigurationError
from durable_ext.hosting.script_root import find_script_root


def _app(folder: Path, *, script: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "host.json").write_text('{"version": "2.0"}')
    if script:
        (folder / "function_app.py").write_text("")
    return folder


def test_the_option_wins(tmp_path: Path) -> None:
    wanted = _app(tmp_path / "wanted")
    other = _app(tmp_path / "other")

    assert find_script_root(Path("wanted"), {"AzureWebJobsScriptRoot": str(other)}, tmp_path) == wanted


def test_the_environment_wins_over_the_folder(tmp_path: Path) -> None:
    other = _app(tmp_path / "other")

    assert find_script_root(None, {"AzureWebJobsScriptRoot": str(other)}, _app(tmp_path)) == other


def test_the_folder_is_taken_if_it_has_an_app(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.durable_ext]\nscript_root = "elsewhere"\n')

    assert find_script_root(None, {}, _app(tmp_path)) == tmp_path


def test_pyproject_names_the_app_of_a_folder_without_one(tmp_path: Path) -> None:
    _app(tmp_path, script=False)
    wanted = _app(tmp_path / "apps")
    (tmp_path / "pyproject.toml").write_text('[tool.durable_ext]\nscript_root = "apps"\n')

    assert find_script_root(None, {}, tmp_path) == wanted


def test_a_folder_without_host_json_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=str(tmp_path)):
        find_script_root(None, {}, tmp_path)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        find_script_root(tmp_path / "nowhere", {}, tmp_path)
