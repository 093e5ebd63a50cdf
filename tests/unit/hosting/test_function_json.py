"""Apps of the v1 model: folders with a function.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from durable_ext.errors import ConfigurationError
from durable_ext.hosting.app_loader import AppImportError, LoadedApp, load_app
from durable_ext.hosting.bindings import plan_call
from durable_ext.sdk.discovery import collect_durable_functions

HTTP = [
    {
        "type": "httpTrigger",
        "name": "req",
        "direction": "in",
        "methods": ["get"],
        "route": "x/{y}",
        "authLevel": "anonymous",
    },
    {"type": "http", "name": "$return", "direction": "out"},
    {"type": "durableClient", "name": "starter", "direction": "in"},
]
STARTER = "def main(req, starter: str):\n    return starter\n"
SAY = "from ..shared_words import HELLO\n\n\ndef main(name: str) -> str:\n    return HELLO + name\n"
ACTIVITY = [{"type": "activityTrigger", "name": "name", "direction": "in"}]


def _add(root: Path, name: str, code: str, bindings: Any, **others: Any) -> None:
    (root / name).mkdir()
    (root / name / str(others.get("scriptFile", "__init__.py"))).write_text(code)
    (root / name / "function.json").write_text(json.dumps({"bindings": bindings, **others}))


@pytest.fixture
def root(write_app: Callable[..., Path]) -> Path:
    return write_app(shared_words="HELLO = 'Hello '\n")


def _named(app: LoadedApp) -> dict[str, Any]:
    return {each.name: each for each in app.indexed}


def test_each_folder_is_a_function_with_its_bindings(root: Path) -> None:
    _add(root, "Start", STARTER, HTTP)
    _add(root, "Say", SAY, ACTIVITY)

    functions = _named(load_app(root))

    assert {name: each.trigger_type for name, each in functions.items()} == {
        "Say": "activityTrigger",
        "Start": "httpTrigger",
    }
    assert (functions["Start"].trigger["route"], functions["Start"].trigger["methods"]) == ("x/{y}", ["get"])
    assert functions["Start"].script_file == "Start/__init__.py"


def test_a_client_parameter_takes_the_bindings_text(root: Path) -> None:
    _add(root, "Start", STARTER, HTTP)

    plan = plan_call(_named(load_app(root))["Start"])

    assert plan.client_is_text
    assert plan.client is not None
    assert plan.client["name"] == "starter"


def test_functions_import_what_they_share(root: Path) -> None:
    _add(root, "Say", SAY, ACTIVITY)

    (activity,) = collect_durable_functions(load_app(root).functions).activities

    assert (activity.name, activity.call("Ada")) == ("Say", "Hello Ada")


def test_script_and_entry_point_may_be_named(root: Path) -> None:
    _add(root, "Say", "def run(name):\n    return name\n", ACTIVITY, scriptFile="code.py", entryPoint="run")

    assert _named(load_app(root))["Say"].call("x") == "x"


def test_a_disabled_function_is_left_out(root: Path) -> None:
    _add(root, "Say", SAY, ACTIVITY)
    _add(root, "Off", "1 / 0\n", ACTIVITY, disabled=True)

    assert list(_named(load_app(root))) == ["Say"]


def test_a_script_wins_over_folders(root: Path) -> None:
    _add(root, "Say", SAY, ACTIVITY)
    (root / "function_app.py").write_text("x = 1\n")

    with pytest.raises(ConfigurationError, match="no app object"):
        load_app(root)


@pytest.mark.parametrize(
    ("code", "bindings", "others", "text"),
    [
        ("def other(name): ...\n", ACTIVITY, {}, "no function 'main'"),
        (SAY, ACTIVITY[:0], {}, "none of the bindings is a trigger"),
        (SAY, "x", {}, "'bindings' must be a list"),
        (SAY, [{"name": "x"}], {}, "'bindings' must be a list"),
    ],
)
def test_a_function_that_cannot_be_used_is_named(
    root: Path, code: str, bindings: Any, others: dict[str, Any], text: str
) -> None:
    _add(root, "Say", code, bindings, **others)

    with pytest.raises(ConfigurationError, match=text):
        load_app(root)


def test_a_missing_script_is_named(root: Path) -> None:
    _add(root, "Say", SAY, ACTIVITY)
    (root / "Say" / "__init__.py").unlink()

    with pytest.raises(ConfigurationError, match="__init__"):
        load_app(root)


def test_code_that_fails_is_named_with_file_and_line(root: Path) -> None:
    _add(root, "Say", "\n1 / 0\n", ACTIVITY)

    with pytest.raises(AppImportError, match=r"Say/__init__\.py:2: ZeroDivisionError"):
        load_app(root)
