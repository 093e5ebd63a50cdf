"""What the old package looks at when it is imported (specs/sdk.md 1.6)."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import warnings
from pathlib import Path

import azure.durable_functions as df
import pytest

COMPAT = Path(__file__).resolve().parents[2] / "compat"


@pytest.fixture
def app_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("AzureWebJobsScriptRoot", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "host.json").write_text("{}")
    return tmp_path


def _with_function_json(root: Path) -> None:
    (root / "hello").mkdir()
    (root / "hello" / "function.json").write_text("{}")


def _warns() -> bool:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        df.validate_v1_programming_model()
    return any(issubclass(each.category, df.DurableFunctionsCompatibilityWarning) for each in caught)


def test_an_app_with_function_json_is_warned(app_root: Path) -> None:
    _with_function_json(app_root)

    with pytest.warns(df.DurableFunctionsCompatibilityWarning) as caught:
        df.validate_v1_programming_model()

    text = str(caught[0].message)
    assert "legacy Python v1 programming model" in text
    assert "azure-functions-durable<2" in text


def test_an_app_without_function_json_is_not(app_root: Path) -> None:
    assert not _warns()


def test_the_configured_root_comes_first(tmp_path: Path, app_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = app_root / "other"
    other.mkdir()
    (other / "host.json").write_text("{}")
    _with_function_json(other)
    monkeypatch.setenv("AzureWebJobsScriptRoot", str(other))

    assert _warns()


def test_without_host_json_nothing_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AzureWebJobsScriptRoot", raising=False)
    monkeypatch.chdir(tmp_path)
    _with_function_json(tmp_path)

    assert not _warns()


@pytest.mark.parametrize(
    "line",
    [
        "azure-functions-durable",
        "azure-functions-durable>=1.2",
        "azure-functions-durable<2.1",
        "azure-functions-durable<=2",
        "azure-functions-durable==2.*",
        "azure-functions-durable~=2.0",
        'azure-functions-durable<2; python_version < "3.13"',
        "azure-functions",
        "# azure-functions-durable<2",
    ],
)
def test_a_requirement_that_lets_version_2_in_warns(app_root: Path, line: str) -> None:
    _with_function_json(app_root)
    (app_root / "requirements.txt").write_text(f"requests\n{line}\n")

    assert _warns()


@pytest.mark.parametrize(
    "line",
    [
        "azure-functions-durable<2",
        "azure-functions-durable<2.0.0",
        "azure-functions-durable>=1.2,<2",
        "azure-functions-durable==1.6.0",
        "azure-functions-durable===1.6.0",
        "azure-functions-durable==1.*",
        "azure-functions-durable~=1.6",
        "azure-functions-durable==v1.6",
        "azure-functions-durable[extra]<=1.9",
        "Azure.Functions_Durable >= 1.2, < 2  # note",
    ],
)
def test_a_requirement_that_keeps_version_2_out_is_silent(app_root: Path, line: str) -> None:
    _with_function_json(app_root)
    (app_root / "requirements.txt").write_text(f"{line}\n")

    assert not _warns()


def test_requirements_that_cannot_be_decoded_do_not_keep_it_out(app_root: Path) -> None:
    _with_function_json(app_root)
    (app_root / "requirements.txt").write_bytes(b"\xff\xfe\xff azure-functions-durable<2")

    assert _warns()


def test_the_programming_model_is_not_asked_if_version_2_is_out(app_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(df, "_uses_v1_programming_model", asked.append)
    (app_root / "requirements.txt").write_text("azure-functions-durable<2\n")

    df.validate_v1_programming_model()

    assert asked == []


def test_a_root_that_cannot_be_read_is_no_error(app_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(root: Path) -> bool:
        raise PermissionError(root)

    monkeypatch.setattr(df, "_uses_v1_programming_model", refuse)

    assert not _warns()


def test_a_reload_runs_the_checks_again(app_root: Path) -> None:
    _with_function_json(app_root)

    with pytest.warns(UserWarning, match="legacy Python v1 programming model"):
        importlib.reload(df)


def _import_in(folder: Path) -> str:
    program = f"import sys; sys.path.insert(0, {str(COMPAT)!r}); import azure.durable_functions"
    ran = subprocess.run([sys.executable, "-W", "always", "-c", program], capture_output=True, text=True, cwd=folder)
    return ran.stderr


def test_old_extension_bundles_are_warned(tmp_path: Path) -> None:
    host = {"extensionBundle": {"id": "x", "version": "[1.*, 2.0.0)"}}
    (tmp_path / "host.json").write_text(json.dumps(host))

    assert "[2.*, 3.0.0)" in _import_in(tmp_path)


def test_other_extension_bundles_are_not(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text(json.dumps({"extensionBundle": {"version": "[4.*, 5.0.0)"}}))

    assert "Bundles" not in _import_in(tmp_path)
